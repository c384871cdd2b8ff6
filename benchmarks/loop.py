"""The whole loop on labelled photos, with simulated annotators: what each round changed, in one table.

    python -m benchmarks.loop DIR [DIR ...] --home HOME [--images 60] [--unlabelled 30] [--held-out 30] [--objects 8]
        [--steps 60] [--box-steps 400] [--detector yolox-nano] [--points 10] [--json FILE]

DIR is a COCO-form folder with masks. From the training side of all of them (nine tenths, by hash) come the home's
--images labelled images, which people annotate, and --unlabelled ones, whose masks nobody knows; --held-out images
of the other side are the gate's, with their --objects most prominent objects. The schedule: stage 1 on half of the
labelled images with two rounds, a round whose recipe harms the model on purpose, stage 2 on the rest with one round,
stage 3 on all images, a last round.

Kill it whenever you like: with the same --home it goes on, with the options of the first time. A row of the table is
a round with the work that was done before it, by the model in use at that time; `recall` is the share of the held-out
images' objects that a confident suggestion hits (IoU .5), by the model in use after the round.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from benchmarks.measure import Figures, machine, parser, print_table, report
from benchmarks.prefill import by_detector, measure
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.detection.objects import open_detector
from dataengine.home import Home, create_home, layout, open_home
from dataengine.home.rounds import model_location, round_name
from dataengine.home.schedule import results
from dataengine.home.storage import Storage
from dataengine.labelled import LabelledImage, fixed_subset, open_labelled
from dataengine.model.checkpoints import load_model
from dataengine.training.recipe import load_recipe
from schemas.engine import StepResult
from schemas.training import FirstPrompt, LossWeights, Phase
from workflows.engine import run
from workflows.engine_hands import Simulated
from workflows.known_truth import KnownTruth, divide

CONSOLE = Console(stderr=True)
TRUTH = "truth"
RECALL_IMAGES = 30
PREFILL_FILE = "reports/prefill-by-round.json"
"""Recall of prefill by round, kept: measuring it takes a second an image."""


@dataclass(frozen=True)
class Options:
    """The command line of the first time, kept beside engine.yaml."""

    images: int
    unlabelled: int
    held_out: int
    objects: int
    steps: int
    box_steps: int
    detector: str
    points: int


def make_home(url: Path, folders: list[Path], options: Options) -> Home:
    """The home with its recipes and sets; engine.yaml, written last, says that they are whole."""
    if Storage(str(url)).exists(layout.CONFIG):
        return open_home(str(url))
    url.mkdir(parents=True, exist_ok=True)
    truth = divide(folders, url / TRUTH, options.images, options.held_out, options.unlabelled, most=options.objects)
    base = load_recipe("finetune_decoder").phases[0]
    short = {
        "steps": options.steps,
        "masks_per_image": 4,
        "first_prompt": FirstPrompt(point=0.7, box=0.3, centre=0.7),
        "loss": LossWeights(supervise_all_iou=True),
        "learning_rate": 2e-4,
        "warmup_steps": 5,
        "decay_at": [options.steps * 3 // 4],
        "decay_factor": 0.1,
        "clip_norm": 0.1,
    }
    _write_recipe(url / "short.yaml", base.model_copy(update=short))
    # Twenty strides of a hundred times the learning rate, without a warm-up: no model survives that.
    harm = {"steps": 20, "learning_rate": 0.01, "warmup_steps": 0, "decay_at": [], "clip_norm": None}
    _write_recipe(url / "harmful.yaml", base.model_copy(update={**short, **harm}))
    (url / "options.json").write_text(json.dumps(vars(options)))
    labelled = len(GroundTruth(truth.labelled))
    # A few images are rejected for good, or have no object that anybody would outline.
    first, second = round(0.45 * labelled), round(0.4 * labelled)
    schedule = (
        f"[{{stage: assisted-manual, until: {{images: {first}}}, retrain: {{times: 2}}}},"
        " {retrain: {recipe: harmful.yaml}},"
        f" {{stage: semi-automatic, until: {{images: {second}}}, retrain: {{times: 1}}}},"
        " {stage: fully-automatic}, {retrain: {}}]"
    )
    overrides = [
        "model=latest",
        f"engine.schedule={schedule}",
        "retrain.recipe=short.yaml",
        f"retrain.data={json.dumps(truth.held_out)}",
        f"prefill.detector={options.detector}",
        f"generate.points_per_side={options.points}",
        "shards.images_per_shard=40",
        # Nobody is shown a picture here, and detectors of faces are measured elsewhere.
        *("privacy.faces=off", "privacy.plates=off", "privacy.mode=off"),
    ]
    if options.detector == "latest":
        overrides.append(f"retrain.box_steps={options.box_steps}")
    return create_home(str(url), truth.photos, overrides)


def _write_recipe(path: Path, phase: Phase) -> None:
    recipe = {"name": path.stem, "description": "benchmarks.loop", "phases": [phase.model_dump(mode="json")]}
    path.write_text(yaml.safe_dump(recipe))


def rows_of(home: Home, prefills: dict[str, Figures]) -> list[Figures]:
    """A row a round; what comes before the first round is a row of its own."""
    found = results(home.storage)
    rows: list[Figures] = [_row("-", "before any", None, None, prefills.get("-"))]
    work: StepResult | None = None
    for step in found:
        if step.unit.endswith("-retrain"):
            name = round_name(step.round) if step.round else ""
            rows.append(_row(name or "-", step.step, step, work, prefills.get(name)))
            work = None
        elif step.stage:
            work = step
    return rows


def _row(
    name: str, text: str, step: StepResult | None, work: StepResult | None, prefill: Figures | None
) -> dict[str, Any]:
    figures = step.figures if step else {}
    made = work.figures if work else {}
    return {
        "round": name,
        "step": text,
        "work before it": work.stage if work else None,
        "images": _whole(made.get("images")),
        "masks/image": made.get("masks_per_image"),
        "clicks/mask": made.get("clicks_per_mask"),
        "s/mask": made.get("seconds_per_mask"),
        "mIoU candidate": figures.get("miou_top1"),
        "mIoU in use": figures.get("in_use"),
        "verdict": step.outcome if step else None,
        "in use then": step.model if step else "nano",
        "prefill recall .5": prefill["recall 0.5"] if prefill else None,
        "precision .5": prefill["precision 0.5"] if prefill else None,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def prefill_by_round(home: Home, truth: KnownTruth) -> dict[str, Figures]:
    """Round (`-` before any) -> what confident suggestions hit on held-out images after it.

    With the model in use then and, for `prefill.detector: latest`, the box head of that round.
    """
    storage = home.storage
    known: dict[str, Figures] = json.loads(storage.read(PREFILL_FILE)) if storage.exists(PREFILL_FILE) else {}
    after = {"-": "nano"} | {round_name(step.round): step.model for step in results(storage) if step.round}
    pairs = {name: (model, _detector_file(home, name)) for name, model in after.items()}
    if all(name in known or detector is None for name, (_, detector) in pairs.items()):
        return known
    images = _held_out_images(truth)
    ground = GroundTruth(truth.held_out)
    for name, (model, detector) in pairs.items():
        if name in known or detector is None:
            continue
        same = [other for other in known if pairs.get(other) == (model, detector)]
        if same:
            known[name] = known[same[0]]
        else:
            sam, card = load_model(model_location(storage, model))
            suggest = by_detector(sam, card, open_detector(detector), home.config.prefill)
            known[name] = measure(name, suggest, images, ground)
        storage.write(PREFILL_FILE, json.dumps(known, indent=1).encode())
    return known


def _held_out_images(truth: KnownTruth) -> list[LabelledImage]:
    each = max(1, RECALL_IMAGES // len(truth.held_out))
    sources = [open_labelled(folder) for folder in truth.held_out]
    return [source.read(name) for source in sources for name in fixed_subset(source.names, each)]


def _detector_file(home: Home, name: str) -> str | None:
    """What `prefill.detector` stands for after a round; None while there is no box head yet."""
    if home.config.prefill.detector != "latest":
        return home.config.prefill.detector
    boxes = layout.round_boxes(name)
    return home.storage.url_of(boxes) if home.storage.exists(boxes) else None


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--images", type=int, default=60)
    arguments.add_argument("--unlabelled", type=int, default=30)
    arguments.add_argument("--held-out", type=int, default=30)
    arguments.add_argument("--objects", type=int, default=8, help="most in an image, of people and of the gate")
    arguments.add_argument("--steps", type=int, default=60, help="training steps of a round")
    arguments.add_argument("--box-steps", type=int, default=400, help="of a round's box head, with --detector latest")
    arguments.add_argument("--detector", default="yolox-nano")
    arguments.add_argument("--points", type=int, default=10, help="a side, stage 3")
    given = vars(arguments.parse_args())
    url, folders, json_file = given.pop("home").absolute(), given.pop("folders"), given.pop("json")
    torch.set_num_threads(1)
    home = make_home(url, [folder.absolute() for folder in folders], Options(**given))
    options = Options(**json.loads((url / "options.json").read_text()))
    truth = KnownTruth(url / TRUTH)
    summary = run(home, Simulated(truth.labelled, max_masks=options.objects), CONSOLE)
    steps = [
        {"step": result.step, "outcome": result.outcome, "why": result.why, "s": round(result.seconds)}
        for result in summary.results
    ]
    print_table(steps)
    print()
    rows = rows_of(home, prefill_by_round(home, truth))
    report(machine(), rows, json_file, steps=steps, options=vars(options), page=summary.report)


if __name__ == "__main__":
    main()
