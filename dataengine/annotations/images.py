"""Images, their embeddings and the model: what turns a pending task into a ready one."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataengine.annotations.database import Database, Transaction
from dataengine.annotations.errors import MissingError
from dataengine.annotations.models import (
    SEMI_AUTOMATIC,
    current_encoder,
    current_model,
    has_embedding,
    is_prefilled,
    model_by_id,
)
from dataengine.annotations.states import HELD, WORKED
from dataengine.annotations.tables import embedding, image, model, task
from dataengine.annotations.views import image_view
from dataengine.shards.release_image import release_size
from schemas import Box, ImageRecord
from schemas.annotations import AnnotationModel, Redaction, TaskImage

BATCH = 500


class Images:
    """Images of the store and what is known about their embeddings."""

    def __init__(self, database: Database, stage: str) -> None:
        self._database, self._stage = database, stage

    def fill(self, rows: Iterable[ImageRecord], short_side: int, overlap: float = 0.0) -> dict[str, int]:
        """Catalog rows -> images and their tasks in this stage; what is there already stays as it is.

        Only rows with status `ok`. A share `overlap` of the images, chosen by the hash of their id, gets a second
        pass for another annotator. Returns how many images and tasks are new.
        """
        added = {"images": 0, "tasks": 0}
        usable = (row for row in rows if row.status == "ok")
        while batch := list(itertools.islice(usable, BATCH)):
            with self._database.write() as tx:
                added["images"] += _insert_new(tx, image, [_image_row(row, short_side) for row in batch])
                ids = [row.image_id for row in batch]
                twice = [image_id for image_id in ids if chosen_for_overlap(image_id, overlap)]
                added["tasks"] += self._add_tasks(tx, ids, "first") + self._add_tasks(tx, twice, "overlap")
        return added

    def image(self, image_id: int) -> TaskImage:
        """Raises MissingError."""
        with self._database.read() as connection:
            return image_view(connection, image_id)

    # models ------------------------------------------------------------------------------------------

    def model(self) -> AnnotationModel | None:
        """The model annotators work with: the one promoted last."""
        with self._database.read() as connection:
            return current_model(connection)

    def model_by_id(self, model_id: str) -> AnnotationModel:
        """Any model that was ever promoted. Raises MissingError."""
        with self._database.read() as connection:
            found = model_by_id(connection, model_id)
        if found is None:
            raise MissingError("no_model", f"there is no model {model_id}")
        return found

    def model_for(self, image_id: int, encoder: str) -> AnnotationModel | None:
        """The model of this encoder, when it is the current one or somebody holds the image with it; else None."""
        with self._database.read() as connection:
            now = current_model(connection)
            if now is not None and now.encoder == encoder:
                return now
            held = sa.exists().where(task.c.image_id == image_id, task.c.encoder == encoder, task.c.state.in_(HELD))
            row = connection.execute(
                sa.select(model.c.id).where(model.c.encoder == encoder, held).order_by(model.c.promoted_at.desc())
            ).first()
            return model_by_id(connection, row.id) if row is not None else None

    def promote(self, new: AnnotationModel) -> None:
        """Makes `new` the current model. Idle tasks without its embedding wait again; held ones go on as they are."""
        with self._database.write() as tx:
            now = current_model(tx.connection)
            if now is not None and now == new:
                return
            last = tx.execute(sa.select(sa.func.max(model.c.promoted_at))).scalar() or 0
            values = new.model_dump() | {"promoted_at": max(tx.now, last + 1)}
            tx.execute(sa.delete(model).where(model.c.id == new.id))
            tx.execute(model.insert().values(**values))
            ready = sa.and_(has_embedding(task.c.image_id, new.encoder), is_prefilled(task, new.id))
            idle = {"ready": ("pending", ~ready), "pending": ("ready", ready)}
            for state, (to, when) in idle.items():
                tx.execute(sa.update(task).where(task.c.state == state, when).values(state=to, updated_at=tx.now))
            tx.record("promote", model=new.id, encoder=new.encoder)

    # embeddings --------------------------------------------------------------------------------------

    def wanted_embeddings(self, ahead: int) -> list[int]:
        """Image ids, in the queue's order, whose embedding is to be made so that `ahead` tasks are ready.

        Also images in people's hands that lack the current encoder's embedding are not among them: their
        holders finish on the model they began with.
        """
        with self._database.read() as connection:
            encoder = current_encoder(connection)
            if encoder is None:
                return []
            mine = task.c.stage == self._stage
            embedded = sa.and_(task.c.state == "pending", has_embedding(task.c.image_id, encoder))
            prepared = sa.or_(task.c.state == "ready", embedded)  # the latter wait for their prefill
            ready = connection.execute(sa.select(sa.func.count()).where(mine, prepared)).scalar_one()
            known = sa.exists().where(embedding.c.image_id == task.c.image_id, embedding.c.encoder == encoder)
            rows = connection.execute(
                sa.select(task.c.image_id)
                .where(mine, task.c.state == "pending", ~known)
                .order_by(task.c.priority, task.c.id)
                .limit(max(0, ahead - ready))
            ).scalars()
            return list(dict.fromkeys(rows))

    def embedding_ready(self, image_id: int, encoder: str) -> None:
        """Tells that the image's embedding of this encoder can be read; its pending tasks become ready.

        Those of stage 2 when they are prefilled, too.
        """
        with self._database.write() as tx:
            self._put_embedding(tx, image_id, encoder, "ready", None)
            now = current_model(tx.connection)
            if now is not None and encoder == now.encoder:
                waiting = sa.update(task).where(task.c.image_id == image_id, task.c.state == "pending")
                prefilled = is_prefilled(task, now.id)
                tx.execute(waiting.where(prefilled).values(state="ready", updated_at=tx.now))

    def embedding_failed(self, image_id: int, encoder: str, reason: str) -> None:
        """Tells that it can't be made: the image's pending tasks are skipped, with this reason."""
        with self._database.write() as tx:
            self._put_embedding(tx, image_id, encoder, "failed", reason)
            text = f"no embedding: {reason}"
            waiting = sa.update(task).where(task.c.image_id == image_id, task.c.state == "pending")
            skipped = tx.execute(
                waiting.values(state="skipped", reason=text, updated_at=tx.now).returning(task.c.id)
            ).scalars()
            for task_id in skipped.all():
                tx.record("skip", task=task_id, image=image_id, reason=text)

    def embedding_gone(self, image_id: int, encoder: str) -> None:
        """Tells that a cached embedding was lost: it is wanted again, and idle tasks wait for it."""
        with self._database.write() as tx:
            tx.execute(sa.delete(embedding).where(embedding.c.image_id == image_id, embedding.c.encoder == encoder))
            if encoder == current_encoder(tx.connection):
                idle = sa.update(task).where(task.c.image_id == image_id, task.c.state == "ready")
                tx.execute(idle.values(state="pending", updated_at=tx.now))

    def forget_encoders(self) -> list[str]:
        """Forgets the embeddings of encoders that nobody needs; returns these encoders: their files may be deleted.

        Needed are the current model's, the one's before it (a step back shall not wait for embeddings), and those
        of tasks in people's hands or waiting for a reviewer.
        """
        with self._database.write() as tx:
            known = set(tx.execute(sa.select(model.c.encoder)).scalars())
            last_two = set(tx.execute(_last_two(model.c.encoder)).scalars())
            unneeded = sorted(known - last_two - self._encoders_at_work(tx.connection))
            tx.execute(sa.delete(embedding).where(embedding.c.encoder.in_(unneeded)))
            return unneeded

    def unneeded_models(self) -> list[str]:
        """Ids of models whose decoders nobody needs: neither the last two, nor of an encoder that a task needs."""
        with self._database.read() as connection:
            at_work = self._encoders_at_work(connection)
            last_two = set(connection.execute(_last_two(model.c.id)).scalars())
            known = connection.execute(sa.select(model.c.id, model.c.encoder))
            return sorted(row.id for row in known if row.id not in last_two and row.encoder not in at_work)

    def _encoders_at_work(self, connection: sa.Connection) -> set[str]:
        """Encoders of tasks in people's hands or waiting for a reviewer."""
        at_work = task.c.state.in_((*HELD, "submitted"))
        return set(connection.execute(sa.select(task.c.encoder).where(at_work, task.c.encoder.is_not(None))).scalars())

    def has_embedding(self, image_id: int, encoder: str) -> bool:
        with self._database.read() as connection:
            return bool(connection.execute(sa.select(has_embedding(image_id, encoder))).scalar_one())

    def _put_embedding(self, tx: Transaction, image_id: int, encoder: str, state: str, reason: str | None) -> None:
        if tx.execute(sa.select(image.c.id).where(image.c.id == image_id)).first() is None:
            raise MissingError("no_image", f"there is no image {image_id}")
        key = {"image_id": image_id, "encoder": encoder}
        values = {"state": state, "reason": reason, "updated_at": tx.now}
        insert = _insert(tx, embedding).values(**key, **values)
        tx.execute(insert.on_conflict_do_update(index_elements=list(key), set_=values))

    def _add_tasks(self, tx: Transaction, image_ids: list[int], purpose: str) -> int:
        """One task of this purpose for each image that has none yet in this stage.

        None for an image that people have, or had, in the other stage: each stage has its own images (paper 4).
        """
        mine = sa.and_(task.c.stage == self._stage, task.c.image_id.in_(image_ids))
        there = set(tx.execute(sa.select(task.c.image_id).where(mine, task.c.purpose == purpose)).scalars())
        elsewhere = sa.and_(
            task.c.stage != self._stage, task.c.image_id.in_(image_ids), task.c.state.in_(HELD + WORKED)
        )
        there |= set(tx.execute(sa.select(task.c.image_id).where(elsewhere)).scalars())
        last = sa.func.max(task.c["pass"]).label("last")
        highest = {
            row.image_id: row.last
            for row in tx.execute(sa.select(task.c.image_id, last).where(mine).group_by(task.c.image_id))
        }
        encoder = current_encoder(tx.connection)
        ready = set(
            tx.execute(
                sa.select(embedding.c.image_id).where(
                    embedding.c.image_id.in_(image_ids), embedding.c.encoder == encoder, embedding.c.state == "ready"
                )
            ).scalars()
        )
        rows = [
            {
                "image_id": image_id,
                "stage": self._stage,
                "pass": highest.get(image_id, 0) + 1,
                "purpose": purpose,
                "state": "ready" if image_id in ready and self._stage != SEMI_AUTOMATIC else "pending",
                "priority": 0,
                "fence": 0,
                "created_at": tx.now,
                "updated_at": tx.now,
            }
            for image_id in image_ids
            if image_id not in there
        ]
        return _insert_new(tx, task, rows)


