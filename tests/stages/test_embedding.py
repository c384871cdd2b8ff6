"""Embedder actors on a real Ray and a real store: tasks become ready, and stay so for one encoder only."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from dataengine.annotations import Store, store_of
from dataengine.home import Home
from dataengine.media import MediaCache
from dataengine.media.prepare import ensure_decoder
from dataengine.model.checkpoints import load_model, save_checkpoint
from dataengine.runtime import reaper
from schemas.annotations import Held
from schemas.jobs import EmbeddingJob
from stages.embedding import Embedder
from tests.annotated_homes import catalog_of, home_with_catalog
from workflows.ready_ahead import ReadyAhead, annotation_model, forget_old_models

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with_catalog(tmp_path, 4, ["annotate.ready_ahead=2", "generate.threads=1"])


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    opened = store_of(home)
    opened.images.fill(catalog_of(home), home.config.shards.short_side)
    yield opened
    opened.close()


@pytest.fixture
def ahead(home: Home, store: Store) -> Iterator[ReadyAhead]:
    made = ReadyAhead(home, store.images)
    yield made
    made.close()


def changed_model(folder: Path, part: str) -> str:
    """A file with nano's weights, one of them in `part` moved."""
    sam, card = load_model("nano")
    next(iter(getattr(sam, part).parameters())).data += 0.5
    path = folder / f"{part}.safetensors"
    save_checkpoint(sam, card.model_copy(update={"name": part}), path)
    return str(path)


def embedder_pids() -> list[int]:
    """Of this test's own Ray, which is not the only one on a busy machine."""
    found = []
    for pid in reaper.descendants(os.getpid(), reaper.processes()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::Embedder"):
            found.append(pid)
    return found


def test_no_more_than_ready_ahead_are_ready_also_when_the_embedder_is_killed(
    home: Home, store: Store, ahead: ReadyAhead
) -> None:
    assert ahead.fill() == 2 and ahead.fill() == 0
    assert store.queue.counts() == store.queue.counts() | {"ready": 2, "pending": 2}
    assert ahead.announced is not None and store.images.model() == ahead.announced
    cache = MediaCache(home.storage)
    assert cache.decoder(ahead.announced.id) is not None
    anna = store.people.add("anna", "annotator", "a long password")
    claim = store.queue.claim(anna, "annotate", str(uuid.uuid4()))
    assert claim.task_id is not None
    image = store.queue.task(claim.task_id).image
    assert cache.embedding(image.sha256, ahead.announced.encoder) is not None
    assert cache.display(image.sha256, image.width) is not None
    assert ahead.fill() == 1 and store.queue.counts()["ready"] == 2
    pids = embedder_pids()
    assert len(pids) == 1
    assert store.queue.claim(anna, "annotate", str(uuid.uuid4())).task_id is not None
    os.kill(pids[0], signal.SIGKILL)
    assert ahead.fill() == 1 and ahead.replaced == 1
    assert store.queue.counts()["ready"] == 2 and embedder_pids() != pids


def test_a_new_encoder_means_embedding_idle_tasks_anew_and_a_new_decoder_alone_does_not(
    home: Home, store: Store, tmp_path: Path
) -> None:
    model = "nano"
    ahead = ReadyAhead(home, store.images, model_of=lambda: model)
    try:
        assert ahead.fill() == 2
        before = ahead.announced
        anna = store.people.add("anna", "annotator", "a long password")
        leased = store.queue.claim(anna, "annotate", str(uuid.uuid4()))
        assert leased.task_id is not None and before is not None
        model = changed_model(tmp_path, "mask_decoder")
        assert ahead.fill() == 1, "only in place of the task that was taken"
        assert ahead.announced is not None
        between = ahead.announced
        assert between.encoder == before.encoder and between.id != before.id
        assert MediaCache(home.storage).decoder(ahead.announced.id) != MediaCache(home.storage).decoder(before.id)
        model = changed_model(tmp_path, "image_encoder")
        assert ahead.fill() == 2
        after = ahead.announced
        assert after is not None and after.encoder != before.encoder and store.images.model() == after
        counts = store.queue.counts()
        assert (counts["leased"], counts["ready"], counts["pending"]) == (1, 2, 1)
        held = store.queue.task(leased.task_id)
        assert held.encoder == before.encoder and held.lease == leased.lease
        waiting = next(
            i for i in range(1, 5) if not store.images.has_embedding(i, after.encoder) and i != held.image.id
        )
        # An answer that comes late, of the old encoder, makes nothing ready.
        store.images.embedding_ready(waiting, before.encoder)
        assert store.queue.counts() == counts
        cache = MediaCache(home.storage)
        (home.storage.local_path("cache/embeddings") / "nano-trunk-512-0123").mkdir()
        store.images.promote(after.model_copy(update={"id": "third", "encoder": "0123456789abcdef"}))
        assert forget_old_models(home.storage, store.images) == [], "the first's encoder is at work, one is a step back"
        lease = Held(lease=str(leased.lease), fence=leased.fence, mutation=str(uuid.uuid4()))
        store.queue.release(anna, leased.task_id, lease)
        assert forget_old_models(home.storage, store.images) == [before.encoder, *sorted([before.id, between.id])]
        assert cache.decoders() == [after.id] and cache.decoder(before.id) is None
        assert cache.encoders() == sorted([after.encoder, "nano-trunk-512-0123"]), "what training keeps is its own"
    finally:
        ahead.close()


def test_an_image_without_its_source_is_skipped_with_a_reason(home: Home, store: Store, ahead: ReadyAhead) -> None:
    first = catalog_of(home)[0]
    (Path(first.source) / first.path).unlink()
    while ahead.fill():
        pass
    assert store.queue.counts()["skipped"] == 1 and store.queue.counts()["ready"] == 2
    tasks = [store.queue.task(number) for number in range(1, 5)]
    assert [task.image.id for task in tasks if task.state == "skipped"] == [first.image_id]


def test_another_encoder_is_refused(home: Home, store: Store) -> None:
    announced, sha256 = annotation_model("nano")
    assert announced.id == ensure_decoder(home.storage, "nano") == sha256[:16]
    job = EmbeddingJob(
        model="nano",
        model_sha256=sha256,
        encoder=announced.encoder,
        device="cpu",
        threads=1,
        privacy=home.config.privacy,
        max_megapixels=300,
    )
    stale = Embedder.options(num_cpus=0).remote(home.storage.url, job)
    with pytest.raises(ray.exceptions.RayTaskError, match="was asked of one that makes"):
        ray.get(stale.prepare.remote(store.images.image(1), "0" * 16))
    wrong = Embedder.options(num_cpus=0).remote(home.storage.url, job.model_copy(update={"encoder": "0" * 16}))
    with pytest.raises(ray.exceptions.RayActorError, match="not the one that was announced"):
        ray.get(wrong.ready.remote())
    for actor in (stale, wrong):
        ray.kill(actor)
    time.sleep(0.1)
