"""Commit records: `units/<workflow>/<unit>.json`, written last, so its existence means "done"."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pydantic import ValidationError

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.owner import Owner
from dataengine.home.storage import Storage
from schemas import CommitRecord, StoredObject

READERS = 16


def committed(storage: Storage, workflow: str) -> set[str]:
    """Names of the units that are done. One listing; no record is opened."""
    names = storage.list(layout.units_of(workflow))
    return {name.removesuffix(".json") for name in names if name.endswith(".json")}


def read_record(storage: Storage, workflow: str, unit: str) -> CommitRecord:
    path = layout.commit_record(workflow, unit)
    try:
        return CommitRecord.model_validate_json(storage.read(path))
    except ValidationError as error:
        raise EngineError(f"{storage.url_of(path)}: damaged commit record; delete it and run again") from error


def records(storage: Storage, workflow: str) -> Iterator[CommitRecord]:
    """Every commit record, in unit order; read side by side, since an object store answers slowly."""
    with ThreadPoolExecutor(READERS) as readers:
        yield from readers.map(partial(read_record, storage, workflow), sorted(committed(storage, workflow)))


def commit(storage: Storage, owner: Owner, record: CommitRecord, attempts: Iterable[tuple[str, StoredObject]]) -> None:
    """Promotes verified attempts to their final names, then writes the record. Only the owner may.

    `attempts`: (attempt path, final object). The fence is checked before anything gets a final name and
    again before the record, so a driver that was taken over can't finish what its successor redoes.
    """
    owner.check()
    for attempt, final in attempts:
        storage.promote(attempt, final.path)
    owner.check()
    path = layout.commit_record(record.workflow, record.unit)
    written = record.model_copy(update={"at": round(time.time(), 3)})
    storage.write(path, written.model_dump_json(indent=1).encode())
