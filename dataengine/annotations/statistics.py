"""How the work goes: per person, per day, and over all. Every figure says what it is made of.

Times are those the server believed (`revisions.count_time`): the client's active time, never more than its
lease was active, idle gaps capped.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from dataengine.annotations.database import Database
from dataengine.annotations.probes import no_probes, probe_figures
from dataengine.annotations.states import STATES, WORKED
from dataengine.annotations.tables import agreement, mask, task, user
from schemas.annotations import User

DAY_MS = 86_400_000
DAYS = 90
"""Days of the time series, the newest."""

_OWN = sa.and_(mask.c.state == "live", mask.c.parent_id.is_(None), mask.c.source.in_(("assisted", "brushed")))
"""Masks that people made: neither prefilled, nor copied from a rejected pass, nor deleted."""


class Statistics:
    def __init__(self, database: Database, stage: str) -> None:
        self._database, self._stage = database, stage

    def of(self, who: User) -> dict[str, Any]:
        """{"today", "total"}: masks, images, seconds_per_mask, clicks_per_mask, edit_iou, accepted, rejected."""
        with self._database.read() as connection:
            midnight = self._database.now(connection) // DAY_MS * DAY_MS
            return {
                "today": self._figures(connection, since=midnight).get(who.id, _nothing()),
                "total": self._figures(connection).get(who.id, _nothing()),
            }

    def overview(self) -> dict[str, Any]:
        """{"annotators": one entry each with its days, "queue": tasks by state, "overall"}.

        `recall` and `automation_bias` are those of stage 2's hidden probes (`probes.py`).
        """
        with self._database.read() as connection:
            figures, agreements = self._figures(connection), self._agreements(connection)
            days, probes = self._by_day(connection), probe_figures(connection, self._stage)
            people = connection.execute(sa.select(user.c.id, user.c.name, user.c.role).order_by(user.c.id)).all()
            annotators = [
                {"id": row.id, "name": row.name, "role": row.role}
                | figures[row.id]
                | {"agreement": _mean(agreements.get(row.id, [])), "overlaps": len(agreements.get(row.id, []))}
                | probes.get(row.id, no_probes())
                | {"days": days.get(row.id, [])}
                for row in people
                if row.id in figures
            ]
            overall = self._figures(connection, by_user=False).get(None, _nothing())
            pairs = connection.execute(self._pairs(agreement.c.task_id, agreement.c.panoptic_quality)).scalars().all()
            overall |= {"agreement": _mean(pairs), "overlaps": len(pairs), "days": self._by_day(connection, None)}
            overall |= probe_figures(connection, self._stage, by_user=False).get(None, no_probes())
            queue = connection.execute(
                sa.select(task.c.state, sa.func.count()).where(task.c.stage == self._stage).group_by(task.c.state)
            ).all()
        return {"annotators": annotators, "queue": dict.fromkeys(STATES, 0) | dict(queue), "overall": overall}

    def accepted(self) -> dict[str, int]:
        """{"images", "masks"} of this stage that reviewers accepted; blind repetitions don't count."""
        done = sa.and_(task.c.stage == self._stage, task.c.state == "accepted", task.c.purpose != "overlap")
        kept = sa.and_(mask.c.state == "live", sa.or_(mask.c.verdict.is_(None), mask.c.verdict != "reject"))
        with self._database.read() as connection:
            images = sa.select(sa.func.count(sa.distinct(task.c.image_id))).where(done)
            masks = sa.select(sa.func.count()).select_from(mask).join(task, task.c.id == mask.c.task_id)
            return {
                "images": int(connection.execute(images).scalar_one()),
                "masks": int(connection.execute(masks.where(done, kept)).scalar_one()),
            }

    def since(self, milliseconds: int) -> dict[str, Any]:
        """Figures, as `of` gives them, of all people together since a moment (ms since 1970)."""
        with self._database.read() as connection:
            return self._figures(connection, milliseconds, by_user=False).get(None, _nothing())

    def _figures(self, connection: Connection, since: int = 0, *, by_user: bool = True) -> dict[Any, dict[str, Any]]:
        """User id (or None for all together) -> figures of what was made at or after `since` (ms)."""
        author: ColumnElement[Any] = mask.c.author_id if by_user else sa.null()
        annotator: ColumnElement[Any] = task.c.annotator_id if by_user else sa.null()
        found: dict[Any, dict[str, Any]] = {}
        masks = (
            sa.select(
                author.label("who"),
                sa.func.count().label("masks"),
                sa.func.sum(mask.c.counted_ms).label("ms"),
                sa.func.avg(mask.c.clicks).label("clicks"),
                sa.func.avg(mask.c.edit_iou).label("edit_iou"),
            )
            .join(task, task.c.id == mask.c.task_id)
            .where(_OWN, task.c.stage == self._stage, mask.c.created_at >= since)
        )
        for row in connection.execute(masks.group_by(author) if by_user else masks):
            if row.masks:
                found[row.who] = _nothing() | {
                    "masks": row.masks,
                    "seconds_per_mask": _rounded(float(row.ms) / row.masks / 1000),
                    "clicks_per_mask": _rounded(row.clicks),
                    "edit_iou": _rounded(row.edit_iou, 4),
                }
        tasks = (
            sa.select(annotator.label("who"), task.c.state, sa.func.count().label("number"))
            .where(task.c.stage == self._stage, task.c.state.in_(WORKED), task.c.submitted_at >= since)
            .group_by(*([annotator] if by_user else []), task.c.state)
        )
        for row in connection.execute(tasks):
            figures = found.setdefault(row.who, _nothing())
            figures["images"] += row.number
            if row.state in ("accepted", "rejected"):
                figures[row.state] += row.number
        return found

    def _by_day(self, connection: Connection, author: Any = mask.c.author_id) -> Any:
        """User id -> [{"day", "masks", "seconds_per_mask", "clicks_per_mask", "edit_iou"}]; the list alone for all."""
        day = sa.cast(sa.func.floor(mask.c.created_at / sa.literal(float(DAY_MS))), sa.BigInteger).label("day")
        since = self._database.now(connection) - DAYS * DAY_MS
        who = author if author is not None else sa.null()
        query = (
            sa.select(
                who.label("who"),
                day,
                sa.func.count().label("masks"),
                sa.func.sum(mask.c.counted_ms).label("ms"),
                sa.func.avg(mask.c.clicks).label("clicks"),
                sa.func.avg(mask.c.edit_iou).label("edit_iou"),
            )
            .join(task, task.c.id == mask.c.task_id)
            .where(_OWN, task.c.stage == self._stage, mask.c.created_at >= since)
            .group_by(*([who] if author is not None else []), day)
            .order_by(day)
        )
        found: dict[Any, list[dict[str, Any]]] = {}
        for row in connection.execute(query):
            found.setdefault(row.who, []).append(
                {
                    "day": datetime.fromtimestamp(row.day * DAY_MS / 1000, UTC).date().isoformat(),
                    "masks": row.masks,
                    "seconds_per_mask": _rounded(float(row.ms) / row.masks / 1000),
                    "clicks_per_mask": _rounded(row.clicks),
                    "edit_iou": _rounded(row.edit_iou, 4),
                }
            )
        return found if author is not None else found.get(None, [])

    def _agreements(self, connection: Connection) -> dict[int, list[float]]:
        """User id -> panoptic quality of each comparison that one of his passes took part in."""
        found: dict[int, list[float]] = {}
        for side in (agreement.c.task_id, agreement.c.other_id):
            query = self._pairs(side, task.c.annotator_id, agreement.c.panoptic_quality)
            for who, quality in connection.execute(query):
                found.setdefault(who, []).append(quality)
        return found

    def _pairs(self, side: Any, *columns: Any) -> sa.Select:
        """Comparisons that say something, with the task on this side of them."""
        return (
            sa.select(*columns)
            .join(task, task.c.id == side)
            .where(task.c.stage == self._stage, agreement.c.panoptic_quality.is_not(None))
        )


def _nothing() -> dict[str, Any]:
    return {
        "masks": 0,
        "images": 0,
        "seconds_per_mask": None,
        "clicks_per_mask": None,
        "edit_iou": None,
        "accepted": 0,
        "rejected": 0,
    }


def _rounded(value: Any, digits: int = 2) -> float | None:
    return None if value is None else round(float(value), digits)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return _rounded(sum(listed) / len(listed), 4) if listed else None
