"""Who holds a task. A lease is an id, a fencing number that grows with every claim, and an expiry.

A lease that ran out still serves its holder as long as nobody else has claimed the task: the fencing number
is what protects the next holder, the expiry only says from when on there may be one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.database import Transaction
from dataengine.annotations.errors import ConflictError, MissingError
from dataengine.annotations.states import HELD, next_state, require_role
from dataengine.annotations.tables import lease, task
from schemas.annotations import Held, User

IDLE_CAP_MS = 100_000
"""A longer gap between two requests of a lease's holder counts as this much work: he was away."""


@dataclass(frozen=True)
class LeaseRules:
    """How long a lease lasts, and how many a person may hold at once."""

    milliseconds: int = 600_000
    per_user: int = 3


def locked_task(tx: Transaction, task_id: int) -> Row[Any]:
    """The task's row, nobody else's to change until the transaction ends. Raises MissingError."""
    row = tx.execute(sa.select(task).where(task.c.id == task_id).with_for_update(key_share=True)).first()
    if row is None:
        raise MissingError("no_task", f"there is no task {task_id}")
    return row


def hold(
    tx: Transaction, user: User, task_id: int, lease_id: str, fence: int, action: str, rules: LeaseRules
) -> Row[Any]:
    """The task, when `user` holds it under exactly this lease and may do `action` now; prolongs the lease.

    Raises ForbiddenError (role), MissingError, ConflictError `lease_lost` (it was his, and is gone),
    `lease_unknown` (it never was his) or `transition`.
    """
    require_role(user, action)
    row = locked_task(tx, task_id)
    if row.lease_id != lease_id or row.fence != fence or row.lease_user_id != user.id or row.state not in HELD:
        raise _not_held(tx, user, row, lease_id, fence)
    next_state(action, row.state)
    known = tx.execute(sa.select(lease).where(lease.c.id == lease_id)).one()
    active = known.active_ms + min(max(0, tx.now - known.touched_at), IDLE_CAP_MS)
    tx.execute(sa.update(lease).where(lease.c.id == lease_id).values(touched_at=tx.now, active_ms=active))
    tx.execute(sa.update(task).where(task.c.id == task_id).values(lease_expires_at=tx.now + rules.milliseconds))
    return row


def hold_as(tx: Transaction, user: User, task_id: int, held: Held, action: str, rules: LeaseRules) -> Row[Any]:
    return hold(tx, user, task_id, held.lease, held.fence, action, rules)


def end_lease(tx: Transaction, row: Row[Any], ending: str, state: str, **changes: Any) -> None:
    """Ends the task's lease and moves the task on to `state`."""
    tx.execute(
        sa.update(lease)
        .where(lease.c.id == row.lease_id, lease.c.ended_at.is_(None))
        .values(ended_at=tx.now, ending=ending)
    )
    free = {"lease_id": None, "lease_user_id": None, "lease_expires_at": None}
    tx.execute(sa.update(task).where(task.c.id == row.id).values(state=state, updated_at=tx.now, **free, **changes))


def _not_held(tx: Transaction, user: User, row: Row[Any], lease_id: str, fence: int) -> ConflictError:
    known = tx.execute(
        sa.select(lease).where(
            lease.c.id == lease_id,
            lease.c.task_id == row.id,
            lease.c.user_id == user.id,
            lease.c.fence == fence,
        )
    ).first()
    if known is None:
        return ConflictError("lease_unknown", f"task {row.id} was never leased to you under this lease")
    return ConflictError(
        "lease_lost",
        f"your lease of task {row.id} has ended ({known.ending or 'expired'}); the task is {row.state}",
        ending=known.ending,
        state=row.state,
    )
