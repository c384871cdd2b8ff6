"""`dataengine demo --full`: the whole loop with simulated annotators, small enough for a laptop.

Killed anywhere, the same command goes on: what it makes first is made whole before engine.yaml is written, and
from there on `dataengine run` does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dataengine.detection.objects import open_detector
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, create_home, layout, open_home
from dataengine.home.storage import Storage
from dataengine.training.recipe import load_recipe
from schemas.training import FirstPrompt, LossWeights
from workflows.engine import run
from workflows.engine_hands import Simulated
from workflows.known_truth import KnownTruth, divide, write_scenes
from workflows.report import REPORT
from workflows.sample_photos import write_sample_photos
from workflows.sample_scenes import scenes
from workflows.tables import engine_table
from workflows.verify import verify

PHOTOS, TRUTH, RECIPE = "photos", "truth", "short.yaml"
IMAGES, HELD_OUT = 40, 12
OBJECTS = 6
"""Most that are outlined in one picture."""
SCHEDULE = (
    "[{stage: assisted-manual, until: {images: 18}, retrain: {times: 1}},"
    " {stage: semi-automatic, until: {images: 18}, retrain: {times: 1}},"
    " {stage: fully-automatic}, {retrain: {}}]"
)
SETTINGS = (
    "model=latest",
    "ingest.images_per_part=12",
    "generate.points_per_side=10",
    "shards.images_per_shard=12",
    "annotate.ready_ahead=10",
)
SHORT = {
    "steps": 70,
    "images_per_step": 2,
    "images_at_once": 2,
    "masks_per_image": 6,
    # A click in the middle, as the gate's, and one more, as people's.
    "first_prompt": FirstPrompt(point=1.0, box=0.0, centre=1.0),
    "loss": LossWeights(supervise_all_iou=True),
    "learning_rate": 3e-4,
    "warmup_steps": 5,
    "decay_at": [50],
    "decay_factor": 0.1,
    "clip_norm": 0.1,
}
"""What a round of seconds changes in the recipe `finetune_decoder`."""


def run_full_demo(directory: Path, data: Sequence[Path], console: Console) -> tuple[str, str]:
    """Returns where the page of the loop and the report of stage 3 lie.

    `data`: COCO folders; without any, pictures are made of the sample photos (`sample_scenes`), and the photos
    themselves are the images that nobody labelled. Raises EngineError when a step has no outcome or a shard
    doesn't verify.
    """
    home = _home(directory, data, console)
    summary = run(home, Simulated(KnownTruth(directory / TRUTH).labelled, max_masks=OBJECTS), console)
    console.print(engine_table(summary))
    found = verify(home.storage.url)
    console.print(found.summary(), highlight=False)
    problems = [str(problem) for problem in found.problems]
    if summary.done < summary.steps:
        problems.append(f"{summary.steps - summary.done} of {summary.steps} steps are not done: {summary.stopped}")
    if problems:
        raise EngineError("\n".join(problems))
    return summary.report, home.storage.url_of(REPORT)


def _home(directory: Path, data: Sequence[Path], console: Console) -> Home:
    """The demo's home, made when it isn't there; engine.yaml is written last."""
    url, truth = str(directory), directory / TRUTH
    if Storage(url).exists(layout.CONFIG):
        if not truth.is_dir():
            raise ConfigError(f"{url} is a home, but not one of the full demo: choose another folder")
        return open_home(url)
    directory.mkdir(parents=True, exist_ok=True)
    console.print("making the labelled pictures", highlight=False)
    if data:
        known, photos = divide([path.absolute() for path in data], truth, IMAGES, HELD_OUT, 10, most=OBJECTS), []
    else:
        known, photos = write_scenes(scenes(), truth, IMAGES, HELD_OUT), [PHOTOS]
        write_sample_photos(directory / PHOTOS)
    recipe = load_recipe("finetune_decoder")
    phase = recipe.phases[0].model_copy(update=SHORT)
    short = recipe.model_copy(update={"name": "short", "description": "a minute on a laptop", "phases": [phase]})
    # JSON is YAML.
    (directory / RECIPE).write_text(short.model_dump_json(indent=1), encoding="utf-8")
    inside = [str(Path(path).relative_to(directory)) for path in known.photos]
    held_out = [str(Path(path).relative_to(directory)) for path in known.held_out]
    return create_home(
        url,
        [*inside, *photos],
        [
            *SETTINGS,
            f"engine.schedule={SCHEDULE}",
            f"retrain.recipe={RECIPE}",
            f"retrain.data={json.dumps(held_out)}",
            *_detector(),
        ],
    )


def _detector() -> list[str]:
    """YOLOX-nano where it has been pulled; otherwise the box head that each round trains."""
    try:
        open_detector("yolox-nano")
    except EngineError:
        return ["prefill.detector=latest", "retrain.box_steps=200"]
    return ["prefill.detector=yolox-nano"]
