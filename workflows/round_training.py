"""The training of one round: in this process, or by several workers under Ray Train."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from dataengine.errors import ConfigError
from dataengine.evaluation import SinglePointResult, evaluate_single_point
from dataengine.home import Home, layout
from dataengine.home.rounds import machine_folder, round_name
from dataengine.home.storage import Storage
from dataengine.labelled import LabelledSource, fixed_subset
from dataengine.model import Sam
from dataengine.training.curves import Curves
from dataengine.training.data import SampleStream
from dataengine.training.disk import bytes_needed, require_space
from dataengine.training.loop import train
from dataengine.training.snapshot import open_sets, open_stream
from schemas.rounds import SnapshotRecord
from schemas.training import Recipe
from workflows.round_watch import RoundWatch

SAVES = 20
"""Checkpoints a round, at least one every `SAVE_STEPS` steps: what a kill can cost."""
SAVE_STEPS = 100
LOOKS = 4
LOOK_IMAGES = 20
"""`LOOKS` times in a round the mIoU of this many held-out images is measured, for the curve only."""


def train_round(
    home: Home,
    snapshot: SnapshotRecord,
    sources: Sequence[LabelledSource],
    sam: Sam,
    curves: Curves,
    folder: Path,
    console: Console,
) -> Sam:
    """Trains `sam` on what is frozen and returns it; goes on from a checkpoint in `folder`.

    Raises EngineError when the disk or the cluster has too little for it.
    """
    recipe, storage = snapshot.recipe, home.storage
    images = sum(len(frozen.training) for frozen in snapshot.sets) + snapshot.shards.images
    require_space(folder, bytes_needed(sam, recipe, images))
    name, steps = round_name(snapshot.round), sum(phase.steps for phase in recipe.phases)
    with RoundWatch(console, name, steps, curves, _events(home, name, folder)) as watch:
        settings: dict[str, Any] = {
            "seed": snapshot.round,
            "report": watch.report,
            "validate_every": max(1, steps // LOOKS),
            "folder": folder,
            "save_every": max(1, min(SAVE_STEPS, steps // SAVES)),
            "cache": machine_folder(storage, "embeddings"),
        }
        if snapshot.workers == 1:
            stream = open_stream(storage, snapshot, sources)
            return train(sam, stream, recipe, validate=partial(_look, snapshot, sources), **settings)
        # Ray is a part of rounds on several workers only.
        from dataengine.runtime.cluster import ray_session
        from dataengine.runtime.training import train_on_ray

        with ray_session(home.config.ray.address):
            return train_on_ray(
                sam,
                partial(_share, storage.url, snapshot),
                recipe,
                workers=snapshot.workers,
                validate=partial(_look_there, storage.url, snapshot),
                **settings,
            )


def require_trainers(home: Home, recipe: Recipe) -> None:
    """Raises ConfigError when `ray.trainers` can't share the recipe's steps, or would not see one checkpoint."""
    workers, where = home.config.ray.trainers, home.storage.url_of(layout.CONFIG)
    if workers > 1 and not home.storage.is_local:
        raise ConfigError(f"{where}: ray.trainers: {workers} workers need a home in a folder that all nodes see")
    for phase in recipe.phases:
        if phase.images_per_step % workers:
            raise ConfigError(
                f"{where}: ray.trainers: {workers} workers can't share the {phase.images_per_step} images_per_step of "
                f"recipe {recipe.name}"
            )


def keep_events(home: Home, name: str, folder: Path) -> None:
    """TensorBoard's files into a remote home; a local one has them."""
    if not home.storage.is_local:
        for path in sorted(_events(home, name, folder).glob("*")):
            home.storage.write(f"{layout.round_events(name)}/{path.name}", path.read_bytes())


def held_out_images(
    snapshot: SnapshotRecord, sources: Sequence[LabelledSource], limit: int | None = None
) -> list[tuple[LabelledSource, list[str]]]:
    """The held-out images of each set, or a fixed subset of them all."""
    sets = list(zip(sources, snapshot.sets, strict=True))
    everything = [f"{number}/{name}" for number, (_, frozen) in enumerate(sets) for name in frozen.held_out]
    chosen = set(fixed_subset(everything, limit))
    return [
        (source, [name for name in frozen.held_out if f"{number}/{name}" in chosen])
        for number, (source, frozen) in enumerate(sets)
    ]


def _events(home: Home, name: str, folder: Path) -> Path:
    """Where TensorBoard's files are written: in the home at once, so that they can be watched, if it is local."""
    storage = home.storage
    return storage.local_path(layout.round_events(name)) if storage.is_local else folder / "tensorboard"


def _share(url: str, snapshot: SnapshotRecord, worker: int, workers: int) -> SampleStream:
    storage = Storage(url)
    return open_stream(storage, snapshot, open_sets(storage, snapshot), worker=worker, workers=workers)


def _look(snapshot: SnapshotRecord, sources: Sequence[LabelledSource], sam: Sam) -> dict[str, float]:
    """A glance at the held-out images, for the curve. Nothing is chosen by it."""
    result = SinglePointResult()
    for source, names in held_out_images(snapshot, sources, LOOK_IMAGES):
        result.masks += evaluate_single_point(sam, source, names, max_clicks=1).masks
    return {"held_out_miou": result.summary().miou_top1} if result.masks else {}


def _look_there(url: str, snapshot: SnapshotRecord, sam: Sam) -> dict[str, float]:
    return _look(snapshot, open_sets(Storage(url), snapshot), sam)
