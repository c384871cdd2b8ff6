"""Keeps the next tasks of annotators ready: embedding and pictures lie in the cache before a task is handed out.

The store says which idle tasks come next and is told what is ready; the `Embedder` actors do the work. No
more than `ready_ahead` tasks are ever ready, so people are waited for and not the disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from dataengine.annotations import SEMI_AUTOMATIC, Store
from dataengine.annotations.images import Images
from dataengine.errors import EngineError
from dataengine.home import Home
from dataengine.home.rounds import model_location
from dataengine.home.storage import Storage
from dataengine.media.cache import MediaCache
from dataengine.media.encoder import encoder_id
from dataengine.media.prepare import ensure_decoder
from dataengine.model.checkpoints import load_model
from dataengine.runtime.cluster import cores, gpu_count, ray_session
from dataengine.runtime.pool import ActorPool, Outcome
from schemas.annotations import AnnotationModel, TaskImage
from schemas.jobs import EmbeddingJob
from stages.embedding import Embedder
from workflows.prefill_ahead import PrefillAhead

POLL_SECONDS = 1.0
IDLE_SECONDS = 60.0
"""An idle pool lets its GPU go after this long, for a retraining round."""
ROUND = 32
"""Images prepared before the queue is asked again: its order changes while people work."""
TRIES = 3
"""Rounds in which an image may fail, beside others that succeed, before its tasks are given up."""
RESTART_SECONDS = 5.0
log = logging.getLogger(__name__)


def ready_ahead(home: Home, store: Store, model_of: Callable[[], str] | None = None) -> ReadyAhead:
    """What keeps the tasks of the store's stage ready. Raises ConfigError when stage 2's detector isn't here."""
    prefill = PrefillAhead(home, store) if store.stage == SEMI_AUTOMATIC else None
    return ReadyAhead(home, store.images, model_of=model_of, prefill=prefill)


def annotation_model(model: str) -> tuple[AnnotationModel, str]:
    """What is announced of a model (registry name or file), and its checkpoint's sha256."""
    sam, card = load_model(model)
    return AnnotationModel(
        id=card.sha256[:16],
        name=card.name,
        encoder=encoder_id(sam),
        input_size=sam.image_size,
        embedding_size=sam.embedding_size,
        source=model,
        mask_threshold=sam.mask_threshold,
    ), card.sha256


def forget_old_models(storage: Storage, images: Images) -> list[str]:
    """Deletes cached embeddings and decoders that nobody needs any more (`Images.forget_encoders`); names them."""
    cache = MediaCache(storage)
    encoders, models = images.forget_encoders(), images.unneeded_models()
    deleted = [encoder for encoder in cache.encoders() if encoder in encoders]
    for encoder in deleted:
        cache.remove_embeddings(encoder)
        log.info("embeddings of encoder %s deleted: no model in use needs them", encoder)
    for model_id in cache.decoders():
        if model_id in models:
            cache.remove_decoder(model_id)
            deleted.append(model_id)
            log.info("decoder of model %s deleted: nobody works with it", model_id)
    return deleted


