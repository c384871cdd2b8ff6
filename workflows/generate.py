"""Stage 3 as a workflow: catalog -> plan -> shards, resumable at any moment.

The driver plans, keeps the builders busy, promotes what they verified and writes the commit records.
It never touches a pixel.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from rich.console import Console

from dataengine.automask.presets import describe_settings, resolve_settings
from dataengine.catalog.rows import read_columns
from dataengine.errors import EngineError
from dataengine.home import Home, layout
from dataengine.home.fingerprint import code_version, fingerprint, library_versions, require_same
from dataengine.home.journal import remove_journal
from dataengine.home.owner import Owner
from dataengine.home.plan import Plan, inputs_hash, write_segment
from dataengine.home.rounds import model_location, model_name
from dataengine.home.units import commit, committed, records
from dataengine.model.checkpoints import load_model
from dataengine.runtime.cluster import cores, gpu_count, gpu_kind, ray_session
from dataengine.runtime.pool import ActorPool, Outcome
from schemas import CommitRecord, ShardPlan
from schemas.arrow import GENERATE_PLAN_SCHEMA
from schemas.jobs import GenerateJob
from stages.fully_automatic import WORKFLOW, ShardAttempt, ShardBuilder, read_in_hand
from workflows import ingest
from workflows.progress import Bar

BUILDER_DEATHS = 32
"""A shard whose builder dies this often is given up: each death past the third has quarantined one image."""
CAREFUL_AFTER = 2
BYTES_PER_PIXEL = 1.0
"""Disk that a released pixel may take, in its journal and its shard together, at quality 95."""


@dataclass
class GenerateSummary:
    """What lies in the shards now (all runs), and what this run did."""

    shards: int = 0
    planned: int = 0
    images: int = 0
    masks: int = 0
    images_now: int = 0
    seconds: float = 0.0
    replaced: int = 0
    left: int = 0
    """Shards that this run was told not to begin."""
    failed: dict[str, str] = field(default_factory=dict)
    """Shard name -> why it has no commit record."""

    @property
    def images_per_second(self) -> float:
        return self.images_now / self.seconds if self.seconds else 0.0


def generate(home: Home, console: Console, most: int | None = None) -> GenerateSummary:
    """Plans what is new, then makes every shard that has no commit record, or the first `most` of them.

    Raises ConfigError when the home was planned under other conditions, EngineError when ingest is not
    finished, storage fails or the actors can't start.
    """
    with Owner(home.storage, WORKFLOW) as owner:
        _require_catalog(home)
        home.storage.remove(layout.attempts(layout.SHARDS))
        with ray_session(home.config.ray.address):
            job = plan_job(home)
            extend_plan(home, job)
            plan = Plan(home.storage, WORKFLOW)
            try:
                return _Run(home, owner, plan, job).make(console, most)
            finally:
                home.storage.remove(layout.attempts(layout.SHARDS))


def plan_job(home: Home) -> GenerateJob:
    """Answers every open question of the config: the model by hash, the preset's numbers, device, threads.

    A plan that exists keeps its thread count: it is part of the fingerprint, this machine's cores are not.
    """
    config = home.config
    device = "cuda" if gpu_count() else "cpu"
    # The name is frozen, not the word `latest`: a round promoted meanwhile must not get into these shards.
    model = model_name(home.storage, config.model)
    _, card = load_model(model_location(home.storage, model))
    settings = resolve_settings(config.generate, card, device)
    planned = Plan(home.storage, WORKFLOW).meta
    threads = config.generate.threads or (planned["facts"]["threads"] if planned else cores())
    facts = {
        "model_sha256": card.sha256,
        "settings": settings.model_dump(exclude={"memory_gb"}),
        "privacy": {"mode": config.privacy.mode},
        "shards": config.shards.model_dump(),
        "max_megapixels": config.ingest.max_megapixels,
        "device": _device_class(device),
        "threads": threads,
        "code": code_version(),
        "libraries": library_versions("torch"),
    }
    return GenerateJob(
        model=model,
        model_sha256=card.sha256,
        device="cuda" if device == "cuda" else "cpu",
        threads=threads,
        settings=settings,
        privacy=config.privacy,
        shards=config.shards,
        max_megapixels=config.ingest.max_megapixels,
        facts=facts,
        fingerprint=fingerprint(facts),
    )


def _device_class(device: str) -> str:
    """The kind of arithmetic: results differ between GPU generations and CPU instruction sets."""
    import torch

    return f"cuda {gpu_kind()}" if device == "cuda" else f"cpu {torch.backends.cpu.get_cpu_capability()}"


def _require_catalog(home: Home) -> None:
    parts, planned = len(committed(home.storage, ingest.WORKFLOW)), Plan(home.storage, ingest.WORKFLOW).units
    if parts < planned or not planned:
        state = f"has {parts} of {planned} catalog parts" if planned else "has not run yet"
        raise EngineError(f"ingest {state}; run it first: dataengine ingest {home.storage.url}")


def extend_plan(home: Home, job: GenerateJob) -> None:
    """Freezes shards for the catalog parts that no earlier segment covers; earlier shards stay as they are."""
    plan = Plan(home.storage, WORKFLOW)
    if plan.segments:
        require_same(WORKFLOW, plan.meta["facts"], job.facts)
    first_part, parts = plan.meta.get("parts", 0), len(committed(home.storage, ingest.WORKFLOW))
    if first_part == parts:
        return
    units = _shards(home, range(first_part, parts), plan.units, job.shards.images_per_shard)
    planned = write_segment(home.storage, WORKFLOW, GENERATE_PLAN_SCHEMA, units, {"facts": job.facts, "parts": parts})
    if not planned and not plan.segments:
        raise EngineError(f"no usable image in the catalog; see: dataengine status {home.storage.url}")


def _shards(home: Home, parts: range, first_unit: int, size: int) -> Iterator[pa.Table]:
    """Streams the usable images of these catalog parts as one table a shard."""
    pending: list[dict[str, int]] = []
    unit = first_unit
    for part in parts:
        table = read_columns(home.storage.url_of(layout.catalog_part(part)), ["image_id", "status"])
        for image_id, status in zip(table["image_id"].to_pylist(), table["status"].to_pylist(), strict=True):
            if status == "ok":
                pending.append({"unit": unit, "image_id": image_id, "part": part})
            if len(pending) == size:
                yield pa.Table.from_pylist(pending, schema=GENERATE_PLAN_SCHEMA)
                pending, unit = [], unit + 1
    if pending:
        yield pa.Table.from_pylist(pending, schema=GENERATE_PLAN_SCHEMA)


class _Run:
    """One run over the shards that are not committed."""

    def __init__(self, home: Home, owner: Owner, plan: Plan, job: GenerateJob) -> None:
        self._home, self._owner, self._plan, self._job = home, owner, plan, job
        self._quarantined: dict[int, dict[int, str]] = {}
        self._in_shards = 0
        self._masks_in_shards = 0

    def make(self, console: Console, most: int | None = None) -> GenerateSummary:
        started = time.monotonic()
        done = committed(self._home.storage, WORKFLOW)
        todo = [unit for unit in range(self._plan.units) if _name(unit) not in done]
        summary = GenerateSummary(planned=self._plan.rows)
        if most is not None:
            todo, summary.left = todo[:most], max(0, len(todo) - most)
        for record in records(self._home.storage, WORKFLOW):
            self._count(summary, record)
        before = self._in_shards
        if todo:
            require_room(self._home, self._plan.rows - before, self._plan.rows)
            self._build(todo, summary, console)
        summary.images_now = self._in_shards - before
        summary.seconds = time.monotonic() - started
        return summary

    def _build(self, todo: list[int], summary: GenerateSummary, console: Console) -> None:
        pool, groups = self._builders(len(todo))
        console.print(_announce(self._job, pool.size), highlight=False)
        try:
            with Bar(console, "generate", self._plan.rows, done=self._in_shards) as bar:
                for outcome in pool.run(todo, self._call, lambda: self._show(pool, bar)):
                    if outcome.error is None:
                        self._count(summary, self._commit(outcome))
                    else:
                        summary.failed[_name(outcome.item)] = outcome.error
                bar.update(self._in_shards)
        finally:
            summary.replaced = pool.replaced
            pool.close()
            for group in groups:
                remove_placement_group(group)

    def _builders(self, shards: int) -> tuple[ActorPool[int], list[PlacementGroup]]:
        """Builders share the generators: one each when there are shards enough, more when there are few."""
        asked = self._home.config.ray.generators
        generators = (gpu_count() or 1) if asked == "auto" else asked
        builders = min(shards, generators)
        each = generators // builders
        gpu = self._job.device == "cuda"
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1} if gpu else {"num_cpus": 0}
        groups: list[PlacementGroup] = []

        def create() -> Any:
            group = None
            if gpu:
                # Pixels are handed over in shared memory: a builder and its generators live on one node.
                group = placement_group([{"GPU": each, "CPU": each}], strategy="STRICT_PACK")
                groups.append(group)
            return ShardBuilder.remote(  # type: ignore[attr-defined]
                self._home.storage.url, self._job, each, options, group
            )

        pool: ActorPool[int] = ActorPool(
            create,
            builders,
            depth=1,
            max_deaths=BUILDER_DEATHS,
            needs=f"a shard builder with {each} generators",
        )
        return pool, groups

    def _call(self, builder: Any, unit: int, deaths: int) -> Any:
        quarantined = self._quarantined.setdefault(unit, {})
        if deaths > CAREFUL_AFTER and (image_id := read_in_hand(self._home.storage, _name(unit))) is not None:
            quarantined.setdefault(image_id, f"its worker died with only this image in hand ({deaths} deaths in all)")
        return builder.build.remote(unit, deaths >= CAREFUL_AFTER, quarantined)

    def _commit(self, outcome: Outcome[int]) -> CommitRecord:
        attempt: ShardAttempt = outcome.value
        record = CommitRecord(
            workflow=WORKFLOW,
            unit=_name(outcome.item),
            inputs=inputs_hash(self._plan.read(outcome.item)),
            fingerprint=fingerprint(self._plan.meta["facts"]),
            objects=[stored for _, stored in attempt.objects],
            counts=attempt.counts,
            seconds=round(attempt.seconds, 3),
            owner_epoch=self._owner.epoch,
        )
        commit(self._home.storage, self._owner, record, attempt.objects)
        remove_journal(self._home.storage, WORKFLOW, record.unit)
        return record

    def _count(self, summary: GenerateSummary, record: CommitRecord) -> None:
        summary.shards += 1
        summary.images += record.counts["images"]
        summary.masks += record.counts["masks"]
        self._in_shards += record.counts["planned"]
        self._masks_in_shards += record.counts["masks"]

    def _show(self, pool: ActorPool[int], bar: Bar) -> None:
        refs = [builder.progress.remote() for builder in pool.handles()]
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=1.0) if refs else ([], [])
        images, masks = self._in_shards, self._masks_in_shards
        for ref in ready:
            try:
                state = ray.get(ref)
            except ray.exceptions.RayError:
                continue  # it died meanwhile: the pool deals with that
            images, masks = images + state.get("images", 0), masks + state.get("masks", 0)
        bar.update(images, f"{masks / images:.1f} masks/image" if images else "")


def require_room(home: Home, images: int, planned: int, free: int | None = None) -> None:
    """Raises EngineError when the home's local disk can't hold `images` more of the `planned` ones.

    `free`: bytes; by default what the disk says. A guess on the safe side: journal and shard together.
    """
    if not home.storage.is_local:
        return
    free = shutil.disk_usage(home.storage.local_path("")).free if free is None else free
    megapixels = sum(record.counts["megapixels"] for record in records(home.storage, ingest.WORKFLOW))
    a_release = 1.5 * home.config.shards.short_side**2
    pixels = min(images * a_release, 1e6 * (megapixels + 1) * images / max(1, planned))
    needed = int(pixels * BYTES_PER_PIXEL)
    if needed > free:
        raise EngineError(
            f"{home.storage.url}: about {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free; "
            "make room, or lower shards.short_side"
        )


def _name(unit: int) -> str:
    return ShardPlan(shard=unit, image_ids=[], parts=[]).name


def _announce(job: GenerateJob, builders: int) -> str:
    return (
        f"model {job.model} ({job.model_sha256[:12]}) on {job.device}, {builders} shard(s) in flight: "
        f"{describe_settings(job.settings)}"
    )
