"""kill -9 at random moments across the whole loop, and what is there in the end. A check, not a speed.

    python -m benchmarks.kills [--kills 10] [--seed 0] [--images 12] [--slow 1] [--home HOME] [--json FILE]

A small home of drawn pictures (`workflows/sample_scenes.py`) with all three stages and four rounds is run by
`dataengine run --simulate`, whose whole process group is killed --kills times; each time the same command goes on.
The moments are drawn from --seed: each step of the schedule as often as the others, and seconds into it (--slow 2
doubles them, for a slower machine). Then what the annotators were told is compared with what is stored: every
acknowledged mask is there exactly once, every task is final, the chain of events holds, rounds and steps are those of
the schedule, shards verify, and no process is left. Ends with 1 when something is amiss.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import CHECKOUT, Figures, machine, parser, report
from dataengine.annotations import ASSISTED_MANUAL, SEMI_AUTOMATIC, store_of
from dataengine.annotations.tables import mask, task
from dataengine.annotator.client import AnnotatorClient
from dataengine.detection.objects import open_detector
from dataengine.errors import EngineError
from dataengine.home import Home, create_home, layout, open_home
from dataengine.home.schedule import results, steps_of
from dataengine.home.storage import Storage
from dataengine.home.units import committed
from dataengine.training.recipe import load_recipe
from workflows.known_truth import KnownTruth, write_scenes
from workflows.retrain import WORKFLOW as RETRAIN
from workflows.sample_scenes import scenes
from workflows.verify import verify

TRUTH = "truth"
ACKNOWLEDGED = "acknowledged.jsonl"
MARK = "DATAENGINE_KILLS"
"""In the environment of every process of a run: so that what is left of it is found."""
SECONDS = {"ingest": 8.0, "annotate": 5.0, "retrain": 12.0, "generate": 10.0}
"""A kill comes at most so late after its step was begun, or gone on with, times --slow; where people annotate, after
the first mask that is acknowledged to them in this run: before it they wait for Ray, model and embeddings."""
LAST = 0.4
"""Of that, for the last step: later, and the loop is over."""
GONE_SECONDS = 30.0
FINAL = ("accepted", "rejected", "skipped")
UNTOUCHED = ("pending", "ready")


# the run that is killed --------------------------------------------------------------------------------


def drive(journal: str, arguments: list[str]) -> None:
    """`dataengine`, with a journal of the answers that annotators got: one line, one write, nothing buffered."""
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    save, delete = AnnotatorClient.save_mask, AnnotatorClient.delete_mask

    def saved(self: AnnotatorClient, of: dict, mask_id: str, base: int, content: dict) -> int:  # type: ignore[type-arg]
        revision = save(self, of, mask_id, base, content)
        line = {"task": of["id"], "mask": mask_id, "counts": content["rle"]["counts"]}
        os.write(file, (json.dumps(line) + "\n").encode())
        return revision

    def deleted(self: AnnotatorClient, of: dict, mask_id: str, base: int, reason: str) -> None:  # type: ignore[type-arg]
        delete(self, of, mask_id, base, reason)
        os.write(file, (json.dumps({"task": of["id"], "deleted": mask_id}) + "\n").encode())

    AnnotatorClient.save_mask, AnnotatorClient.delete_mask = saved, deleted  # type: ignore[method-assign]
    from workflows.cli import main as command

    sys.argv = ["dataengine", *arguments]
    command()


class Run:
    """One attempt, in a process group of its own; `step` is the number of the step that it said it has begun last."""

    def __init__(self, home: Path, truth: KnownTruth, log: Path) -> None:
        simulate = [part for folder in truth.labelled for part in ("--simulate", folder)]
        driver = [sys.executable, "-m", "benchmarks.kills", "--drive", str(home / ACKNOWLEDGED)]
        self._process = subprocess.Popen(
            [*driver, "run", str(home), *simulate],
            cwd=CHECKOUT,
            env=os.environ | {MARK: str(home), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        self.step, self.last, self.began = 0, "", time.monotonic()
        self.seconds = 0.0
        """From the begin of that step to the kill."""
        self._log = log
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("a", encoding="utf-8") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                number = line[1:].partition("]")[0]
                if line.startswith("[") and number.isdigit():
                    self.last = line.strip()
                    # "[3] done: ..." ends a step, "[4] retrain ..." begins one.
                    if int(number) != self.step:
                        self.step, self.began = int(number), time.monotonic()

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self.seconds = time.monotonic() - self.began
        self._process.wait()
        self._reader.join(timeout=10)

    def wait(self) -> int:
        code = self._process.wait()
        self._reader.join(timeout=10)
        return code


# the home ----------------------------------------------------------------------------------------------


def make_home(url: Path, images: int) -> tuple[Home, KnownTruth]:
    """All three stages, a round of ten steps after each, nothing large."""
    if Storage(str(url)).exists(layout.CONFIG):
        raise EngineError(f"{url} is a home already; every check begins with a new one")
    url.mkdir(parents=True, exist_ok=True)
    truth = write_scenes(scenes(), url / TRUTH, images, 6)
    recipe = load_recipe("finetune_decoder")
    short = {"steps": 10, "images_per_step": 2, "images_at_once": 2, "masks_per_image": 3, "corrections": 0}
    phase = recipe.phases[0].model_copy(update={**short, "empty_iterations": 0, "warmup_steps": 2, "decay_at": []})
    small = recipe.model_copy(update={"name": "small", "phases": [phase]})
    (url / "small.yaml").write_text(small.model_dump_json())
    part = max(2, images // 2)
    try:
        open_detector("yolox-nano")
        detector = ["prefill.detector=yolox-nano"]
    except EngineError:
        detector = ["prefill.detector=latest", "retrain.box_steps=20"]
    overrides = [
        "model=latest",
        f"engine.schedule=[{{stage: assisted-manual, until: {{images: {part}}}, retrain: {{times: 2}}}},"
        " {stage: semi-automatic, retrain: {times: 1}}, {stage: fully-automatic}, {retrain: {}}]",
        "retrain.recipe=small.yaml",
        f"retrain.data={json.dumps(truth.held_out)}",
        "generate.points_per_side=4",
        "generate.threads=1",
        "shards.images_per_shard=4",
        "annotate.ready_ahead=4",
        *("privacy.faces=off", "privacy.plates=off", "privacy.mode=off"),
        *detector,
    ]
    return create_home(str(url), truth.photos, overrides), truth


# the kills ---------------------------------------------------------------------------------------------


@dataclass
class Moment:
    """When a kill shall come: so many seconds after a step has been begun."""

    step: int
    seconds: float
    among_people: bool = False


def moments(home: Home, kills: int, seed: int, slow: float) -> list[Moment]:
    """In the order of the schedule; each step as often as the others, and what is left over anywhere."""
    draw, steps = random.Random(seed), steps_of(home.config)
    places = range(len(steps))
    drawn = sorted([*places] * (kills // len(steps)) + draw.sample(places, kills % len(steps)))
    longest = [SECONDS[step.kind] * slow * (LAST if step is steps[-1] else 1.0) for step in steps]
    return [
        Moment(steps[index].number, draw.uniform(0.2, longest[index]), steps[index].kind == "annotate")
        for index in drawn
    ]


def strike(run: Run, moment: Moment, journal: Path) -> bool:
    """Waits for the moment and kills; False when the loop was over before it."""

    def size() -> int:
        return journal.stat().st_size if journal.exists() else 0

    before = size()
    came: float | None = None
    while not run.is_over():
        if came is None and run.step == moment.step and (not moment.among_people or size() > before):
            came = time.monotonic() if moment.among_people else run.began
        if run.step > moment.step or (came is not None and time.monotonic() - came >= moment.seconds):
            run.kill()
            return True
        time.sleep(0.02)
    run.wait()
    return False


def disturbed(home: Home, truth: KnownTruth, planned: list[Moment], log: Path) -> tuple[list[Figures], int]:
    """A row a kill; and how the last run, which nobody killed, ended."""
    folder, rows = Path(home.storage.url), []
    for number, moment in enumerate(planned, start=1):
        run = Run(folder, truth, log)
        started = time.monotonic()
        since = "after a mask" if moment.among_people else "in"
        landed = strike(run, moment, folder / ACKNOWLEDGED)
        rows.append(
            {
                "kill": number,
                "planned": f"step {moment.step}, {moment.seconds:.1f} s {since}",
                "fell": _where(home, run) if landed else "too late: the loop was over",
                "s after start": round(time.monotonic() - started, 1),
                "masks acknowledged": len(acknowledged(folder).saved),
                "steps done": len(committed(home.storage, "engine")),
                "alive after it": len(left_over(folder)),
            }
        )
        print(rows[-1], file=sys.stderr)
        if not landed:
            break
    return rows, Run(folder, truth, log).wait()


def _where(home: Home, run: Run) -> str:
    steps = {step.number: step.text for step in steps_of(home.config)}
    if not run.step:
        return "starting"
    ended = not run.last.endswith(steps[run.step])
    return f"step {run.step}, {steps[run.step]}" + (", after its end" if ended else f", {run.seconds:.1f} s in")


def left_over(home: Path) -> list[int]:
    """Processes that a run of this home has started and that are still there."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and f"{MARK}={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


# what is there in the end ------------------------------------------------------------------------------


@dataclass
class Told:
    """What annotators were answered: mask id -> (task, counts); and those that they deleted again."""

    saved: dict[str, tuple[int, str]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)


def acknowledged(home: Path) -> Told:
    told = Told()
    journal = home / ACKNOWLEDGED
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        entry = json.loads(line)
        if "deleted" in entry:
            told.deleted.add(entry["deleted"])
        else:
            told.saved[entry["mask"]] = entry["task"], entry["counts"]
    return told


def compare(home: Home) -> list[str]:
    """Everything that isn't as it should be; [] when nothing was lost, doubled or left undone."""
    problems = []
    told = acknowledged(Path(home.storage.url))
    with contextlib.closing(store_of(home, ASSISTED_MANUAL)) as store:
        problems += store.verify().problems
        with store.database.read() as connection:
            masks = {row.id: row for row in connection.execute(mask.select())}
            tasks = list(connection.execute(task.select()))
    for mask_id, (task_id, counts) in told.saved.items():
        row = masks.get(mask_id)
        if row is None or row.task_id != task_id or row.counts != counts:
            problems.append(f"mask {mask_id} was acknowledged and is not there as it was")
        elif row.state != "live" and mask_id not in told.deleted:
            problems.append(f"mask {mask_id} was acknowledged and is {row.state}")
    live = Counter((row.task_id, row.counts) for row in masks.values() if row.state == "live")
    problems += [f"task {key[0]} has a mask {times} times" for key, times in live.items() if times > 1]
    problems += _tasks(tasks)
    return problems + _rounds(home) + [str(problem) for problem in verify(home.storage.url).problems]


def _tasks(tasks: list) -> list[str]:  # type: ignore[type-arg]
    """Each task is final, but for those of stage 1 that nobody got before its target was reached: stage 2 has them."""
    problems = [
        f"task {one.id} of {one.stage} is {one.state}"
        for one in tasks
        if one.state not in FINAL and (one.stage == SEMI_AUTOMATIC or one.state not in UNTOUCHED)
    ]
    done = {one.image_id for one in tasks if one.state in FINAL}
    missing = {one.image_id for one in tasks} - done
    return problems + [f"image {image} has no final task" for image in sorted(missing)]


def _rounds(home: Home) -> list[str]:
    steps, storage = steps_of(home.config), home.storage
    found = results(storage)
    problems = []
    if [result.step for result in found] != [step.text for step in steps]:
        problems.append(f"{len(found)} steps are done, of {len(steps)}")
    made = [result.round for result in found if result.round is not None]
    # A round is skipped when nothing was accepted since the one before: people had done more than they should.
    scheduled = sum(step.kind == "retrain" for step in steps) - sum(result.outcome == "skipped" for result in found)
    names = sorted(name for name in storage.list(layout.MODELS) if name.startswith("round-"))
    records = sorted(name for name in committed(storage, RETRAIN) if name.startswith("round-"))
    if made != list(range(1, scheduled + 1)) or names != records or len(names) != scheduled:
        problems.append(f"{scheduled} rounds are due; there are {made}, folders {names}, records {records}")
    return problems


def main() -> None:
    if sys.argv[1:2] == ["--drive"]:
        drive(sys.argv[2], sys.argv[3:])
        return
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--images", type=int, default=12, help="of the home; six more are the gate's")
    arguments.add_argument("--slow", type=float, default=1.0)
    arguments.add_argument("--home", type=Path, help="keep the home there; it must not exist")
    given = arguments.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        folder = (given.home or scratch / "home").absolute()
        home, truth = make_home(folder, given.images)
        planned = moments(home, given.kills, given.seed, given.slow)
        started = time.monotonic()
        rows, code = disturbed(home, truth, planned, folder / "runs.log")
        problems = [f"the last run ended with {code}"] if code else []
        problems += compare(open_home(str(folder)))
        deadline = time.monotonic() + GONE_SECONDS
        while (left := left_over(folder)) and time.monotonic() < deadline:
            time.sleep(0.5)
        problems += [f"process {pid} was left" for pid in left]
        told = acknowledged(folder)
        facts = {
            "seconds": round(time.monotonic() - started, 1),
            "masks_acknowledged": len(told.saved),
            "suggestions_deleted": len(told.deleted),
            "steps": [f"{result.step}: {result.outcome}" for result in results(home.storage)],
            "problems": problems,
        }
        report(machine(), rows, given.json, **facts)
        print(json.dumps(facts, indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