class ReadyAhead:
    """Fills the queue up to `ready_ahead` ready tasks, for as long as `run` runs.

    `model_of` names the model that people shall work with now (registry name or file); when its answer
    changes, the new model's decoder is exported, it is announced, and idle tasks are embedded anew. In stage 2
    `prefill` then puts its suggestions into them.
    """

    def __init__(
        self,
        home: Home,
        images: Images,
        *,
        model_of: Callable[[], str] | None = None,
        embedders: int = 1,
        prefill: PrefillAhead | None = None,
    ) -> None:
        self._prefill = prefill
        self._home, self._images, self._embedders = home, images, embedders
        self._ahead = home.config.annotate.ready_ahead
        self._model_of = model_of or (lambda: model_location(home.storage, home.config.model))
        self._model: str | None = None
        self.announced: AnnotationModel | None = None
        self._job: EmbeddingJob | None = None
        self._pool: ActorPool[TaskImage] | None = None
        self._failures: Counter[int] = Counter()
        self._untidy = False
        self._busy_at = time.monotonic()
        self.prepared = 0
        self.replaced = 0
        """Actors that died and had to be replaced."""

    def run(self, stop: threading.Event, ray_address: str | None = None) -> None:
        """Until `stop` is set. A Ray that goes away is started, or joined, again; people need it for nothing."""
        while not stop.is_set():
            try:
                with ray_session(ray_address):
                    self._run_session(stop)
            except (RayError, ConnectionError, OSError, EngineError) as error:
                # A damaged model or a home that is gone for a moment: the next try, or the log, tells.
                log.error("embedding stopped, trying again: %s", error)
                self._drop_pool()
                ray.shutdown()
                stop.wait(RESTART_SECONDS)

    def _run_session(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                if not self.fill(stop):
                    self._rest()
                    stop.wait(POLL_SECONDS)
        finally:
            self._drop_pool()

    def fill(self, stop: threading.Event | None = None) -> int:
        """One round inside a Ray session: prepares at most `ROUND` images; returns how many were."""
        self._follow_model()
        done = self._embed(stop)
        if self._prefill is not None and self._job is not None and not (stop is not None and stop.is_set()):
            prefilled = self._prefill.fill(self._job, stop)
            if prefilled:
                self._busy_at = time.monotonic()
            done += prefilled
        return done

    def _embed(self, stop: threading.Event | None) -> int:
        assert self.announced is not None
        encoder = self.announced.encoder
        wanted = self._images.wanted_embeddings(self._ahead)[:ROUND]
        if not wanted:
            return 0
        images = [self._images.image(image_id) for image_id in wanted]
        self._busy_at = time.monotonic()
        failed: list[Outcome[TaskImage]] = []
        done = 0
        pool = self._working_pool()
        before = pool.replaced
        for outcome in pool.run(images, lambda actor, image, _: actor.prepare.remote(image, encoder)):
            if outcome.error is not None:
                failed.append(outcome)
            elif (prepared := outcome.value).unusable:
                self._images.embedding_failed(prepared.image_id, encoder, prepared.unusable)
            else:
                # Should another model have been promoted meanwhile, its tasks go on waiting for its embedding.
                self._images.embedding_ready(prepared.image_id, encoder)
                done += 1
            if stop is not None and stop.is_set():
                break
        self._blame(failed, encoder, done)
        self.replaced += pool.replaced - before
        self.prepared += done
        return done

    def close(self) -> None:
        self._drop_pool()

    # model -------------------------------------------------------------------------------------------

    def _follow_model(self) -> None:
        wanted = self._model_of()
        if wanted == self._model:
            return
        announced, sha256 = annotation_model(wanted)
        ensure_decoder(self._home.storage, wanted)
        config = self._home.config
        self._job = EmbeddingJob(
            model=wanted,
            model_sha256=sha256,
            encoder=announced.encoder,
            device="cuda" if gpu_count() else "cpu",
            threads=config.generate.threads or cores(),
            privacy=config.privacy,
            max_megapixels=config.ingest.max_megapixels,
        )
        self._drop_pool()
        self._images.promote(announced)
        self._model, self.announced = wanted, announced
        self._failures.clear()
        self._untidy = True

    # actors ------------------------------------------------------------------------------------------

    def _working_pool(self) -> ActorPool[TaskImage]:
        if self._pool is None:
            job, url = self._job, self._home.storage.url
            assert job is not None
            share = 1 if self._prefill is None else 0.5
            options: dict[str, Any] = {"num_gpus": share, "num_cpus": 1} if job.device == "cuda" else {"num_cpus": 0}
            self._pool = ActorPool(
                lambda: Embedder.options(**options).remote(url, job),  # type: ignore[attr-defined]
                self._embedders,
                needs="an embedder",
            )
        return self._pool

    def _rest(self) -> None:
        # Not at the promotion itself: people wait for the new embeddings first.
        if self._untidy:
            forget_old_models(self._home.storage, self._images)
            self._untidy = False
        if time.monotonic() - self._busy_at > IDLE_SECONDS:
            self._drop_pool()

    def _drop_pool(self) -> None:
        if self._pool is not None and ray.is_initialized():
            self._pool.close()
        self._pool = None
        if self._prefill is not None:
            self._prefill.close()

    def _blame(self, failed: list[Outcome[TaskImage]], encoder: str, succeeded: int) -> None:
        """An image that killed its actors is given up; one that raised gets more tries.

        When a whole round fails the fault is not the images': storage is full or away, and they wait.
        """
        for outcome in failed:
            image_id, reason = outcome.item.id, str(outcome.error)
            log.warning("image %d could not be prepared: %s", image_id, reason)
            self._failures[image_id] += bool(succeeded)
            if outcome.died or self._failures[image_id] >= TRIES:
                self._images.embedding_failed(image_id, encoder, reason)


@contextmanager
def preparing(home: Home, ahead: ReadyAhead) -> Iterator[None]:
    """Keeps tasks ready, in a thread, while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=ahead.run, args=(stop, home.config.ray.address), name="ready-ahead")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
