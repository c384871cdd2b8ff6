"""What the schedule's steps write, in bytes: measured in this home's commit records, else a stated guess."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataengine.home import Home, layout
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.rounds import finished_rounds, is_of_a_home, model_in_use, model_name, round_name
from dataengine.home.schedule import Step
from dataengine.home.units import read_record, records
from dataengine.model.checkpoints import known_checkpoints
from dataengine.release.index import SAMPLE_IMAGES
from dataengine.release.names import own_paths, read_index
from dataengine.training.snapshot import GENERATE, read_snapshot, url_of
from schemas import CheckpointCard, CommitRecord
from schemas.training import Recipe
from workflows.costs import recipe_of

INGEST = "ingest"
BYTES_PER_PIXEL = 0.5
"""A released pixel in its JPEG at quality 95 with its masks' run lengths. Photos lie between 0.3 and 0.8. A guess."""
PIXELS_PER_SQUARE = 1.5
"""A released image before ingest has told its size: the short side squared, times this (3:2). A guess."""
ROW_BYTES = 1000
"""A catalog row, with its boxes. A guess."""
RELEASED_SHARD_BYTES = 1000
"""Index, checksum and link lines of a shard."""
CARD_BYTES = 6000


@dataclass(frozen=True)
class Size:
    """Bytes, and whether they were measured in this home or are a guess."""

    bytes: int
    basis: str


def step_size(home: Home, step: Step, images: int) -> Size | None:
    """What a step writes; None of people's work. `images`: usable ones, as `plan_home` counts them."""
    if step.kind == "annotate":
        return None
    if step.kind == "ingest":
        made = list(records(home.storage, INGEST))
        if made:
            return Size(_written(made), "measured")
        return Size(ROW_BYTES * images, "a guess: 1 kB a row")
    if step.kind == "retrain":
        return model_size(home, recipe_of(home, step.recipe))
    each = image_size(home, images)
    if step.kind == "generate":
        return Size(each.bytes * images, each.basis)
    if step.version and read_index(home.storage, step.version) is not None:
        paths = [path for path in own_paths(step.version) if home.storage.exists(path)]
        return Size(sum(home.storage.size(path) for path in paths), "measured")
    shards = math.ceil(images / home.config.shards.images_per_shard)
    sample = each.bytes * min(SAMPLE_IMAGES, images, home.config.shards.images_per_shard)
    return Size(sample + RELEASED_SHARD_BYTES * shards + CARD_BYTES, "a guess: a sample and a few lines a shard")


def image_size(home: Home, images: int) -> Size:
    """An image in its shard, with masks and its rows in the two tables."""
    made = list(records(home.storage, GENERATE))
    done = sum(record.counts["images"] for record in made)
    if done:
        each = _written(made) / done
        return Size(round(each), f"measured: {each / 1e3:.0f} kB an image, of {done} images")
    most = PIXELS_PER_SQUARE * home.config.shards.short_side**2
    megapixels = sum(record.counts.get("megapixels", 0) for record in records(home.storage, INGEST))
    pixels = min(most, 1e6 * megapixels / max(1, images)) if megapixels else most
    known = "the photos' pixels" if megapixels else "no photo was opened yet"
    return Size(
        round(pixels * BYTES_PER_PIXEL),
        f"a guess: {pixels / 1e6:.2g} megapixels an image ({known}), {BYTES_PER_PIXEL:g} bytes a pixel",
    )


def model_size(home: Home, recipe: Recipe) -> Size:
    """A round's model: that of the last round of the same architecture, else by the architecture's weights."""
    storage = home.storage
    for number in range(finished_rounds(storage), 0, -1):
        frozen = read_snapshot(storage, number)
        if frozen is not None and frozen.recipe.architecture == recipe.architecture:
            name = round_name(number)
            return Size(_written([read_record(storage, RETRAIN, name)]), f"measured: {name}")
    name = model_name(storage, model_in_use(storage, home.config.model))
    architecture = recipe.architecture or _architecture_of(home, name)
    known = [status.checkpoint for status in known_checkpoints() if status.checkpoint.architecture == architecture]
    if known:
        # Rounds are written as float16, the official files are float32.
        half = known[0].bytes if known[0].source == "bundled" else known[0].bytes // 2
        return Size(half, f"a guess: {architecture}'s weights in 16 bits")
    path = Path(url_of(storage, name))
    size = path.stat().st_size if path.is_file() else 0
    return Size(size, "a guess: as large as the model in use" if size else "a guess: unknown")


def _architecture_of(home: Home, name: str) -> str | None:
    if is_of_a_home(name):
        return CheckpointCard.model_validate_json(home.storage.read(layout.round_card(name))).architecture
    return next((s.checkpoint.architecture for s in known_checkpoints() if s.checkpoint.name == name), None)


def _written(made: Iterable[CommitRecord]) -> int:
    return sum(stored.bytes for record in made for stored in record.objects)
