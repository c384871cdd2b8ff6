"""The loop with people: it serves the annotator, waits until enough is accepted, and goes on."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from dataengine.annotations import store_of
from dataengine.annotator.client import AnnotatorClient
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.annotator.outlining import Habits
from dataengine.annotator.simulated import SimulatedAnnotator, SimulatedReviewer
from tests.workflows.test_engine import make_home
from workflows.engine import EngineSummary, run
from workflows.engine_hands import People
from workflows.engine_status import engine_status

PASSWORD = "a long password"

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_people_are_served_and_waited_for(tmp_path: Path) -> None:
    home, objects = make_home(tmp_path, "[{stage: assisted-manual, until: {images: 1}}]")
    said = io.StringIO()
    came: list[EngineSummary] = []
    loop = threading.Thread(target=lambda: came.append(run(home, People(port=0), Console(file=said, width=200))))
    loop.start()
    deadline = time.monotonic() + 120
    while (found := re.search(r"annotate at (http://\S+)", said.getvalue())) is None:
        assert loop.is_alive() and time.monotonic() < deadline, said.getvalue()
        time.sleep(0.1)
    store, truth = store_of(home), GroundTruth([str(objects)])
    store.people.add("anna", "annotator", PASSWORD)
    store.people.add("rosa", "reviewer", PASSWORD)
    anna = SimulatedAnnotator(
        lambda mutation: AnnotatorClient(found[1], "anna", PASSWORD, mutation),
        "anna",
        truth,
        Habits(max_clicks=3, patience=120),
    )
    rosa = SimulatedReviewer(lambda mutation: AnnotatorClient(found[1], "rosa", PASSWORD, mutation), "rosa", truth)
    anna.start()
    rosa.start()
    while anna.one_task() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    status = engine_status(home)
    assert status is not None and status.owner is not None and status.stage == "assisted-manual"
    assert status.queue["submitted"] == 1 and status.accepted["images"] == 0 and loop.is_alive()
    while rosa.one_task() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    loop.join(timeout=60)
    assert not loop.is_alive() and came[0].stopped is None and came[0].done == 2
    assert came[0].results[1].figures["images"] == 1 and came[0].results[1].figures["clicks_per_mask"] >= 1
    store.close()
