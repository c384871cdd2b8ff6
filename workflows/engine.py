"""`dataengine run HOME`: the whole loop, as `engine.schedule` says. Resumable at any moment.

Each step is a unit with a commit record, written last. What a step starts from is written down once, before it does
anything, so a run that was killed between a round's own record and the step's finds the round and doesn't make
another. A worse model is kept out by the gate, and the loop goes on with the old one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from dataengine.annotations import SEMI_AUTOMATIC, Store
from dataengine.errors import ConfigError, EngineError
from dataengine.evaluation.gate import MIN_IMAGES
from dataengine.home import Home, layout
from dataengine.home.config_file import line_of
from dataengine.home.owner import Owner
from dataengine.home.rounds import (
    LATEST,
    PROMOTED,
    finished_rounds,
    model_in_use,
    round_name,
    round_with_boxes,
)
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.schedule import (
    WORKFLOW,
    Step,
    amount_of,
    begin,
    finish,
    reached,
    read_begun,
    require_unchanged,
    results,
    steps_of,
)
from dataengine.home.units import committed, read_record, records
from dataengine.labelled.held_out import is_held_out
from dataengine.training.snapshot import read_snapshot
from schemas import CheckpointCard
from schemas.engine import Outcome, StepBegun, StepResult
from schemas.schedule import AUTOMATIC, Target
from workflows.annotate import open_annotations
from workflows.costs import recipe_of
from workflows.engine_budget import Budget, OutOfBudgetError
from workflows.engine_hands import Desk, Hands
from workflows.engine_page import write_engine_page
from workflows.generate import generate
from workflows.ingest import WORKFLOW as INGEST
from workflows.ingest import ingest, rows_of
from workflows.prefill_ahead import detector_of
from workflows.release import release
from workflows.report import write_report
from workflows.retrain import TooFewHeldOutError, retrain
from workflows.snapshot import SnapshotSummary, take_snapshot_of_store


@dataclass
class EngineSummary:
    """Where the loop stands after a run."""

    done: int = 0
    steps: int = 0
    results: list[StepResult] = field(default_factory=list)
    stopped: str | None = None
    """Why the run ended before the schedule did; None when all is done."""
    model: str = ""
    report: str = ""


def run(home: Home, hands: Hands, console: Console, max_gpu_hours: float | None = None) -> EngineSummary:
    """Does what is left of the schedule.

    Raises ConfigError for a schedule that can't be done, before it does anything, or that has changed where it is
    done already; EngineError when a step fails: the next run goes on with it.
    """
    where = home.storage.url_of(layout.CONFIG)
    steps = steps_of(home.config)
    with Owner(home.storage, WORKFLOW) as owner:
        _require_possible(home, where, steps)
        done = require_unchanged(home.storage, where, steps)
        home.storage.remove(layout.attempts(layout.ENGINE_RESULTS))
        budget = Budget(home, max_gpu_hours)
        summary = EngineSummary(steps=len(steps))
        with ExitStack() as open_desks:
            work = _Run(home, owner, hands, console, budget, open_desks)
            try:
                for step in steps:
                    if step.unit not in done:
                        work.do(step)
            except OutOfBudgetError as error:
                summary.stopped = str(error)
        summary.report = write_engine_page(home)
    summary.results = results(home.storage)
    summary.done = len(summary.results)
    summary.model = model_in_use(home.storage, home.config.model)
    return summary


def _require_possible(home: Home, where: str, steps: list[Step]) -> None:
    """Every stage and every recipe of the schedule, asked for now and not after days of work; all errors at once."""
    problems: dict[str, None] = {}
    text = home.storage.read(layout.CONFIG).decode()
    for step in steps:
        if step.entry is None:
            continue
        at = f"{where}: {line_of(text, 'engine', 'schedule', step.entry)}: engine.schedule.{step.entry}"
        try:
            if step.kind == "annotate" and step.stage is not None:
                open_annotations(home, step.stage).close()
                if step.stage == SEMI_AUTOMATIC:
                    _require_detector(home, any(other.kind == "retrain" for other in steps[: steps.index(step)]))
            elif step.recipe:
                recipe_of(home, step.recipe)
        except EngineError as error:
            problems[f"{at}: {error}"] = None
    if problems:
        raise ConfigError("\n".join(problems))


def _require_detector(home: Home, after_a_round: bool) -> None:
    if home.config.prefill.detector != LATEST:
        detector_of(home)
    elif not after_a_round and round_with_boxes(home.storage) is None:
        raise ConfigError("prefill.detector: latest: no round comes before it that trains a box head")


class _Run:
    """One run over the steps that have no record."""

    def __init__(
        self, home: Home, owner: Owner, hands: Hands, console: Console, budget: Budget, open_desks: ExitStack
    ) -> None:
        self._home, self._storage, self._owner = home, home.storage, owner
        self._hands, self._console, self._budget = hands, console, budget
        self._stack = open_desks
        self._desk: tuple[str, Desk] | None = None

    def do(self, step: Step) -> None:
        """Does one step and writes its record."""
        self._console.print(f"[{step.number}] {step.text}", highlight=False, markup=False)
        alone = step.kind in ("retrain", "release") and step.stage is None
        if step.stage == AUTOMATIC or alone or not self._hands.stays_open:
            self._close_desk()
        started = time.monotonic()
        doing: dict[str, Callable[[Step], _Came]] = {
            "ingest": self._ingest,
            "annotate": self._annotate,
            "retrain": self._retrain,
            "generate": self._generate,
            "release": self._release,
        }
        came = doing[step.kind](step)
        begun = read_begun(self._storage, step.unit)
        result = StepResult(
            unit=step.unit,
            step=step.text,
            stage=step.stage,
            outcome=came.outcome,
            why=came.why,
            model=self._model(),
            begun=begun.at if begun else time.time(),
            seconds=round(time.monotonic() - started, 3),
            round=came.round,
            snapshot=came.snapshot,
            figures=came.figures,
        )
        finish(self._storage, self._owner, step, result, {came.outcome: 1})
        write_engine_page(self._home)
        self._console.print(f"[{step.number}] {came.outcome}: {came.why}", highlight=False, markup=False)

    def _begin(self, step: Step, round_: int | None = None) -> StepBegun:
        found = read_begun(self._storage, step.unit)
        now = StepBegun(unit=step.unit, step=step.text, model=self._model(), at=time.time(), round=round_)
        return found or begin(self._storage, self._owner, now)

    def _model(self) -> str:
        return model_in_use(self._storage, self._home.config.model)

    def _with(self, **sections: Any) -> Home:
        """The home with the model in use in place of engine.yaml's."""
        return Home(self._storage, self._home.config.model_copy(update={"model": self._model(), **sections}))

    # ingest ------------------------------------------------------------------------------------------

    def _ingest(self, step: Step) -> _Came:
        self._begin(step)
        counts = ingest(self._home, self._console).counts
        if not counts["ok"]:
            raise EngineError(f"no usable image in the catalog; see: dataengine status {self._storage.url}")
        self._require_held_out()
        return _Came("done", f"{counts['ok']} usable images", figures={k: float(v) for k, v in counts.items()})

    def _require_held_out(self) -> None:
        """A home whose photos alone can never satisfy the gate is told before anybody clicks."""
        config = self._home.config
        rounds = sum(step.kind == "retrain" for step in steps_of(config))
        if not rounds or config.retrain.data:
            return
        photos = [row.sha256 for row in rows_of(self._home) if row.status == "ok" and row.sha256]
        held_out = sum(is_held_out(sha256) for sha256 in photos)
        if held_out < MIN_IMAGES:
            raise ConfigError(
                f"{self._storage.url_of(layout.CONFIG)}: engine.schedule has {rounds} retraining rounds, but "
                f"{held_out} of the {len(photos)} photos are held out (a tenth, chosen by hash) and the gate needs "
                f"{MIN_IMAGES}: add photos (about 60 hold out 6), name labelled sets in retrain.data, or take the "
                "rounds out"
            )

    # people ------------------------------------------------------------------------------------------

    def _annotate(self, step: Step) -> _Came:
        assert step.stage is not None
        begun = self._begin(step)
        usable = sum(record.counts["ok"] for record in records(self._storage, INGEST))
        target = step.target or Target(share=1.0)

        def until(store: Store) -> bool:
            accepted = store.statistics.accepted()
            return any(reached(wanted, accepted, usable) for wanted in (step.target, step.whole) if wanted is not None)

        def done(store: Store) -> int:
            return store.statistics.accepted()["masks" if target.unit == "masks" else "images"]

        more = self._open_desk(step.stage).work(until, amount_of(target, usable), done)
        with contextlib.closing(open_annotations(self._home, step.stage)) as store:
            accepted, drawn = store.statistics.accepted(), store.statistics.since(int(begun.at * 1000))
            is_reached = until(store)
        measured = {
            "images": accepted["images"],
            "masks": accepted["masks"],
            "masks_per_image": accepted["masks"] / max(1, accepted["images"]),
            "made": drawn["masks"],
            "seconds_per_mask": drawn["seconds_per_mask"],
            "clicks_per_mask": drawn["clicks_per_mask"],
        }
        figures = {name: float(value) for name, value in (measured | more).items() if value is not None}
        why = f"{accepted['images']} images with {accepted['masks']} masks are accepted"
        if is_reached or step.target is None:
            return _Came("done", why, figures=figures)
        return _Came("ran out", f"{why}; no task is left", figures=figures)

    def _open_desk(self, stage: str) -> Desk:
        if self._desk is None or self._desk[0] != stage:
            self._close_desk()
            self._desk = stage, self._stack.enter_context(self._hands.desk(self._home, stage, self._console))
        return self._desk[1]

    def _close_desk(self) -> None:
        self._stack.close()
        self._desk = None

    # rounds ------------------------------------------------------------------------------------------

    def _retrain(self, step: Step) -> _Came:
        begun = read_begun(self._storage, step.unit)
        number = begun.round if begun and begun.round else finished_rounds(self._storage) + 1
        if round_name(number) not in committed(self._storage, RETRAIN):
            snapshot: int | None = None
            if read_snapshot(self._storage, number) is None:
                snapshot = self._snapshot()
                before = [result.snapshot for result in results(self._storage) if result.round]
                if step.stage and before and before[-1] == snapshot:
                    return _Came("skipped", "nothing was accepted since the round before", snapshot=snapshot)
            self._budget.require(self._budget.round_hours(step.recipe), f"step {step.number}, {step.text}")
            self._begin(step, number)
            section = self._home.config.retrain.model_copy(update={"recipe": step.recipe})
            try:
                retrain(self._with(retrain=section), self._console)
            except TooFewHeldOutError as error:
                return _Came("skipped", str(error), snapshot=snapshot)
        return self._round(number)

    def _snapshot(self) -> int | None:
        """Freezes what is accepted; None when nothing is."""
        with contextlib.closing(open_annotations(self._home)) as store:
            (_, _), images = store.snapshots.accepted()
            nothing = next(images, None) is None
            images.close()  # type: ignore[attr-defined]
        if nothing:
            return None
        summary: SnapshotSummary = take_snapshot_of_store(self._home, self._console)
        return summary.record.number

    def _round(self, number: int) -> _Came:
        name = round_name(number)
        card = CheckpointCard.model_validate_json(self._storage.read(layout.round_card(name)))
        promoted = read_record(self._storage, RETRAIN, name).counts[PROMOTED]
        frozen = read_snapshot(self._storage, number)
        folder = f"{layout.SNAPSHOTS}/"
        snapshots = (
            [one.path.removeprefix(folder) for one in frozen.sets if one.path.startswith(folder)] if frozen else []
        )
        figures = {key: card.metrics[key] for key in ("miou_top1", "miou_best", "masks", "images")}
        # Of the rivals the first is the model in use.
        figures["in_use"] = card.extra["gate"]["comparisons"][0]["other"]
        outcome: Outcome = "promoted" if promoted else "kept"
        why = f"{name}: {(card.verdict or '').removeprefix(f'{outcome}: ')}"
        return _Came(outcome, why, figures=figures, round=number, snapshot=int(snapshots[0]) if snapshots else None)

    # stage 3 -----------------------------------------------------------------------------------------

    def _generate(self, step: Step) -> _Came:
        home = self._with(model=self._begin(step).model)
        affordable = self._budget.shards_affordable()
        summary = generate(home, self._console, most=affordable)
        if summary.failed:
            listed = "; ".join(f"{shard}: {reason}" for shard, reason in summary.failed.items())
            raise EngineError(f"{AUTOMATIC}: {len(summary.failed)} shards are not finished: {listed}")
        if summary.left:
            self._budget.refuse(f"{summary.left} shards of {AUTOMATIC}")
        write_report(home, summary)
        figures = {
            "images": float(summary.images),
            "masks": float(summary.masks),
            "masks_per_image": summary.masks / max(1, summary.images),
        }
        return _Came(
            "done", f"{summary.masks} masks of {summary.images} images by {home.config.model}", figures=figures
        )

    # release -----------------------------------------------------------------------------------------

    def _release(self, step: Step) -> _Came:
        assert step.version is not None
        self._begin(step)
        index = release(self._home, step.version, self._console).index
        figures = {name: float(index.count(name)) for name in ("images", "masks")}
        shards = len(index.parts[0].shards)
        why = f"{shards} shards, {index.count('images')} images with {index.count('masks')} masks"
        return _Came("done", why, figures=figures)


@dataclass(frozen=True)
class _Came:
    """What a step came to."""

    outcome: Outcome
    why: str
    figures: dict[str, float] = field(default_factory=dict)
    round: int | None = None
    snapshot: int | None = None