def chosen_for_overlap(image_id: int, share: float) -> bool:
    """The same answer for ever: a hash of the id, so that a larger share keeps the images of a smaller one."""
    digest = hashlib.sha256(f"overlap/{image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _insert(tx: Transaction, table: sa.Table) -> Any:
    return postgresql.insert(table) if tx.is_postgresql else sqlite.insert(table)


def _insert_new(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]]) -> int:
    """Inserts the rows whose key isn't there yet; returns how many were."""
    if not rows:
        return 0
    insert = _insert(tx, table).values(rows).on_conflict_do_nothing()
    return len(tx.execute(insert.returning(table.c.id)).all())


def _image_row(record: ImageRecord, short_side: int) -> dict[str, Any]:
    if not record.width or not record.height or not record.sha256:
        raise ValueError(f"image {record.image_id}: a catalog row with status ok has a size and a hash")
    height, width = release_size(record.height, record.width, short_side)
    scale = width / record.width, height / record.height
    return {
        "id": record.image_id,
        "name": record.path.rpartition("/")[2],
        "width": width,
        "height": height,
        "original_width": record.width,
        "original_height": record.height,
        "source": record.source,
        "path": record.path,
        "sha256": record.sha256,
        "redactions": list(_redactions(record, scale, width, height)),
    }


def _redactions(record: ImageRecord, scale: tuple[float, float], width: int, height: int) -> Iterator[dict[str, Any]]:
    """The detectors' boxes in the annotation frame, clipped to it; as many as the catalog has, in its order."""
    kinds: tuple[tuple[Any, list[Box]], ...] = (("face", record.faces), ("plate", record.plates))
    for kind, boxes in kinds:
        for index, box in enumerate(boxes):
            x0, x1 = (min(max(x * scale[0], 0.0), float(width)) for x in (box.x0, box.x1))
            y0, y1 = (min(max(y * scale[1], 0.0), float(height)) for y in (box.y0, box.y1))
            if x1 > x0 and y1 > y0:
                corners = (round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2))
                yield Redaction(id=f"{kind}-{index}", kind=kind, box=corners).model_dump(mode="json")


def _last_two(column: sa.ColumnElement[str]) -> sa.Select[Any]:
    """Of the models promoted last: the one in use, and the one that a step back would bring."""
    return sa.select(column).order_by(model.c.promoted_at.desc(), model.c.id).limit(2)
