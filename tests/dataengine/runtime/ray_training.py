"""A training on two Ray workers that a test can kill: run as a script, it is the driver.

Arguments: folder of the COCO set, folder of the run, file for one JSON line a step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dataengine.labelled import LabelledImage, open_labelled
from dataengine.runtime.cluster import ray_session
from dataengine.runtime.training import train_on_ray
from dataengine.training.data import SetStream
from dataengine.training.loop import Progress
from dataengine.training.recipe import fresh_model
from schemas.training import FirstPrompt, LossWeights, Phase, Recipe

WORKERS = 2
DYING_DRAW = 10
"""Worker 1 dies while it draws this image, in the second phase, once, if the run's folder asks for it."""
SLOW, KILL = "slow", "kill a worker"
"""Files in the run's folder: it takes its time; worker 1 dies."""


def phase(steps: int, **changes: object) -> Phase:
    settings: dict[str, object] = {
        "steps": steps, "images_per_step": 2, "masks_per_image": 2, "image_size": 96, "warmup_steps": 4,
        "loss": LossWeights(focal=0, balanced=1, supervise_all_iou=True), "learning_rate": 1e-3,
        "first_prompt": FirstPrompt(point=1, box=0, centre=1), "corrections": 0, "empty_iterations": 0,
    }  # fmt: skip
    return Phase.model_validate(settings | changes)


def two_phases() -> Recipe:
    """One whose steps don't depend on how many workers take them, as nothing is drawn; and one that draws."""
    drawn = phase(8, first_prompt=FirstPrompt(point=0.5, box=0.25, mask=0.25), corrections=1, flip=0.5)
    return Recipe(name="tiny", description="for tests", architecture="nano", phases=[phase(4), drawn])


class DyingStream(SetStream):
    """Draws as its parent does, and kills its process where the test wants it."""

    def __init__(self, data: Path, run: Path, worker: int, workers: int) -> None:
        super().__init__(open_labelled(str(data)), worker=worker, workers=workers)
        self._run, self._dies, self._drawn = run, worker == 1, 0

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._drawn = state["drawn"]

    def state_dict(self) -> dict:
        return super().state_dict() | {"drawn": self._drawn}

    def __next__(self) -> LabelledImage:
        self._drawn += 1
        if (self._run / SLOW).exists():
            time.sleep(1.5)
        if self._dies and self._drawn == DYING_DRAW and (self._run / KILL).exists():
            (self._run / KILL).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__next__()


def stream_of(data: Path, run: Path, worker: int, workers: int) -> SetStream:
    return DyingStream(data, run, worker, workers)


def main(data: Path, run: Path, log: Path) -> None:
    def report(progress: Progress) -> None:
        with log.open("a") as sink:
            sink.write(json.dumps(asdict(progress)) + "\n")

    with ray_session(None):
        train_on_ray(
            fresh_model(two_phases()), partial(stream_of, data, run), two_phases(), workers=WORKERS, folder=run,
            report=report, save_every=2, cpus_per_worker=0.5, max_failures=1,
        )  # fmt: skip


if __name__ == "__main__":
    from tests.dataengine.runtime import ray_training  # the workers import what they run by this name

    ray_training.main(*map(Path, sys.argv[1:]))
