"""Two workers under Ray Train: gradients are averaged, and whoever is killed, the curve stays what it was."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from dataengine.errors import ConfigError, EngineError
from dataengine.evaluation import evaluate_single_point
from dataengine.labelled import open_labelled
from dataengine.model import Sam
from dataengine.runtime import reaper, training
from dataengine.training.checkpoint import NAME
from dataengine.training.loop import Progress, Worker, input_size, train
from dataengine.training.recipe import fresh_model
from schemas.training import Recipe
from tests.conftest import REPOSITORY
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from tests.dataengine.runtime.ray_training import KILL, SLOW, WORKERS, stream_of, two_phases


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    images = {}
    for number in range(10):
        pixels = photo(96, 96) // 2
        masks = []
        for left in (4, 50):
            top, side = int(rng.integers(0, 50)), int(rng.integers(20, 42))
            masks.append(
                drawn_object((96, 96), ["ellipse", "rectangle"][number % 2], (left, top, left + side, top + side))
            )
            pixels[masks[-1]] = rng.integers(100, 255, 3)
        images[f"{number}.png"] = pixels, [compressed(mask) for mask in masks]
    return write_coco(tmp_path_factory.mktemp("set") / "data", images)


class Together:
    """Workers as threads of this process, with their own arithmetic: what Ray and gloo must come to."""

    def __init__(self, count: int) -> None:
        self.barrier, self.shared, self.count = threading.Barrier(count), [None] * count, count

    def worker(self, index: int) -> Worker:
        return Worker(index, self.count, partial(self.average, index), partial(self.gather, index))  # type: ignore[arg-type]

    def gather(self, index: int, value: object) -> list:
        self.shared[index] = value  # type: ignore[call-overload]
        self.barrier.wait()
        everything = list(self.shared)
        self.barrier.wait()
        return everything

    def average(self, index: int, gradients: list[torch.Tensor]) -> None:
        means = [torch.stack(same).mean(dim=0) for same in zip(*self.gather(index, gradients), strict=True)]
        self.barrier.wait()
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean)


def undisturbed(data: Path, tmp_path: Path, recipe: Recipe, workers: int) -> tuple[Sam, list[float]]:
    """The model, and the mean loss of all workers at each step, without Ray."""
    torch.set_num_threads(1)
    together, sams = Together(workers), [fresh_model(recipe) for _ in range(workers)]
    steps: list[list[Progress]] = [[] for _ in range(workers)]

    def work(index: int) -> None:
        stream = stream_of(data, tmp_path, index, workers)
        train(sams[index], stream, recipe, worker=together.worker(index), report=steps[index].append)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sams[0], [float(np.mean([p.loss for p in same])) for same in zip(*steps, strict=True)]


def miou(sam: Sam, data: Path, recipe: Recipe) -> float:
    with input_size(sam, recipe.phases[0]):
        return evaluate_single_point(sam, open_labelled(str(data)), max_clicks=1).summary().miou_top1


def steps_of(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def start(*paths: Path) -> subprocess.Popen[str]:
    module = "tests.dataengine.runtime.ray_training"
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, paths)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_and_a_killed_worker_change_nothing(data: Path, tmp_path: Path) -> None:
    recipe = two_phases()
    expected, curve = undisturbed(data, tmp_path, recipe, WORKERS)
    # Where nothing is drawn, one process takes the same steps as two.
    _, alone_curve = undisturbed(data, tmp_path, recipe, 1)
    assert alone_curve[:4] == pytest.approx(curve[:4], abs=1e-5) and alone_curve[4:] != pytest.approx(
        curve[4:], abs=1e-5
    )

    run, log = tmp_path / "run", tmp_path / "steps.jsonl"
    run.mkdir()
    (run / SLOW).touch()
    (run / KILL).touch()
    driver = start(data, run, log)
    while len(steps_of(log)) < 3:
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    left = reaper.descendants(driver.pid, reaper.processes())
    driver.kill()
    driver.wait()
    before = len(steps_of(log))
    # Workers outlive their driver for a moment, in which nobody hears of their steps.
    while left.items() & {pid: started for pid, (_, started) in reaper.processes().items()}.items():
        time.sleep(0.05)
    assert 3 <= before < 10 and (run / KILL).exists() and (run / NAME).exists()
    (run / SLOW).unlink()
    second = start(data, run, log)
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    assert not (run / KILL).exists(), "no worker was killed"

    taken = steps_of(log)
    again = len(taken) - before
    assert again < 12 + 2, "the second driver began anew"
    losses: dict[int, list[float]] = {}
    for step in taken:
        losses.setdefault(step["step"] + 4 * (step["steps"] == 8), []).append(step["loss"])
    heard_again = taken[before]["step"] + 4 * (taken[before]["steps"] == 8)
    untold = set(range(1, 13)) - losses.keys()
    assert untold == set(range(before + 1, heard_again)), "only what no driver could hear"
    assert len(losses[9]) == 2, "step 9 comes again after the worker's death"
    for number, seen in losses.items():
        assert seen == pytest.approx([curve[number - 1]] * len(seen), abs=1e-4), f"step {number}"
    # What the killed run has come to: asked for again, it only loads.
    sam = fresh_model(recipe, seed=1)
    train(sam, stream_of(data, run, 0, 1), recipe, worker=Worker(0, WORKERS), folder=run)
    assert miou(sam, data, recipe) == pytest.approx(miou(expected, data, recipe), abs=0.01)


def test_gradients_are_averaged_in_buckets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One process in a real gloo group stands for two: the sum is doubled by hand."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        monkeypatch.setattr(training, "BUCKET", 10)
        sizes = [(3, 2), (5,), (), (4, 4), (2,)]
        gradients = [torch.randn(size) for size in sizes]
        before = [gradient.clone() for gradient in gradients]
        assert [len(bucket) for bucket in training._buckets(gradients)] == [1, 2, 1, 1]
        monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
        training.average(gradients)
        for gradient, one in zip(gradients, before, strict=True):
            assert torch.equal(gradient, one / 2)
        monkeypatch.undo()
        assert training.gather({"position": 3}) == [{"position": 3}]
    finally:
        distributed.destroy_process_group()


@pytest.mark.usefixtures("ray_cluster")
def test_what_can_not_be_trained_is_said_before_anything_starts(data: Path, tmp_path: Path) -> None:
    recipe, stream = two_phases(), partial(stream_of, data, tmp_path)
    with pytest.raises(ConfigError, match="shared by 3 workers"):
        training.train_on_ray(fresh_model(recipe), stream, recipe, workers=3, folder=tmp_path)
    with pytest.raises(EngineError, match="need 16 CPUs, the cluster offers 2"):
        training.train_on_ray(fresh_model(recipe), stream, recipe, workers=2, folder=tmp_path, cpus_per_worker=8)
    with pytest.raises(EngineError, match="need 2 GPUs, the cluster offers 0"):
        training.train_on_ray(fresh_model(recipe), stream, recipe, workers=2, folder=tmp_path, gpus=True)
