"""Handing out tasks: one statement per claim, so that no two people ever get the same one."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from dataengine.annotations.database import Database, Transaction
from dataengine.annotations.leases import LeaseRules, end_lease, hold, hold_as, locked_task
from dataengine.annotations.models import current_encoder, idle_state
from dataengine.annotations.mutations import once
from dataengine.annotations.states import HELD, STATES, next_state, require_role
from dataengine.annotations.tables import lease, mask, task, user
from dataengine.annotations.views import task_view
from schemas.annotations import Claim, EmptyQueue, Held, LeaseKind, Task, TaskState, User

_FREE: dict[LeaseKind, TaskState] = {"annotate": "ready", "review": "submitted"}
_TAKEN: dict[LeaseKind, TaskState] = {"annotate": "leased", "review": "in_review"}


class Queue:
    """The queue of one stage."""

    def __init__(self, database: Database, stage: str, rules: LeaseRules) -> None:
        self._database, self.stage, self._rules = database, stage, rules

    def claim(self, who: User, kind: LeaseKind, mutation: str) -> Claim:
        """The next task for this person, under a new lease; or why there is none.

        An expired lease's task is taken like a free one. Nobody gets an image (of this stage) twice, nor
        reviews one that he annotated. An empty answer is not kept: the same mutation may find one later.
        """
        require_role(who, f"claim_{kind}")
        with self._database.write() as tx:
            empty: list[EmptyQueue] = []

            def act() -> dict[str, Any]:
                claimed = self._take(tx, who, kind)
                if claimed is None:
                    empty.append(self._why_empty(tx.connection, who, kind, tx.now))
                    raise _NothingToClaim
                return claimed.model_dump()

            try:
                return Claim.model_validate(once(tx, who.id, mutation, ["claim", self.stage, kind], act))
            except _NothingToClaim:
                return Claim(task_id=None, empty=empty[0])

    def heartbeat(self, who: User, task_id: int, lease_id: str, fence: int) -> int:
        """Prolongs a lease; returns when it now ends. Raises ConflictError when it is lost."""
        with self._database.write() as tx:
            hold(tx, who, task_id, lease_id, fence, "heartbeat", self._rules)
            return tx.now + self._rules.milliseconds

    def release(self, who: User, task_id: int, held: Held) -> dict[str, Any]:
        """Gives a task back; masks saved so far stay for whoever takes it next."""
        with self._database.write() as tx:

            def act() -> dict[str, Any]:
                row = hold_as(tx, who, task_id, held, "release", self._rules)
                return {"state": _give_back(tx, row, "release", "released", who)}

            return once(tx, who.id, held.mutation, ["release", task_id, held.lease, held.fence], act)

    def steal(self, admin: User, task_id: int, mutation: str) -> dict[str, Any]:
        """Takes a task from its holder and puts it back into the queue; his unsent work becomes orphan drafts.

        Stealing what nobody holds is a ConflictError.
        """
        require_role(admin, "steal")
        with self._database.write() as tx:

            def act() -> dict[str, Any]:
                row = locked_task(tx, task_id)
                next_state("steal", row.state)
                return {"state": _give_back(tx, row, "steal", "stolen", admin)}

            return once(tx, admin.id, mutation, ["steal", task_id], act)

    def reopen(self, who: User, task_id: int) -> dict[str, Any]:
        """Puts a skipped task back into the queue."""
        require_role(who, "reopen")
        with self._database.write() as tx:
            row = locked_task(tx, task_id)
            next_state("reopen", row.state)
            state = idle_state(tx.connection, row.image_id, task_id)
            values = {"state": state, "reason": None, "annotator_id": None, "updated_at": tx.now}
            tx.execute(sa.update(task).where(task.c.id == task_id).values(**values))
            tx.record("reopen", user=who.id, task=task_id, image=row.image_id, state=state)
            return {"state": state}

    def mine(self, who: User) -> list[Task]:
        """Tasks this person holds, the oldest lease first: what the page shows after a reload."""
        with self._database.read() as connection:
            ids = connection.execute(
                sa.select(task.c.id)
                .join(lease, lease.c.id == task.c.lease_id)
                .where(task.c.lease_user_id == who.id, task.c.stage == self.stage, task.c.state.in_(HELD))
                .order_by(lease.c.created_at, task.c.id)
            ).scalars()
            return [task_view(connection, task_id) for task_id in ids]

    def task(self, task_id: int) -> Task:
        """Raises MissingError."""
        with self._database.read() as connection:
            return task_view(connection, task_id)

    def listing(self, state: TaskState | None, limit: int) -> list[dict[str, Any]]:
        """Tasks of this stage, those that changed last first; with their people's names, without masks."""
        annotator, holder = user.alias(), user.alias()
        query = (
            sa.select(
                task.c.id,
                task.c.image_id,
                task.c["pass"],
                task.c.purpose,
                task.c.state,
                task.c.reason,
                annotator.c.name.label("annotator"),
                holder.c.name.label("holder"),
                task.c.lease_expires_at.label("expires_at"),
                sa.select(sa.func.count())
                .where(mask.c.task_id == task.c.id, mask.c.state == "live")
                .scalar_subquery()
                .label("masks"),
            )
            .outerjoin(annotator, annotator.c.id == task.c.annotator_id)
            .outerjoin(holder, holder.c.id == task.c.lease_user_id)
            .where(task.c.stage == self.stage)
            .order_by(task.c.updated_at.desc(), task.c.id)
            .limit(limit)
        )
        if state is not None:
            query = query.where(task.c.state == state)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, int]:
        """Tasks of this stage by state; every state is named."""
        with self._database.read() as connection:
            return self._counts(connection)

    def _counts(self, connection: Connection) -> dict[str, int]:
        rows = connection.execute(
            sa.select(task.c.state, sa.func.count()).where(task.c.stage == self.stage).group_by(task.c.state)
        )
        return dict.fromkeys(STATES, 0) | dict(rows.all())

    def _take(self, tx: Transaction, who: User, kind: LeaseKind) -> Claim | None:
        # Two tabs of one person: their claims come one after another, so that caps and exclusions hold.
        tx.execute(sa.select(user.c.id).where(user.c.id == who.id).with_for_update(key_share=True))
        other = task.alias()
        held = (
            sa.select(sa.func.count())
            .where(other.c.lease_user_id == who.id, other.c.state.in_(HELD), other.c.lease_expires_at > tx.now)
            .scalar_subquery()
        )
        # Two questions, not one with OR: each is answered from the index, however many tasks there are.
        wanted = [self._first(tx, who, kind, held, expired=expired) for expired in (True, False)]
        lease_id = str(uuid.uuid4())
        values: dict[str, Any] = {
            "state": _TAKEN[kind],
            "fence": task.c.fence + 1,
            "lease_id": lease_id,
            "lease_user_id": who.id,
            "lease_expires_at": tx.now + self._rules.milliseconds,
            "updated_at": tx.now,
        }
        if kind == "annotate":
            values |= {"annotator_id": who.id, "encoder": current_encoder(tx.connection)}
        row = tx.execute(
            sa.update(task).where(task.c.id == sa.func.coalesce(*wanted)).values(**values).returning(*task.c)
        ).first()
        return self._begin_lease(tx, who, kind, row, lease_id) if row is not None else None

    def _first(
        self, tx: Transaction, who: User, kind: LeaseKind, held: sa.ScalarSelect[int], *, expired: bool
    ) -> sa.ScalarSelect[int]:
        """The queue's first task that this person may have, free or expired; skips what others claim just now."""
        candidate = task.alias()
        query = (
            sa.select(candidate.c.id)
            .where(
                candidate.c.stage == self.stage,
                _expired(candidate, kind, tx.now) if expired else candidate.c.state == _FREE[kind],
                ~_worked_before(candidate, who, kind),
                held < self._rules.per_user,
            )
            .order_by(candidate.c.priority, candidate.c.id)
            .limit(1)
        )
        if tx.is_postgresql:
            query = query.with_for_update(skip_locked=True, key_share=True, of=candidate)
        return query.scalar_subquery()

    def _begin_lease(self, tx: Transaction, who: User, kind: LeaseKind, row: Row[Any], lease_id: str) -> Claim:
        expired = tx.execute(
            sa.update(lease)
            .where(lease.c.task_id == row.id, lease.c.ended_at.is_(None))
            .values(ended_at=tx.now, ending="expired")
            .returning(lease.c.id, lease.c.user_id)
        ).all()
        for old in expired:
            tx.record("expire", user=old.user_id, task=row.id, image=row.image_id, lease=old.id)
        times = {"created_at": tx.now, "touched_at": tx.now, "active_ms": 0, "counted_ms": 0}
        tx.execute(
            lease.insert().values(id=lease_id, task_id=row.id, user_id=who.id, kind=kind, fence=row.fence, **times)
        )
        tx.record(f"claim_{kind}", user=who.id, task=row.id, image=row.image_id, lease=lease_id, fence=row.fence)
        return Claim(task_id=row.id, lease=lease_id, fence=row.fence, expires_at=row.lease_expires_at)

    def _why_empty(self, connection: Connection, who: User, kind: LeaseKind, now: int) -> EmptyQueue:
        counts = self._counts(connection)
        mine = connection.execute(
            sa.select(sa.func.count()).where(
                task.c.lease_user_id == who.id, task.c.state.in_(HELD), task.c.lease_expires_at > now
            )
        ).scalar_one()
        free = connection.execute(
            sa.select(sa.func.count()).where(task.c.stage == self.stage, _claimable(task, kind, now))
        ).scalar_one()
        taken = counts[_TAKEN[kind]]
        if mine >= self._rules.per_user:
            return EmptyQueue(
                code="cap_reached", message=f"you hold {mine} tasks; finish or release one first", counts=counts
            )
        if not sum(counts.values()):
            return EmptyQueue(code="none", message="there are no tasks in this stage yet", counts=counts)
        if free:
            why = "reviewed by somebody else" if kind == "review" else "done by somebody else: you have had their image"
            return EmptyQueue(code="yours_only", message=f"the {free} free tasks must be {why}", counts=counts)
        if taken:
            message = f"the last {taken} tasks are in others' hands; one comes back when its lease ends"
            return EmptyQueue(code="leased", message=message, counts=counts)
        if kind == "annotate" and counts["pending"]:
            message = f"{counts['pending']} tasks wait for their embedding or prefill; try again in a moment"
            return EmptyQueue(code="no_embedding", message=message, counts=counts)
        message = "all images are done" if kind == "annotate" else "nothing waits for review"
        return EmptyQueue(code="done", message=message, counts=counts)


