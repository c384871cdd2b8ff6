"""One retraining round: frozen snapshot -> train -> measure on the held-out images -> gate -> promote or keep.

A round is one unit: its number is taken by its snapshot, and its commit record, written last, says that it is
done and whether it was promoted. Killed in between, the same command goes on with the same number: training
from its last checkpoint, exactly; what comes after it is done again. It trains in this process, on its GPU
if there is one, or with `ray.trainers` on a cluster.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from dataengine.errors import ConfigError, EngineError, RejectedImageError
from dataengine.evaluation import Rival, SinglePointResult, Thresholds, evaluate_single_point, judge, thresholds_like
from dataengine.evaluation.gate import MIN_IMAGES
from dataengine.home import Home, layout
from dataengine.home.fingerprint import fingerprint
from dataengine.home.owner import Owner
from dataengine.home.rounds import (
    LATEST,
    PROMOTED,
    WORKFLOW,
    finished_rounds,
    machine_folder,
    model_location,
    model_name,
    promoted_rounds,
    roll_back,
    round_name,
)
from dataengine.home.storage import sync
from dataengine.home.units import commit
from dataengine.model import Sam
from dataengine.model.checkpoints import load_model, save_checkpoint
from dataengine.training.curves import Curves
from dataengine.training.recipe import fresh_model, known_recipes, load_recipe
from dataengine.training.snapshot import (
    accepted_set,
    describe,
    freeze,
    open_sets,
    read_snapshot,
    url_of,
    versions,
)
from schemas import CheckpointCard, CommitRecord
from schemas.evaluation import VerdictRecord
from schemas.rounds import FrozenModel, RollbackRecord, SnapshotRecord
from schemas.training import Recipe
from workflows.box_head import round_boxes
from workflows.progress import Bar
from workflows.round_page import SHOWN_IMAGES, detectors_of, pictures, write_page
from workflows.round_training import held_out_images, keep_events, require_trainers, train_round

THRESHOLD_IMAGES = 10
"""Held-out images on which a round's thresholds are chosen: grids of points, no annotation."""

ONE_CLICK = {"images", "masks", "miou_top1", "miou_best"}
"""What a single click measures."""


class TooFewHeldOutError(ConfigError):
    """The gate couldn't tell anything: a round is not begun."""


@dataclass(frozen=True)
class RoundSummary:
    """A finished round: its card, the gate's verdict, and what engine.yaml's `model` stands for now."""

    name: str
    card: CheckpointCard
    verdict: VerdictRecord
    snapshot: SnapshotRecord
    seconds: float
    in_use: str
    report: str
    """Where the page with its curves and pictures lies."""


def retrain(home: Home, console: Console) -> RoundSummary:
    """Runs the next round, or goes on with one that was killed.

    Raises ConfigError for a recipe or data that can't make a round, EngineError when what an unfinished round
    was frozen with has changed.
    """
    with Owner(home.storage, WORKFLOW) as owner:
        number = finished_rounds(home.storage) + 1
        snapshot = read_snapshot(home.storage, number)
        recipe = _recipe(home)
        if snapshot is None:
            snapshot = _begin(home, number, recipe, console)
        else:
            _require_same(home, snapshot, recipe)
            console.print(f"round {number} goes on", highlight=False)
        with _threads(snapshot.threads):
            return _Round(home, owner, snapshot, console).make()


def rollback(home: Home) -> RollbackRecord:
    """`latest` becomes what it was before its last promotion. Refused while a round runs."""
    with Owner(home.storage, WORKFLOW) as owner:
        return roll_back(home.storage, owner)


def _recipe(home: Home) -> Recipe:
    name = home.config.retrain.recipe
    if name not in known_recipes() and home.storage.is_local:
        name = url_of(home.storage, name)
    return load_recipe(name)


def _begin(home: Home, number: int, recipe: Recipe, console: Console) -> SnapshotRecord:
    if not home.config.retrain.data and not accepted_set(home):
        raise ConfigError(
            f"{home.storage.url_of(layout.CONFIG)}: retrain.data is empty: a gate needs labelled images; name a COCO "
            "folder or shards, or take a snapshot of accepted masks"
        )
    require_trainers(home, recipe)
    name = model_name(home.storage, home.config.model)
    _, card = load_model(model_location(home.storage, name))
    with Bar(console, "snapshot", 0, unit="files") as bar:
        snapshot = freeze(home, number, recipe, FrozenModel(name=name, sha256=card.sha256), bar.update)
    held_out = sum(len(frozen.held_out) for frozen in snapshot.sets)
    if held_out < MIN_IMAGES:
        raise TooFewHeldOutError(
            f"retrain.data and the accepted masks hold {held_out} held-out images (a tenth, chosen by hash); the gate "
            f"needs {MIN_IMAGES}, which about 60 images have: annotate more, or name larger sets in retrain.data"
        )
    home.storage.write(layout.round_data(round_name(number)), snapshot.model_dump_json(indent=1).encode())
    return snapshot


