"""The training loop on several workers: Ray Train starts them, restarts them, and hears how it goes.

What `training/loop.py` does is not repeated here. Each worker runs it over its share of the stream; gradients are
averaged over all of them before each step, as DistributedDataParallel does, so all take the same steps.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from torch import distributed

from dataengine.errors import ConfigError, EngineError
from dataengine.model.sam import Sam
from dataengine.training.checkpoint import finished_checkpoint, load_checkpoint
from dataengine.training.data import SampleStream, State
from dataengine.training.loop import Progress, Worker, run_name, train
from schemas.training import Recipe

MAX_FAILURES = 3
BUCKET = 1 << 23
"""Gradients that are averaged together: 32 MB of float32, so that small ones don't each wait for the network."""
TIMEOUT_SECONDS = 3600
"""How long workers wait for each other: the first one alone measures the model where `validate` is given."""
POLL_SECONDS = 0.5
MEANS = ("loss", "mask_loss", "iou_loss", "first_iou", "last_iou")

StreamOf = Callable[[int, int], SampleStream]
"""(worker, workers) -> its share of the stream. Is sent to the workers, as is `validate`: a function, or a partial."""


@dataclass(frozen=True)
class _Job:
    """What every worker is told; the model itself comes through the object store."""

    recipe: Recipe
    stream_of: StreamOf
    validate: Callable[[Sam], dict[str, float]] | None
    seed: int
    validate_every: int
    folder: Path
    save_every: int
    cache: Path | None


def train_on_ray(
    sam: Sam,
    stream_of: StreamOf,
    recipe: Recipe,
    *,
    workers: int,
    folder: Path,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[Sam], dict[str, float]] | None = None,
    validate_every: int = 1000,
    save_every: int = 500,
    cache: Path | None = None,
    gpus: bool | None = None,
    cpus_per_worker: float = 1.0,
    max_failures: int = MAX_FAILURES,
) -> Sam:
    """`training.loop.train` with `workers` workers of the running Ray session; trains `sam` in place.

    `folder` must be one that all of their machines see: the checkpoint in it is what a restarted group of workers
    goes on from (at most `max_failures` times), and what the same call goes on from after a killed driver.
    `report` is called here, for each step, with means over all workers; after a restart the steps since the last
    checkpoint come again, and what was on its way to a killed driver is told to nobody. `validate` runs on the
    first worker. `gpus`: one GPU each; left out, where there are enough. Raises EngineError when the cluster has too
    little to offer or training fails for good.
    """
    if uneven := next((phase for phase in recipe.phases if phase.images_per_step % workers), None):
        raise ConfigError(f"images_per_step {uneven.images_per_step} can't be shared by {workers} workers")
    folder = folder.resolve()
    run = run_name(recipe, seed, workers)
    on_gpu = _resources(workers, gpus, cpus_per_worker)
    if not finished_checkpoint(load_checkpoint(folder, run), recipe):
        job = _Job(recipe, stream_of, validate, seed, validate_every, folder, save_every, cache and cache.resolve())
        _fit(job, sam, workers, on_gpu, cpus_per_worker, max_failures, report)
    # The workers' model is in their last checkpoint, and the loop knows how to read it.
    return train(sam, stream_of(0, workers), recipe, seed=seed, worker=Worker(0, workers), folder=folder)


def _fit(
    job: _Job,
    sam: Sam,
    workers: int,
    on_gpu: bool,
    cpus: float,
    max_failures: int,
    report: Callable[[Progress], None],
) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    # Relative paths of the recipe and of streams mean the driver's folder.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    channel = ray.remote(num_cpus=0)(_Channel).remote()
    resources = {"CPU": cpus, **({"GPU": 1} if on_gpu else {})}
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "sam": ray.put(copy.deepcopy(sam).cpu()), "channel": channel},
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout_s=TIMEOUT_SECONDS),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name="ray", storage_path=str(job.folder), failure_config=FailureConfig(max_failures=max_failures)
        ),
    )
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # the thread has nobody above it: handed on below
            failure.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        for progress in ray.get(channel.drain.remote()):
            report(progress)
    for progress in ray.get(channel.drain.remote()):
        report(progress)
    ray.kill(channel)
    if failure:
        raise EngineError(f"training on {workers} workers failed: {_last_line(failure[0])}") from failure[0]


class _Channel:
    """Steps on their way from the first worker to the driver: Ray Train polls for one report every 2 s."""

    def __init__(self) -> None:
        self._waiting: list[Progress] = []

    def put(self, progress: Progress) -> None:
        self._waiting.append(progress)

    def drain(self) -> list[Progress]:
        waiting, self._waiting = self._waiting, []
        return waiting


def _work(config: dict[str, Any]) -> None:
    """One worker, in a process of its own."""
    from ray.train import get_context
    from ray.train.torch import get_device

    job: _Job = config["job"]
    context = get_context()
    index, count = context.get_world_rank(), context.get_world_size()
    sam: Sam = copy.deepcopy(ray.get(config["sam"])).to(get_device())
    train(
        sam,
        job.stream_of(index, count),
        job.recipe,
        seed=job.seed,
        worker=Worker(index, count, average, gather),
        report=lambda progress: _report(job, progress, config["channel"], index),
        validate=job.validate if index == 0 else None,
        validate_every=job.validate_every,
        folder=job.folder,
        save_every=job.save_every,
        cache=job.cache,
    )


def average(gradients: Sequence[torch.Tensor]) -> None:
    """Replace each of the tensors by its mean over all workers of the process group, in place."""
    count = distributed.get_world_size()
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat)
        flat /= count
        for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def gather(state: State) -> list[State]:
    """Every worker's state, in their order, on every worker."""
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states


def _buckets(gradients: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """In the given order, cut where `BUCKET` is full."""
    buckets: list[list[torch.Tensor]] = []
    room = 0
    for gradient in gradients:
        if gradient.numel() > room:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(gradient)
        room -= gradient.numel()
    return buckets


def _report(job: _Job, progress: Progress, channel: Any, index: int) -> None:
    """Means over all workers to the driver; to Ray Train, for its dashboard, whenever a checkpoint is due."""
    from ray.train import report

    values = torch.tensor([*(getattr(progress, name) for name in MEANS), progress.masks], dtype=torch.float64)
    distributed.all_reduce(values)
    means = (values / distributed.get_world_size()).tolist()
    progress = replace(progress, **dict(zip(MEANS, means, strict=False)), masks=int(values[-1]))
    saved = progress.step == progress.steps or progress.step % job.save_every == 0
    if index == 0:
        sent = channel.put.remote(progress)
        if saved:
            ray.get(sent)
    if saved:
        report(asdict(progress))


def _resources(workers: int, gpus: bool | None, cpus: float) -> bool:
    """Whether to train on GPUs. EngineError when the cluster, all of it, has too little."""
    offered = ray.cluster_resources()
    on_gpu = offered.get("GPU", 0) >= workers if gpus is None else gpus
    needed = {"CPU": workers * cpus, **({"GPU": workers} if on_gpu else {})}
    for kind, amount in needed.items():
        if offered.get(kind, 0) < amount:
            raise EngineError(
                f"{workers} training workers need {amount:g} {kind}s, the cluster offers {offered.get(kind, 0):g}: "
                "train with fewer workers"
            )
    return on_gpu


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
