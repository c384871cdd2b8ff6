"""Stage 1 from photos to a snapshot that training reads: server, embedders, simulated people. Real all the way."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from dataengine.annotations import Store, store_of
from dataengine.annotator.client import AnnotatorClient
from dataengine.annotator.crowd import IN_HAND
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.annotator.outlining import Habits
from dataengine.annotator.simulated import SimulatedAnnotator, SimulatedReviewer
from dataengine.home import Home
from dataengine.labelled import open_labelled
from dataengine.masks.iou import rle_iou
from tests.annotated_homes import catalog_of, home_with_catalog, task_image, two_objects
from tests.dataengine.labelled_sets import compressed
from workflows.ready_ahead import ReadyAhead
from workflows.simulate import SimulationSummary, serving, simulate
from workflows.snapshot import take_snapshot_of_store

SILENT = Console(file=io.StringIO())
PHOTOS = 4

HABITS = Habits(max_clicks=3, patience=120)
"""Drawn shapes mean nothing to a model: few clicks, then the brush."""

pytestmark = pytest.mark.usefixtures("ray_cluster")


def write_truth(home: Home, folder: Path) -> Path:
    """COCO of two drawn objects a photo, for all photos but the last."""
    (folder / "images").mkdir(parents=True)
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for row in catalog_of(home)[:-1]:
        (folder / "images" / row.path).write_bytes((Path(row.source) / row.path).read_bytes())
        facts = {"id": row.image_id, "file_name": row.path, "height": row.height, "width": row.width}
        content["images"].append(facts)
        for mask in two_objects(task_image(row)):
            number = len(content["annotations"]) + 1
            annotation = {"id": number, "image_id": row.image_id, "iscrowd": 0, "segmentation": compressed(mask)}
            content["annotations"].append(annotation)
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Home, Path, SimulationSummary]:
    folder = tmp_path_factory.mktemp("stage 1")
    home = home_with_catalog(folder, PHOTOS, ["annotate.ready_ahead=2", "generate.threads=1"])
    truth = write_truth(home, folder / "truth")
    return home, truth, simulate(home, [str(truth)], SILENT, habits=HABITS)


def test_every_task_is_done_and_every_object_has_its_mask(simulated: tuple[Home, Path, SimulationSummary]) -> None:
    home, _, summary = simulated
    assert summary.left == 0 and summary.prepared == PHOTOS
    done = {state: count for state, count in summary.counts.items() if count}
    assert done == {"accepted": PHOTOS - 1, "skipped": 1}
    figures = summary.figures()
    assert figures["masks"] == figures["objects"] == 2 * (PHOTOS - 1) and figures["reached_85"] == 1.0
    assert 1 <= figures["clicks_per_mask"] <= 3 and figures["strokes_per_mask"] > 0
    store = store_of(home)
    assert not store.verify().problems
    store.close()


def test_the_snapshot_holds_the_truth(simulated: tuple[Home, Path, SimulationSummary]) -> None:
    home, truth, _ = simulated
    first = take_snapshot_of_store(home, SILENT)
    again = take_snapshot_of_store(home, SILENT)
    assert first.is_new and not again.is_new and again.record == first.record
    snapshot, expected = open_labelled(first.folder), open_labelled(str(truth))
    assert len(snapshot.names) == PHOTOS - 1
    for name, row in zip(snapshot.names, catalog_of(home), strict=False):
        made, true = snapshot.read(name).masks, expected.read(row.path).masks
        ious = rle_iou([mask.rle for mask in true], [mask.rle for mask in made])
        assert ious.shape == (2, 2) and ious.max(axis=1).min() >= 0.85
    store = store_of(home)
    listed = store.snapshots.all()
    assert [row["manifest"] for row in listed] == ["snapshots/001/manifest.parquet"]
    assert listed[0]["sha256"] == first.record.manifest.sha256
    store.close()


def test_a_repeated_run_finds_nothing_to_do(simulated: tuple[Home, Path, SimulationSummary]) -> None:
    home, truth, _ = simulated
    again = simulate(home, [str(truth)], SILENT)
    assert again.left == 0 and not again.outlines and sum(work.images for work in again.people) == 0


@pytest.mark.slow
def test_the_same_seed_draws_the_same_masks_and_the_server_decodes_like_the_page(
    tmp_path: Path, simulated: tuple[Home, Path, SimulationSummary]
) -> None:
    first_home, _, first = simulated
    for decode_on in ("page", "server"):
        home = home_with_catalog(tmp_path / decode_on, PHOTOS, ["annotate.ready_ahead=4", "generate.threads=1"])
        truth = write_truth(home, tmp_path / decode_on / "truth")
        # One person instead of two, and other tasks ready at once: neither shows in the masks.
        again = simulate(home, [str(truth)], SILENT, annotators=1, habits=HABITS, decode_on=decode_on)
        assert again.counts == first.counts
        if decode_on == "page":
            assert masks_of(home) == masks_of(first_home)
        else:
            # The wire carries logits as float16.
            assert again.figures()["iou"] == pytest.approx(first.figures()["iou"], abs=0.02)


def masks_of(home: Home) -> list[str]:
    store = store_of(home)
    _, images = store.snapshots.accepted()
    found = [mask.rle.counts for image in images for mask in image.masks]
    store.close()
    return found


def test_who_is_sent_home_leaves_nothing_submitted(tmp_path: Path) -> None:
    photos = 2 * PHOTOS
    home = home_with_catalog(tmp_path, photos, ["generate.threads=1"])
    truth = write_truth(home, tmp_path / "truth")

    def until(store: Store) -> bool:
        counts = store.queue.counts()
        return any(counts[state] for state in ("submitted", "in_review", "accepted"))

    counts = simulate(home, [str(truth)], SILENT, habits=HABITS, until=until).counts
    assert not any(counts[state] for state in IN_HAND), counts
    assert 1 <= counts["accepted"] < photos - 1 and counts["ready"] + counts["pending"] > 0


class SlowReviewer(SimulatedReviewer):
    def one_task(self) -> dict[str, Any] | None:
        time.sleep(10)
        return super().one_task()


def test_annotators_do_not_run_ahead_of_a_slow_reviewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = 2 * PHOTOS
    home = home_with_catalog(tmp_path, photos, ["generate.threads=1"])
    truth = write_truth(home, tmp_path / "truth")
    monkeypatch.setattr("workflows.simulate.SimulatedReviewer", SlowReviewer)
    counts = simulate(
        home,
        [str(truth)],
        SILENT,
        annotators=1,
        habits=HABITS,
        until=lambda store: store.queue.counts()["accepted"] >= 1,
    ).counts
    # When the first is accepted, one may wait for the reviewer and one be in the annotator's hands.
    assert 1 <= counts["accepted"] <= 3 < photos, counts


class LosesAnswers(httpx.HTTPTransport):
    """A network that delivers every request, and loses the answer to every third."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        answer = super().handle_request(request)
        if self.sent % 3 == 0:
            answer.read()
            raise httpx.ReadError("the answer was lost", request=request)
        return answer