def _require_same(home: Home, snapshot: SnapshotRecord, recipe: Recipe) -> None:
    now = versions()
    changed = {
        f"recipe ({snapshot.recipe.name})": recipe != snapshot.recipe,
        f"code ({snapshot.code})": now["code"] != snapshot.code,
        "versions of its libraries": now["libraries"] != snapshot.libraries,
    }
    for what in (name for name, differs in changed.items() if differs):
        raise ConfigError(
            f"round {snapshot.round} was begun with another {what} and isn't finished: restore it, "
            f"or delete {home.storage.url_of(layout.round_data(round_name(snapshot.round)))} to begin the round anew"
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch with the threads that the round began with, wherever it goes on."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Round:
    """One round from its snapshot to its commit record."""

    def __init__(self, home: Home, owner: Owner, snapshot: SnapshotRecord, console: Console) -> None:
        self._home, self._owner, self._snapshot, self._console = home, owner, snapshot, console
        self._name = round_name(snapshot.round)
        self._sources = open_sets(home.storage, snapshot)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # Another snapshot under this number must not go on with this one's weights.
        key = hashlib.sha256(snapshot.model_dump_json().encode()).hexdigest()[:12]
        self._folder = machine_folder(home.storage, "retrain") / f"{self._name}-{key}"
        self._curves = Curves(self._folder)

    def make(self) -> RoundSummary:
        started = time.monotonic()
        parent, parent_card = load_model(self._parent(), self._device)
        if parent_card.sha256 != self._snapshot.parent.sha256:
            raise EngineError(
                f"model {self._snapshot.parent.name} is not the one that round {self._snapshot.round} began with "
                f"({parent_card.sha256[:12]} here, {self._snapshot.parent.sha256[:12]} then)"
            )
        detectors = detectors_of(self._home)  # says now when one is missing, not when all is trained
        sam = _start(self._snapshot, parent).to(self._device)
        sam = train_round(self._home, self._snapshot, self._sources, sam, self._curves, self._folder, self._console)
        file = self._folder / "model.safetensors"
        card = save_checkpoint(sam, self._card(parent_card), file)
        # What is measured is what is kept: the file, with its float16 weights.
        candidate, _ = load_model(file, self._device)
        measured = self._measure(candidate, self._name)
        verdict = judge(measured.masks, self._rivals(), np.random.default_rng(self._snapshot.round))
        thresholds = self._thresholds(candidate)
        by_size = {size: part.model_dump(include=ONE_CLICK) for size, part in measured.by_size().items()}
        card = card.model_copy(
            update={
                "pred_iou_thresh": thresholds.pred_iou_thresh,
                "stability_score_thresh": thresholds.stability_score_thresh,
                "metrics": measured.summary().model_dump(include=ONE_CLICK),
                "verdict": verdict.why,
                "extra": card.extra
                | {"by_size": by_size, "gate": verdict.model_dump(), "thresholds": thresholds.origin},
            }
        )
        self._owner.check()
        begin = _start(self._snapshot, load_model(self._parent(), self._device)[0]).to(self._device)
        shown = pictures(held_out_images(self._snapshot, self._sources, SHOWN_IMAGES), begin, candidate, detectors)
        report = write_page(self._home, self._snapshot, card, verdict, self._curves.series(), shown)
        keep_events(self._home, self._name, self._folder)
        used = str(file) if verdict.promoted else model_location(self._home.storage, self._home.config.model)
        boxes = round_boxes(self._home, self._snapshot, self._sources, used, self._device, self._console, self._folder)
        seconds = time.monotonic() - started
        self._commit([file, *boxes], card, verdict, seconds)
        shutil.rmtree(self._folder, ignore_errors=True)
        in_use = model_name(self._home.storage, self._home.config.model)
        return RoundSummary(self._name, card, verdict, self._snapshot, seconds, in_use, report)

    def _parent(self) -> str:
        return model_location(self._home.storage, self._snapshot.parent.name)

    def _card(self, parent: CheckpointCard) -> CheckpointCard:
        recipe = self._snapshot.recipe
        return parent.model_copy(
            update={
                "name": self._name,
                "description": f"{self._name}: {recipe.name} ({recipe.description}), from {parent.name}",
                "parents": [f"{parent.name}, sha256 {parent.sha256}"],
                "data": [*describe(self._snapshot), *(f"before, in {parent.name}: {line}" for line in parent.data)],
                "metrics": {},
                "extra": {
                    "recipe": recipe.model_dump(),
                    "curves": self._curves.summary(),
                    "held_out": "a tenth of each set by hash; copies and near-copies of it are barred from training",
                },
            }
        )

    # the gate ----------------------------------------------------------------------------------------

    def _rivals(self) -> list[Rival]:
        """The model in use now, and the best promoted so far: each one beat the best before it, so the last."""
        storage = self._home.storage
        names = [model_name(storage, self._home.config.model), *promoted_rounds(storage)[-1:]]
        rivals: dict[str, Rival] = {}
        for name in names:
            sam, card = load_model(model_location(storage, name), self._device)
            if card.sha256 not in rivals:
                rivals[card.sha256] = Rival(name, card.sha256, self._measure(sam, name).masks)
        return list(rivals.values())

    def _measure(self, sam: Sam, name: str) -> SinglePointResult:
        """One click on every held-out mask. Images are named set and file, so that sets can't be confused."""
        result, done = SinglePointResult(), 0
        held_out = held_out_images(self._snapshot, self._sources)
        with Bar(self._console, f"measure {name}", sum(len(names) for _, names in held_out)) as bar:
            for number, (source, names) in enumerate(held_out):
                report = partial(_advance, bar, done)
                found = evaluate_single_point(sam, source, names, max_clicks=1, report=report)
                done += len(names)
                result.masks += [dataclasses.replace(mask, image=f"{number}/{mask.image}") for mask in found.masks]
                result.skipped += found.skipped
        if not result.masks:
            raise EngineError(f"no held-out image can be read any more: {result.skipped.most_common(1)}")
        return result

    def _thresholds(self, candidate: Sam) -> Thresholds:
        """The candidate's own, so that stage 3 doesn't drown in masks because a model became surer of itself."""
        parent, card = load_model(self._parent(), self._device)
        pixels = []
        for source, names in held_out_images(self._snapshot, self._sources, THRESHOLD_IMAGES):
            for name in names:
                with suppress(RejectedImageError):
                    pixels.append(source.read(name).pixels)
        return thresholds_like(parent, card, candidate, pixels)

    # the end -----------------------------------------------------------------------------------------

    def _commit(self, files: list[Path], card: CheckpointCard, verdict: VerdictRecord, seconds: float) -> None:
        """The model first, then what comes with it, and the card under attempt names, read back, promoted together;
        the record last."""
        storage, snapshot = self._home.storage, self._snapshot
        finals = [*(f"{layout.MODELS}/{self._name}/{file.name}" for file in files), layout.round_card(self._name)]
        attempts = [layout.attempt(final, f"{os.getpid()}-{self._owner.epoch}") for final in finals]
        storage.remove(layout.attempts(f"{layout.MODELS}/{self._name}"))
        with storage.attempt_folder(attempts) as folder:
            for file in files:
                shutil.copyfile(file, folder / file.name)
            (folder / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
            for path in folder.iterdir():
                sync(path)
        stored = [storage.describe(attempt) for attempt in attempts]
        if stored[0].sha256 != card.sha256:
            raise EngineError(f"{storage.url_of(attempts[0])} is not what was written; check the disk and run again")
        objects = [found.model_copy(update={"path": final}) for found, final in zip(stored, finals, strict=True)]
        frozen = snapshot.model_dump(mode="json")
        record = CommitRecord(
            workflow=WORKFLOW,
            unit=self._name,
            inputs=storage.describe(layout.round_data(round_name(snapshot.round))).sha256,
            fingerprint=fingerprint({name: frozen[name] for name in ("recipe", "parent", "code", "libraries")}),
            objects=objects,
            counts={
                PROMOTED: int(verdict.promoted),
                "training images": sum(len(s.training) for s in snapshot.sets) + snapshot.shards.images,
                "held-out images": verdict.comparisons[0].images,
                "held-out masks": verdict.comparisons[0].masks,
            },
            seconds=round(seconds, 3),
            owner_epoch=self._owner.epoch,
        )
        commit(storage, self._owner, record, list(zip(attempts, objects, strict=True)))
        storage.remove(layout.attempts(f"{layout.MODELS}/{self._name}"))


def _advance(bar: Bar, before: int, count: int) -> None:
    bar.update(before + count)


def _start(snapshot: SnapshotRecord, parent: Sam) -> Sam:
    """The parent, or what the recipe builds anew: then a part that it freezes must come from the parent."""
    recipe = snapshot.recipe
    if recipe.architecture is None:
        return parent
    sam = fresh_model(recipe, snapshot.round)
    if recipe.phases[0].freeze != "nothing":
        if recipe.architecture != parent.architecture:
            raise ConfigError(
                f"recipe {recipe.name} freezes an encoder ({recipe.architecture}) that nothing has trained: "
                f"the model in use is {snapshot.parent.name} ({parent.architecture})"
            )
        sam.image_encoder.load_state_dict(parent.image_encoder.state_dict())
    return sam


def advice(home: Home, summary: RoundSummary) -> str | None:
    """What a person should do so that a promoted round is used; None when nothing is to do."""
    if not summary.verdict.promoted or home.config.model == LATEST:
        return None
    where = home.storage.url_of(layout.CONFIG)
    return f"{where} says model: {home.config.model}; set it to `latest` (or {summary.name}) to use this round"
