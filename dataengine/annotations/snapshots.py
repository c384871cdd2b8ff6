"""What is accepted, frozen: the rows a snapshot's manifest is made of, and the list of snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataengine.annotations import events
from dataengine.annotations.database import Database
from dataengine.annotations.tables import review, snapshot, task, user
from dataengine.annotations.views import image_view, masks_of
from schemas.annotations import AnnotatedMask, TaskImage


@dataclass(frozen=True)
class AcceptedImage:
    """An image, its accepted pass and the masks that count; `annotators` and `reviewer` by name."""

    image: TaskImage
    task_id: int
    stage: str
    exhaustive: bool
    masks: list[AnnotatedMask]
    annotators: dict[int, str]
    reviewer: str | None
    accepted_at: int


class Snapshots:
    def __init__(self, database: Database) -> None:
        self._database = database

    def accepted(self) -> tuple[tuple[int, str], Iterator[AcceptedImage]]:
        """((seq, hash) of the event chain, accepted images by id): one consistent view, kept until exhausted.

        One pass an image and stage: the newest accepted one that isn't a blind repetition. Use it as
        `head, images = store.snapshots.accepted()`, and exhaust or close `images`.
        """
        stream = self._read()
        head = next(stream)
        assert isinstance(head, tuple)
        return head, stream  # type: ignore[return-value]

    def _read(self) -> Iterator[AcceptedImage | tuple[int, str]]:
        with self._database.read() as connection:
            yield events.head(connection)
            names = dict(connection.execute(sa.select(user.c.id, user.c.name)).all())
            newer = task.alias()
            accepted = sa.and_(task.c.state == "accepted", task.c.purpose != "overlap")
            superseded = sa.exists().where(
                newer.c.image_id == task.c.image_id,
                newer.c.stage == task.c.stage,
                newer.c.state == "accepted",
                newer.c.purpose != "overlap",
                newer.c["pass"] > task.c["pass"],
            )
            rows = connection.execute(
                sa.select(task).where(accepted, ~superseded).order_by(task.c.image_id, task.c.stage)
            ).all()
            for row in rows:
                seen = image_view(connection, row.image_id)
                masks = list(masks_of(connection, row.id, seen))
                judged = connection.execute(
                    sa.select(review).where(review.c.task_id == row.id).order_by(review.c.id.desc()).limit(1)
                ).first()
                yield AcceptedImage(
                    image=seen,
                    task_id=row.id,
                    stage=row.stage,
                    exhaustive=bool(row.exhaustive),
                    masks=masks,
                    annotators={mask.author: names[mask.author] for mask in masks},
                    reviewer=names[judged.reviewer_id] if judged is not None else None,
                    accepted_at=row.updated_at,
                )

    def add(self, head: tuple[int, str], *, images: int, masks: int, manifest: str, sha256: str) -> int:
        """Notes a finished snapshot: where its manifest lies (path inside the home) and its hash; returns its id."""
        with self._database.write() as tx:
            values: dict[str, Any] = {"images": images, "masks": masks, "manifest": manifest, "sha256": sha256}
            inserted = snapshot.insert().values(event_seq=head[0], event_hash=head[1], created_at=tx.now, **values)
            number = int(tx.execute(inserted.returning(snapshot.c.id)).scalar_one())
            tx.record("snapshot", snapshot=number, event_seq=head[0], **values)
            return number

    def all(self) -> list[dict[str, Any]]:
        """Oldest first."""
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(sa.select(snapshot).order_by(snapshot.c.id)).mappings()]
