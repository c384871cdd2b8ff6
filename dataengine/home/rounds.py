"""Finished rounds and what `latest` means: read from the rounds' commit records and from the rollbacks.

A promotion is one count in the round's commit record, so it happens with the record or not at all. A
rollback is a small record of its own. Played back in order they are a stack: a promotion puts its round on
top, a rollback takes the top away, and `latest` is what lies on top. Nothing is ever deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.owner import Owner
from dataengine.home.storage import Storage
from dataengine.home.units import committed, records
from schemas.rounds import RollbackRecord

WORKFLOW = "retrain"
LATEST = "latest"
BUNDLED = "nano"
PROMOTED = "promoted"
"""The count of a round's commit record that is 1 when the gate let it through."""

_ROUND = re.compile(r"round-[0-9]{3,}")


def round_name(number: int) -> str:
    return f"round-{number:03d}"


def is_of_a_home(model: str) -> bool:
    """Whether a model's name means something only together with a home: `latest` and `round-NNN`."""
    return model == LATEST or _ROUND.fullmatch(model) is not None


def finished_rounds(storage: Storage) -> int:
    """Rounds are numbered 1, 2, ... and finished in that order; an unfinished one is the next number."""
    return len(committed(storage, WORKFLOW))


def begun_rounds(storage: Storage) -> int:
    """How many rounds have frozen their data; at most the last one isn't finished."""
    return sum(storage.exists(layout.round_data(name)) for name in storage.list(layout.MODELS))


def promoted_rounds(storage: Storage) -> list[str]:
    """Names of all rounds that were ever promoted, rolled back or not, oldest first."""
    return [record.unit for record in records(storage, WORKFLOW) if record.counts[PROMOTED]]


def rollbacks(storage: Storage) -> list[RollbackRecord]:
    names = storage.list(layout.ROLLBACKS)
    return [
        RollbackRecord.model_validate_json(storage.read(f"{layout.ROLLBACKS}/{name}"))
        for name in names
        if name.endswith(".json")
    ]


def latest_model(storage: Storage) -> str:
    """What `latest` stands for: the last promoted round that wasn't rolled back, or the bundled checkpoint."""
    return _stack(storage)[-1]


def model_name(storage: Storage, model: str) -> str:
    """A config's `model` with `latest` resolved; plans freeze this name, not the word."""
    return latest_model(storage) if model == LATEST else model


def model_in_use(storage: Storage, model: str) -> str:
    """What the whole loop works with: the last promoted round, before any what the config's `model` names."""
    latest = latest_model(storage)
    return latest if latest != BUNDLED else model_name(storage, model)


def model_location(storage: Storage, name: str) -> str:
    """What `load_model` opens: a round's file in this home, copied to this machine where it is remote.

    Any other name comes back as it is. Raises EngineError for a round that isn't finished.
    """
    if not is_of_a_home(name):
        return name
    name = model_name(storage, name)
    if not is_of_a_home(name):
        return name
    if name not in committed(storage, WORKFLOW):
        raise EngineError(f"model {name!r}: {storage.url} has no finished round of that name")
    # The card first: a model without its card would be taken for one of another architecture's.
    return str(_local(storage, [layout.round_card(name), layout.round_model(name)]))


def round_with_boxes(storage: Storage, encoder: str | None = None) -> str | None:
    """The newest finished round with a box head, promoted or not; with `encoder` one that fits its embeddings."""
    for number in range(finished_rounds(storage), 0, -1):
        card = layout.round_boxes_card(name := round_name(number))
        if storage.exists(card) and encoder in (None, json.loads(storage.read(card))["encoder"]):
            return name
    return None


def boxes_location(storage: Storage, name: str) -> str:
    """The file of a round's box head, copied to this machine where the home is remote; other names as they are."""
    if not is_of_a_home(name):
        return name
    if name not in committed(storage, WORKFLOW) or not storage.exists(layout.round_boxes(name)):
        raise EngineError(f"detector {name!r}: {storage.url} has no finished round of that name with a box head")
    return str(_local(storage, [layout.round_boxes_card(name), layout.round_boxes(name)]))


def roll_back(storage: Storage, owner: Owner) -> RollbackRecord:
    """Makes the model before the latest one the latest. EngineError when there is nothing to go back from."""
    stack = _stack(storage)
    if len(stack) == 1:
        raise EngineError(f"{storage.url}: no promoted round to go back from; latest is {BUNDLED} already")
    record = RollbackRecord(after=finished_rounds(storage), back_from=stack[-1], back_to=stack[-2])
    owner.check()
    storage.create(layout.rollback(len(rollbacks(storage)) + 1), record.model_dump_json(indent=1).encode())
    return record


def _stack(storage: Storage) -> list[str]:
    steps_back = [record.after for record in rollbacks(storage)]
    stack = [BUNDLED]
    for number, record in enumerate(records(storage, WORKFLOW), start=1):
        if record.counts[PROMOTED]:
            stack.append(record.unit)
        del stack[len(stack) - steps_back.count(number) :]
    return stack


def machine_folder(storage: Storage, purpose: str) -> Path:
    """A folder on this machine for what belongs to a home but can be made again: its cache, or a stand-in."""
    if storage.is_local:
        return storage.local_path(f"{layout.CACHE}/{purpose}")
    home = hashlib.sha256(storage.url.encode()).hexdigest()[:16]
    return Path.home() / ".cache" / "dataengine" / "homes" / home / purpose


def _local(storage: Storage, paths: list[str]) -> Path:
    """The last of a round's files, in the home or beside copies of the others on this machine."""
    if storage.is_local:
        return storage.local_path(paths[-1])
    copy = Path()
    for path in paths:
        copy = machine_folder(storage, "models") / path.removeprefix(f"{layout.MODELS}/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file():
            part = copy.with_name(f".{copy.name}.{os.getpid()}.part")
            part.write_bytes(storage.read(path))
            part.replace(copy)
    return copy
