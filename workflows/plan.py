"""`dataengine plan`: every step of the schedule with its units, images, hours and bytes. Starts and writes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dataengine.catalog import list_inputs
from dataengine.catalog.sources import ListingCounts
from dataengine.home import Home, layout
from dataengine.home.rounds import model_in_use
from dataengine.home.schedule import Step, require_unchanged, steps_of
from dataengine.home.units import records
from schemas.schedule import Target
from workflows.costs import round_cost, seconds_per_image
from workflows.ingest import WORKFLOW as INGEST
from workflows.sizes import step_size


@dataclass(frozen=True)
class PlannedStep:
    """One step. Hours are of one device, and by the clock with one and with several."""

    number: int
    step: str
    done: bool
    units: int
    """Catalog parts, rounds or shards; 0 of people's work."""
    images: int | None
    """None where only a number of masks is known."""
    gpu_hours: float
    hours_with_one: float
    hours_with_several: float
    basis: str
    bytes: int | None
    """What the step writes in all; None of people's work."""
    bytes_basis: str
    """Measured, or a guess and by what."""


def plan_home(home: Home, gpus: int) -> list[PlannedStep]:
    """The whole schedule, also what is done. Before ingest every listed file counts as a usable image.

    Raises ConfigError when the schedule has changed where it is done already.
    """
    done = require_unchanged(home.storage, home.storage.url_of(layout.CONFIG), steps_of(home.config))
    finished = list(records(home.storage, INGEST))
    if finished:
        images = sum(record.counts["ok"] for record in finished)
    else:
        images = sum(1 for _ in list_inputs(home.config.images, home.storage.url, ListingCounts()))
    return [_planned(home, step, images, gpus, step.unit in done) for step in steps_of(home.config)]


def _planned(home: Home, step: Step, images: int, gpus: int, is_done: bool) -> PlannedStep:
    units, of_them, seconds, abreast, basis = 0, None, 0.0, 1, ""
    if step.kind == "ingest":
        units, of_them = math.ceil(images / home.config.ingest.images_per_part), images
    elif step.kind == "annotate":
        of_them, basis = _images_until(step.target, images), "people's time, or simulated people's"
    elif step.kind == "retrain":
        cost = round_cost(home, step.recipe)
        units, seconds, basis = 1, cost.seconds, cost.basis
    elif step.kind == "release":
        units, of_them, basis = math.ceil(images / home.config.shards.images_per_shard), images, "no GPU"
    else:
        units, of_them = math.ceil(images / home.config.shards.images_per_shard), images
        each = seconds_per_image(home, model_in_use(home.storage, home.config.model))
        seconds, basis = each.seconds * images, f"{each.seconds:.3g} s an image, {each.basis}"
        # Few shards share the generators, so that images and not shards are what runs abreast.
        abreast = min(gpus, max(1, images))
    hours, size = seconds / 3600, step_size(home, step, images)
    return PlannedStep(
        step.number,
        step.text,
        is_done,
        units,
        of_them,
        gpu_hours=hours,
        hours_with_one=hours,
        hours_with_several=hours / abreast,
        basis=basis,
        bytes=size.bytes if size else None,
        bytes_basis=size.basis if size else "",
    )


def _images_until(target: Target | None, images: int) -> int | None:
    if target is None:
        return images
    if target.unit == "masks":
        return None
    return round(target.amount * images) if target.unit == "share" else min(images, int(target.amount))
