"""The same write twice is one write: the client names each, the answer is kept, a replay gets it again."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from dataengine.annotations.database import Database, Transaction
from dataengine.annotations.errors import InvalidError
from dataengine.annotations.events import content_hash
from dataengine.annotations.tables import lease, mutation

Answer = dict[str, Any]

KEPT_MS = 30 * 24 * 3_600_000
"""Answers younger than this are kept: no browser stays offline for longer and is then missed."""
BATCH = 500


def canonical_id(name: str) -> str:
    """A client's uuid as browsers spell it, whatever spelling came in."""
    return str(uuid.UUID(name))


def once(tx: Transaction, user_id: int, mutation_id: str, request: list[Any], act: Callable[[], Answer]) -> Answer:
    """Runs `act` and keeps its answer, or, when this mutation was answered before, returns that answer.

    `request` is everything the answer depends on; the same id with another request is an InvalidError.
    Refusals are not kept: a refused write changed nothing, so it may be tried again.
    """
    key = canonical_id(mutation_id)
    digest = content_hash(request)
    if tx.is_postgresql:
        # Two copies of one request at once: the second waits here and then finds the first one's answer.
        lock = int.from_bytes(hashlib.sha256(f"{user_id}/{key}".encode()).digest()[:8], "big", signed=True)
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
    known = tx.execute(sa.select(mutation).where(mutation.c.user_id == user_id, mutation.c.id == key)).first()
    if known is not None:
        if known.request != digest:
            raise InvalidError("mutation_reused", f"mutation {mutation_id} was used for another request")
        return dict(known.answer)
    answer = act()
    tx.execute(mutation.insert().values(user_id=user_id, id=key, request=digest, answer=answer, created_at=tx.now))
    return answer


def forget_answers(database: Database) -> int:
    """Deletes answers older than `KEPT_MS` of which no lease is open any more; returns how many.

    Who repeats such a write after all is refused as its lease is gone, and a mask is kept as an orphan draft.
    In small transactions: people save meanwhile.
    """
    with database.read() as connection:
        open_ = sa.exists().where(
            lease.c.user_id == mutation.c.user_id,
            lease.c.ended_at.is_(None),
            lease.c.created_at <= mutation.c.created_at,
        )
        old = sa.select(mutation.c.user_id, mutation.c.id).where(
            mutation.c.created_at < database.now(connection) - KEPT_MS, ~open_
        )
        keys = [tuple(row) for row in connection.execute(old)]
    for start in range(0, len(keys), BATCH):
        gone = sa.tuple_(mutation.c.user_id, mutation.c.id).in_(keys[start : start + BATCH])
        with database.write() as tx:
            tx.execute(sa.delete(mutation).where(gone))
    return len(keys)
