"""Which model made the masks, and what its licence and its training data mean for whoever takes them."""

from __future__ import annotations

import re

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.rounds import is_of_a_home
from dataengine.home.storage import Storage
from dataengine.home.units import committed
from dataengine.model.checkpoints import known_checkpoints, load_model
from schemas import CheckpointCard
from schemas.release import ReleasedModel

KNOWN_DATA = {"SA-1B": "SA-1B (images and masks under the SA-1B Dataset Research License: research only)"}
"""What official checkpoints' cards name without a licence."""
SA_1B = "SA-1B"
_NON_COMMERCIAL = re.compile(r"non[- ]?commercial|\bnc\b|\bresearch\b", re.IGNORECASE)
_PLACE = re.compile(r"(?:^|(?<=: ))(?:[a-z0-9+]+://|/|~|\.\.?/).*?(?=: [0-9]+ images, sha256 )")


def model_of_shards(storage: Storage, sha256: str, configured: str) -> ReleasedModel:
    """The model with this hash: a finished round of the home, a checkpoint of the registry, or what is configured.

    EngineError when none of them has it: a release must not stay silent about where its masks come from.
    """
    for name in sorted(committed(storage, RETRAIN)):
        card = CheckpointCard.model_validate_json(storage.read(layout.round_card(name)))
        if card.sha256 == sha256:
            return _released(card, name)
    for status in known_checkpoints():
        known = status.checkpoint
        if known.sha256 == sha256:
            return _described(known.name, sha256, known.architecture, known.licence, [], [SA_1B])
    # The registry states no hash of the bundled one: its card does.
    for name in dict.fromkeys(["nano", *([] if is_of_a_home(configured) else [configured])]):
        _, card = load_model(name)
        if card.sha256 == sha256:
            return _released(card, card.name)
    raise EngineError(
        f"{storage.url}: the model that made the shards (sha256 {sha256[:12]}) is neither a round of this home, nor a "
        "known checkpoint, nor engine.yaml's; its licence belongs into the release: point `model:` at it"
    )


def _released(card: CheckpointCard, name: str) -> ReleasedModel:
    return _described(name, card.sha256, card.architecture, card.licence, card.parents, card.data)


def _described(
    name: str, sha256: str, architecture: str, licence: str, parents: list[str], data: list[str]
) -> ReleasedModel:
    told = [KNOWN_DATA.get(line, _without_place(line)) for line in data]
    restricted = [line for line in [licence, *told] if _NON_COMMERCIAL.search(line)]
    return ReleasedModel(
        name=name,
        sha256=sha256,
        architecture=architecture,
        licence=licence,
        parents=list(parents),
        data=told,
        non_commercial=restricted,
    )


def _without_place(line: str) -> str:
    """A round's card names its sets by path or URL; where they lie is nobody's business, what they are called is."""
    return _PLACE.sub(lambda place: place[0].rstrip("/").rpartition("/")[2] or "a labelled set", line)