def test_lost_answers_make_no_second_mask(tmp_path: Path) -> None:
    home = home_with_catalog(tmp_path, 2, ["generate.threads=1"])
    truth = write_truth(home, tmp_path / "truth")
    store = store_of(home)
    store.images.fill(catalog_of(home), 1500)
    ahead = ReadyAhead(home, store.images)
    assert ahead.fill() == 2
    ahead.close()
    store.people.add("anna", "annotator", "a long password")
    network = LosesAnswers()
    with serving(home, store) as url, httpx.Client(base_url=url, transport=network) as http:
        anna = SimulatedAnnotator(
            lambda mutation: AnnotatorClient(url, "anna", "a long password", mutation, http=http),
            "anna",
            GroundTruth([str(truth)]),
            HABITS,
        )
        anna.start()
        while anna.one_task() is None:
            pass
        assert anna.client.retries >= 3
    assert (anna.work.images, anna.work.skipped) == (1, 1)
    # One claim a task, one mask an object: what was sent twice happened once.
    assert store.queue.counts() == store.queue.counts() | {"submitted": 1, "skipped": 1, "leased": 0}
    task = next(store.queue.task(number) for number in (1, 2) if store.queue.task(number).state == "submitted")
    assert task.fence == 1 and [mask.revision for mask in task.masks] == [1, 1]
    assert not store.verify().problems
    store.close()