class _NothingToClaim(Exception):  # noqa: N818 - control flow inside one claim
    pass


def _claimable(of: Any, kind: LeaseKind, now: int) -> ColumnElement[bool]:
    """Free, or leased and expired: decided in the statement that takes it."""
    return sa.or_(of.c.state == _FREE[kind], _expired(of, kind, now))


def _expired(of: Any, kind: LeaseKind, now: int) -> ColumnElement[bool]:
    return sa.and_(of.c.state == _TAKEN[kind], of.c.lease_expires_at <= now)


def _worked_before(of: Any, who: User, kind: LeaseKind) -> ColumnElement[bool]:
    """This person annotated the image in this stage: another pass of it, or, for a review, any mask of any pass."""
    pass_ = task.alias()
    same = sa.and_(pass_.c.image_id == of.c.image_id, pass_.c.stage == of.c.stage)
    if kind == "annotate":
        return sa.exists().where(same, pass_.c.annotator_id == who.id, pass_.c.id != of.c.id)
    made = sa.exists().where(mask.c.task_id == pass_.c.id, mask.c.author_id == who.id)
    return sa.exists().where(same, sa.or_(pass_.c.annotator_id == who.id, made))


def _give_back(tx: Transaction, row: Row[Any], action: str, ending: str, who: User) -> str:
    state = next_state(action, row.state)
    changes: dict[str, Any] = {}
    if state == "ready":
        state = idle_state(tx.connection, row.image_id)
        changes["annotator_id"] = None
    end_lease(tx, row, ending, state, **changes)
    tx.record(action, user=who.id, task=row.id, image=row.image_id, lease=row.lease_id, holder=row.lease_user_id)
    return state
