"""What rounds and shards cost, in seconds of one device: measured in this home's commit records, else a stated guess.

A device is a GPU, or the CPU of a machine without one. Embeddings for annotators and ingest's detectors aren't
counted: they are small beside rounds and shards.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataengine.home import Home
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.rounds import finished_rounds, round_name
from dataengine.home.units import read_record, records
from dataengine.training.recipe import known_recipes, load_recipe
from dataengine.training.snapshot import GENERATE, read_snapshot, url_of
from schemas.training import Recipe

IMAGE_SECONDS = {"nano": 1.0}
OTHER_IMAGE_SECONDS = 10.0
"""Stage 3, before anything is measured: `nano` on two CPU cores; a ViT with the paper's crops on a GPU. Guesses."""
TRAINED_IMAGE_SECONDS = 0.1
WHOLE_MODEL_FACTOR = 5.0
"""Training, an image in a step, on a frozen encoder's features; and how much more with the encoder. Guesses."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one device, and whether they were measured in this home or are a guess."""

    seconds: float
    basis: str

    @property
    def hours(self) -> float:
        return self.seconds / 3600


def seconds_per_image(home: Home, model: str) -> Cost:
    """Stage 3, an image."""
    found = list(records(home.storage, GENERATE))
    images = sum(record.counts["images"] for record in found)
    if images:
        return Cost(sum(record.seconds for record in found) / images, f"measured on {images} images")
    return Cost(IMAGE_SECONDS.get(model, OTHER_IMAGE_SECONDS), "a guess: no shard is finished yet")


def round_cost(home: Home, recipe: str | None) -> Cost:
    """One round: the last one that was made by the same recipe, else by its steps."""
    wanted = recipe_of(home, recipe)
    for number in range(finished_rounds(home.storage), 0, -1):
        frozen = read_snapshot(home.storage, number)
        if frozen is not None and frozen.recipe == wanted:
            name = round_name(number)
            return Cost(read_record(home.storage, RETRAIN, name).seconds, f"measured: {name}")
    seconds = 0.0
    for phase in wanted.phases:
        each = TRAINED_IMAGE_SECONDS * (WHOLE_MODEL_FACTOR if phase.freeze == "nothing" else 1)
        seconds += phase.steps * phase.images_per_step * each
    return Cost(seconds, "a guess: no round of this recipe is finished yet")


def spent_seconds(home: Home) -> float:
    """Of all finished rounds and shards of this home; what an interrupted one took isn't known."""
    return sum(record.seconds for workflow in (RETRAIN, GENERATE) for record in records(home.storage, workflow))


def recipe_of(home: Home, recipe: str | None) -> Recipe:
    """A recipe as the schedule or `retrain.recipe` names it. Raises ConfigError."""
    name = recipe or home.config.retrain.recipe
    if name not in known_recipes() and home.storage.is_local:
        name = url_of(home.storage, name)
    return load_recipe(name)
