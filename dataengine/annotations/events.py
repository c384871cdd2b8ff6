"""The log of everything that happened: append-only, each entry's hash over its content and the hash before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dataengine.annotations.tables import event, mask, mask_revision

GENESIS = "0" * 64
CHAIN_LOCK = 0x5A_DA7A_E61E
"""PostgreSQL advisory lock: appends come one after another. Always the last lock a transaction takes."""
BATCH = 1000


@dataclass(frozen=True)
class Happened:
    """One thing that happened, before it has a place in the chain."""

    at: int
    kind: str
    user: int | None
    task: int | None
    image: int | None
    mask: str | None
    data: dict[str, Any] = field(default_factory=dict)


def append(connection: Connection, happened: Sequence[Happened]) -> None:
    """Adds entries at the chain's end, inside the caller's transaction."""
    if not happened:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CHAIN_LOCK)))
    seq, previous = head(connection)
    rows = []
    for entry in happened:
        seq += 1
        digest = _digest(previous, seq, entry)
        rows.append(
            {
                "seq": seq,
                "at": entry.at,
                "kind": entry.kind,
                "user_id": entry.user,
                "task_id": entry.task,
                "image_id": entry.image,
                "mask_id": entry.mask,
                "data": entry.data,
                "previous": previous,
                "hash": digest,
            }
        )
        previous = digest
    connection.execute(event.insert(), rows)


def head(connection: Connection) -> tuple[int, str]:
    """(seq, hash) of the last entry; (0, zeros) of an empty chain."""
    row = connection.execute(sa.select(event.c.seq, event.c.hash).order_by(event.c.seq.desc()).limit(1)).first()
    return (int(row.seq), str(row.hash)) if row else (0, GENESIS)


def content_hash(content: Any) -> str:
    """sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(_canonical(content)).hexdigest()


@dataclass(frozen=True)
class ChainReport:
    """What `verify_chain` read, and what is wrong: one line each, at most `MOST` of them."""

    events: int
    revisions: int
    head: str
    problems: list[str]

    MOST = 100


def verify_chain(connection: Connection) -> ChainReport:
    """Recomputes every hash, and checks each mask and mask revision against the event that saved it."""
    problems: list[str] = []
    saved: dict[tuple[str, int], str] = {}
    previous, expected = GENESIS, 1
    for row in connection.execution_options(yield_per=BATCH).execute(sa.select(event).order_by(event.c.seq)):
        entry = Happened(row.at, row.kind, row.user_id, row.task_id, row.image_id, row.mask_id, row.data)
        if row.seq != expected:
            problems.append(f"event {expected}: missing (next is {row.seq})")
        if row.previous != previous or row.hash != _digest(row.previous, row.seq, entry):
            problems.append(f"event {row.seq} ({row.kind}): its hash doesn't fit")
        if "sha256" in row.data and row.mask_id is not None:
            saved[row.mask_id, row.data["revision"]] = row.data["sha256"]
        previous, expected = row.hash, row.seq + 1
    revisions = _check_revisions(connection, saved, problems)
    return ChainReport(expected - 1, revisions, previous, problems[: ChainReport.MOST])


def _check_revisions(connection: Connection, saved: dict[tuple[str, int], str], problems: list[str]) -> int:
    """Revisions against events, and each mask's counts against its newest revision."""
    query = sa.select(mask_revision, mask.c.counts, mask.c.revision.label("newest"), mask.c.state.label("is_now")).join(
        mask, mask.c.id == mask_revision.c.mask_id
    )
    found = 0
    for row in connection.execution_options(yield_per=BATCH).execute(query):
        found += 1
        name = f"mask {row.mask_id} revision {row.revision}"
        if saved.pop((row.mask_id, row.revision), None) != content_hash(row.content):
            problems.append(f"{name}: differs from what the log says was saved")
        if row.revision == row.newest and (row.content["counts"], row.state) != (row.counts, row.is_now):
            problems.append(f"mask {row.mask_id}: differs from its newest revision")
    problems += [f"mask {mask_id} revision {revision}: in the log, but gone" for mask_id, revision in saved]
    return found


def _digest(previous: str, seq: int, entry: Happened) -> str:
    content = [seq, entry.at, entry.kind, entry.user, entry.task, entry.image, entry.mask, entry.data]
    return hashlib.sha256(previous.encode() + b"\n" + _canonical(content)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
