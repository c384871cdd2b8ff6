"""Stage 2's share of being ready ahead: suggestions lie in the next tasks before people come to them."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import threading
from collections import Counter
from pathlib import Path

import ray

from dataengine.annotations import Store
from dataengine.detection.objects import INSTALL_TRANSFORMERS, open_detector
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home
from dataengine.home.rounds import LATEST, boxes_location, is_of_a_home, round_with_boxes
from dataengine.media.cache import MediaCache
from dataengine.runtime.pool import ActorPool, Outcome
from schemas.annotations import Prefilled, ProbeRates, TaskImage
from schemas.jobs import EmbeddingJob, PrefillJob
from stages.semi_automatic import Prefiller

ROUND = 16
"""Images prefilled before embeddings are looked at again."""
TRIES = 3
FILES = (".onnx", ".json", ".safetensors")

log = logging.getLogger(__name__)


def detector_of(home: Home) -> str:
    """`prefill.detector`, a file's path made absolute, after a look whether it can be opened here.

    `latest` becomes the newest round with a box head. Raises ConfigError or EngineError, one line: rather at the
    command than in an actor's log.
    """
    config = home.config.prefill
    name = config.detector
    if is_of_a_home(name):
        return _round_of(home, name)
    if Path(name).suffix.lower() in FILES and not Path(name).expanduser().is_absolute():
        if not home.storage.is_local:
            raise ConfigError(f"prefill.detector: {name}: a home in an object store needs an absolute path")
        name = str(home.storage.local_path(name))
    if not name.startswith("transformers:"):
        open_detector(name, words=config.words)
    elif importlib.util.find_spec("transformers") is None:
        raise EngineError(f"prefill.detector: {name} needs transformers: {INSTALL_TRANSFORMERS}")
    return name


def _round_of(home: Home, name: str, encoder: str | None = None) -> str:
    """A round with a box head. Raises EngineError when there is none, for `latest` none that fits `encoder`."""
    if name != LATEST:
        boxes_location(home.storage, name)
        return name
    found = round_with_boxes(home.storage, encoder)
    if found is None:
        fit = f" for embeddings of encoder {encoder}" if encoder else ""
        raise EngineError(
            f"prefill.detector: latest: no finished round has a box head{fit}; a round trains one when it runs with "
            f"this setting: dataengine retrain {home.storage.url}"
        )
    return found


def source_of(home: Home, detector: str) -> str:
    """Names detector and settings: when it changes, untouched tasks are prefilled anew."""
    settings = home.config.prefill.model_dump_json(exclude={"withheld", "planted"})
    digest = hashlib.sha256(settings.encode())
    if Path(detector).is_file():
        digest.update(Path(detector).read_bytes())
    return f"{Path(detector).name[:128]}/{digest.hexdigest()[:12]}"


class PrefillAhead:
    """Keeps up to `ready_ahead` tasks prefilled; `ReadyAhead` calls it inside its Ray session, after embedding."""

    def __init__(self, home: Home, store: Store, *, prefillers: int = 1) -> None:
        self._home, self._store, self._prefillers = home, store, prefillers
        self._detector = detector_of(home)
        self.source = source_of(home, self._detector)
        self._rates = ProbeRates(withheld=home.config.prefill.withheld, planted=home.config.prefill.planted)
        self._followed: EmbeddingJob | None = None
        self._job: PrefillJob | None = None
        self._pool: ActorPool[TaskImage] | None = None
        self._failures: Counter[int] = Counter()
        self.suggested = 0

    def fill(self, job: EmbeddingJob, stop: threading.Event | None = None) -> int:
        """One round: prefills at most `ROUND` images; returns of how many."""
        self._follow(job)
        wanted = self._store.prefills.wanted(self.source, self._home.config.annotate.ready_ahead)[:ROUND]
        if not wanted:
            return 0
        images = [self._store.images.image(image_id) for image_id in wanted]
        failed: list[Outcome[TaskImage]] = []
        done = 0
        for outcome in self._working_pool().run(images, lambda actor, image, _: actor.prefill.remote(image)):
            if outcome.error is not None:
                failed.append(outcome)
            else:
                found: Prefilled = outcome.value
                done += bool(self._store.prefills.put(found, self.source, self._rates))
                self.suggested += len(found.suggestions)
            if stop is not None and stop.is_set():
                break
        self._blame(failed, job, done)
        return done

    def close(self) -> None:
        if self._pool is not None and ray.is_initialized():
            self._pool.close()
        self._pool = None

    def _follow(self, job: EmbeddingJob) -> None:
        if job != self._followed and self._home.config.prefill.detector == LATEST:
            self._detector = _round_of(self._home, LATEST, job.encoder)
            self.source = source_of(self._home, self._detector)
        self._followed = job
        wanted = PrefillJob(
            model=job.model,
            model_sha256=job.model_sha256,
            encoder=job.encoder,
            device=job.device,
            threads=job.threads,
            detector=self._detector,
            prefill=self._home.config.prefill,
            max_megapixels=job.max_megapixels,
        )
        if wanted != self._job:
            self.close()
            self._failures.clear()
            self._job = wanted

    def _working_pool(self) -> ActorPool[TaskImage]:
        if self._pool is None:
            job, url = self._job, self._home.storage.url
            assert job is not None
            # Half a GPU: the embedder has the other half.
            options = {"num_gpus": 0.5, "num_cpus": 1} if job.device == "cuda" else {"num_cpus": 0}
            self._pool = ActorPool(
                lambda: Prefiller.options(**options).remote(url, job),  # type: ignore[attr-defined]
                self._prefillers,
                needs="a prefiller",
            )
        return self._pool

    def _blame(self, failed: list[Outcome[TaskImage]], job: EmbeddingJob, succeeded: int) -> None:
        """An image whose embedding was lost gets it anew; one that fails beside others goes without suggestions."""
        for outcome in failed:
            image, reason = outcome.item, str(outcome.error)
            log.warning("image %d could not be prefilled: %s", image.id, reason)
            if not MediaCache(self._home.storage).has_embedding(image.sha256, job.encoder):
                self._store.images.embedding_gone(image.id, job.encoder)
                continue
            self._failures[image.id] += bool(succeeded)
            if outcome.died or self._failures[image.id] >= TRIES:
                nothing = Prefilled(image_id=image.id, model=job.model_sha256[:16], failed=reason[:500])
                self._store.prefills.put(nothing, self.source, self._rates)
