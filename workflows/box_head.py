"""The detector of stage 2 from the masks that people vouch for (paper section 4): `train-boxes`, and in a round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dataengine.detection.box_head import BoxHead, save_box_head
from dataengine.errors import EngineError, RejectedImageError
from dataengine.home import Home
from dataengine.home.rounds import LATEST
from dataengine.labelled import LabelledSource, fixed_subset, open_labelled
from dataengine.labelled.held_out import Ledger, split
from dataengine.media.encoder import encoder_id
from dataengine.model import Sam
from dataengine.model.checkpoints import load_model
from dataengine.training.box_head import BoxHeadSettings, Example, example_of, train_box_head
from schemas import CheckpointCard
from schemas.rounds import SnapshotRecord
from workflows.progress import Bar

IMAGES = 20_000
"""At most so many of each set in a round: their embeddings lie in memory, half a megabyte each for `nano`."""


def train_boxes(
    data: Sequence[str],
    target: Path,
    console: Console,
    *,
    model: str = "nano",
    settings: BoxHeadSettings | None = None,
    device: str = "cpu",
    images: int | None = None,
) -> dict[str, Any]:
    """Trains on the training side of labelled sets (COCO folders, shards) and writes `target`; returns its card.

    The held-out tenth of each set is never seen, as in a retraining round. `images`: at most so many of a set.
    Raises ConfigError for a set that isn't one, EngineError when no image is left.
    """
    started = time.monotonic()
    sam, card = load_model(model, device=device)
    sides: list[Side] = []
    for path in data:
        source = open_labelled(path)
        contents = {name: source.content_hash(name) for name in source.names}
        names = fixed_subset(list(split(contents, None, Ledger()).training), images)
        sides.append(Side(path, source, names))
    head, facts = learn_boxes(sam, card, sides, console, settings)
    save_box_head(head, target, facts)
    return facts | {"seconds": round(time.monotonic() - started, 1)}


def round_boxes(
    home: Home,
    snapshot: SnapshotRecord,
    sources: Sequence[LabelledSource],
    model: str,
    device: str,
    console: Console,
    folder: Path,
) -> list[Path]:
    """In a round, with `prefill.detector: latest`: the head, from what the round learns from, and its card.

    For the embeddings of `model`, which is used from now. Another detector gives no file.
    """
    if home.config.prefill.detector != LATEST:
        return []
    sam, card = load_model(model, device)
    sets = zip(snapshot.sets, sources, strict=True)
    sides = [Side(frozen.path, source, fixed_subset(list(frozen.training), IMAGES)) for frozen, source in sets]
    settings = BoxHeadSettings(steps=home.config.retrain.box_steps, seed=snapshot.round)
    head, facts = learn_boxes(sam, card, sides, console, settings)
    return save_box_head(head, folder / "boxes.safetensors", facts)


@dataclass(frozen=True)
class Side:
    """What is learnt from a labelled set."""

    path: str
    source: LabelledSource
    names: Sequence[str]


def learn_boxes(
    sam: Sam, card: CheckpointCard, sides: Iterable[Side], console: Console, settings: BoxHeadSettings | None = None
) -> tuple[BoxHead, dict[str, Any]]:
    """A head on the embeddings of `sam`, and its card. Raises EngineError when no image can be read."""
    settings = settings or BoxHeadSettings()
    examples: list[Example] = []
    sets: list[dict[str, Any]] = []
    for side in sides:
        found = _examples(sam, side, console)
        sets.append({"path": side.path, "images": len(found), "state": side.source.state_hash()[:16]})
        examples += found
    if not examples:
        raise EngineError("no labelled image to learn boxes from")
    losses: list[float] = []
    with Bar(console, "boxes", settings.steps) as bar:

        def report(step: int, loss: float) -> None:
            losses.append(loss)
            bar.update(step + 1, f"loss {sum(losses[-50:]) / len(losses[-50:]):.3f}")

        head = train_box_head(examples, settings, report)
    return head, {
        "encoder": encoder_id(sam),
        "model": card.name,
        "model_sha256": card.sha256,
        "data": sets,
        "images": len(examples),
        "boxes": sum(len(example.boxes) for example in examples),
        "settings": settings.facts(),
        "loss": [round(sum(part) / len(part), 4) for part in (losses[:50], losses[-50:])],
    }


def _examples(sam: Sam, side: Side, console: Console) -> list[Example]:
    examples: list[Example] = []
    with Bar(console, f"embed {Path(side.path).name}", len(side.names)) as bar:
        for done, name in enumerate(side.names, start=1):
            try:
                examples.append(example_of(sam, side.source.read(name)))
            except RejectedImageError as error:
                console.print(f"{name}: {error}", highlight=False, soft_wrap=True)
            bar.update(done)
    return examples
