"""The way through the API that the page takes, shape for shape."""

from __future__ import annotations

import base64

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from dataengine.annotator.wire import iso
from dataengine.media.display import display_levels
from dataengine.model import Predictor, load_model
from tests.dataengine.annotations.world import HEIGHT, MODEL, WIDTH, World, draft, new_id
from tests.dataengine.annotator.calls import claim, error_of, finish, held, mask_body, save
from tests.dataengine.annotator.conftest import LogIn
from tests.dataengine.annotator.small_media import picture


def test_state_and_session(world: World, log_in: LogIn) -> None:
    client = log_in(world.anna)
    assert client.get("/api/session").json() == {
        "user": {"id": world.anna.id, "name": "anna", "role": "annotator"},
        "csrf": None,
    }
    state = client.get("/api/state").json()
    assert state["stage"] == "assisted-manual" and state["nudge_seconds"] == 30 and state["lease_seconds"] == 600
    assert state["counts"] == {
        **dict.fromkeys(["pending", "leased", "submitted", "in_review", "accepted", "rejected", "skipped"], 0),
        "ready": 6,
    }
    assert state["model"] == {
        "id": MODEL.id,
        "name": "nano",
        "encoder": "enc-1",
        "input_size": 512,
        "embedding_shape": [256, 32, 32],
        "mask_threshold": 0.0,
        "decoder_url": f"/api/models/{MODEL.id}/decoder.onnx",
    }


def test_annotate_review_accept(world: World, log_in: LogIn) -> None:
    anna, rita = log_in(world.anna), log_in(world.rita)
    task = claim(anna)
    assert task["kind"] == "annotate" and task["state"] == "leased" and task["pass"] == 1
    assert task["expires_at"] == iso(world.clock.now + 600_000)
    assert task["image"]["width"] == WIDTH and task["image"]["pyramid"][0]["url"] == "/api/images/1/display?width=60"
    assert [box["kind"] for box in task["redactions"]] == ["face"]
    mask_id = new_id()
    body = mask_body(task)
    url = f"/api/tasks/{task['id']}/masks/{mask_id}"
    assert anna.put(url, json=body).json() == {"revision": 1}
    assert anna.put(url, json=body).json() == {"revision": 1}, "a replay"
    assert save(anna, task, mask_id, base=1, side=12, suggestion=draft().rle).json() == {"revision": 2}
    assert error_of(save(anna, task, mask_id, base=1)) == (409, "revision_conflict")
    again = anna.get("/api/tasks/mine").json()["tasks"]
    assert [one["id"] for one in again] == [task["id"]] and again[0]["lease"] == task["lease"]
    mask = again[0]["masks"][0]
    assert mask["id"] == mask_id and mask["revision"] == 2 and mask["area"] == 144 and mask["bbox"] == [5, 5, 11, 11]
    assert mask["prompts"] == {"points": [[6.0, 6.0, 1]], "box": None, "clicks": 2}
    assert set(mask) == {
        *("id", "author", "rle", "bbox", "area", "source", "locked", "score", "predicted_iou", "model", "prompts"),
        *("suggestion", "active_ms", "revision", "state", "prominence", "group", "verdict"),
    }
    boxes = [{"id": "face-0", "kind": "face", "box": [10, 5, 21, 15], "state": "live"}]
    answer = anna.put(f"/api/tasks/{task['id']}/redactions", json={**held(task), "boxes": boxes})
    assert answer.json() == {"redactions": 1}
    beat = anna.post(f"/api/tasks/{task['id']}/heartbeat", json={"lease": task["lease"], "fence": task["fence"]})
    assert beat.json() == {"expires_at": iso(world.clock.now + 600_000)}
    assert finish(anna, task).json() == {"state": "submitted"}

    review = claim(rita, "review")
    assert review["id"] == task["id"] and review["kind"] == "review" and review["state"] == "in_review"
    assert review["redactions"][0]["box"] == [10, 5, 21, 15]
    assert save(rita, review, mask_id, base=2, side=11).json() == {"revision": 3}, "a reviewer's fix"
    verdict = {**held(review), "verdict": "accept", "reason": None, "masks": [{"id": mask_id, "verdict": "fixed"}]}
    assert rita.post(f"/api/tasks/{task['id']}/review", json=verdict).json() == {"state": "accepted"}
    assert rita.get("/api/state").json()["counts"]["accepted"] == 1
    listed = rita.get("/api/tasks", params={"state": "accepted"}).json()["tasks"]
    assert [(row["id"], row["annotator"], row["masks"]) for row in listed] == [(task["id"], "anna", 1)]


def test_an_empty_queue_says_why(world: World, log_in: LogIn) -> None:
    answer = log_in(world.rita).post("/api/tasks/claim", json={"kind": "review", "mutation": new_id()}).json()
    assert answer["task"] is None and answer["empty"]["code"] == "done"
    assert answer["empty"]["counts"]["ready"] == 6


def test_late_work_is_kept_as_a_draft(world: World, log_in: LogIn) -> None:
    anna = log_in(world.anna)
    task = claim(anna)
    world.clock.pass_seconds(601)
    claim(log_in(world.ben))
    late = save(anna, task)
    assert error_of(late) == (409, "lease_lost") and late.json()["error"]["orphan"] is True
    drafts = anna.get("/api/orphans").json()["orphans"]
    assert [one["task_id"] for one in drafts] == [task["id"]]
    assert log_in(world.ben).get("/api/orphans").json() == {"orphans": []}


def test_pictures_and_embeddings(world: World, log_in: LogIn, tmp_path) -> None:
    client = log_in(world.anna)
    picture = client.get("/api/images/1/display", params={"width": 50})
    assert picture.headers["content-type"] == "image/jpeg"
    (tmp_path / "a.jpg").write_bytes(picture.content)
    assert Image.open(tmp_path / "a.jpg").size == (WIDTH, HEIGHT)
    embedding = client.get("/api/images/1/embedding", params={"encoder": "enc-1"})
    assert embedding.headers["x-embedding-shape"] == "256,32,32" and "immutable" in embedding.headers["cache-control"]
    assert len(embedding.content) == 2 * 256 * 32 * 32
    assert error_of(client.get("/api/images/1/embedding", params={"encoder": "enc-0"})) == (409, "encoder_mismatch")
    assert error_of(client.get("/api/images/5/display")) == (404, "no_picture")
    assert error_of(client.get("/api/images/77/display")) == (404, "no_image")
    assert client.get(f"/api/models/{MODEL.id}/decoder.onnx").content == b"onnx"
    assert error_of(client.get("/api/models/other/decoder.onnx")) == (404, "no_model")
    # A lost embedding is wanted again, and its task isn't handed out meanwhile.
    assert error_of(client.get("/api/images/6/embedding", params={"encoder": "enc-1"})) == (404, "no_embedding")
    assert world.store.images.wanted_embeddings(ahead=50) == [6]
    assert world.store.queue.counts()["pending"] == 1


def test_a_held_task_keeps_the_embedding_of_its_model(world: World, log_in: LogIn) -> None:
    client = log_in(world.anna)
    task = claim(client)
    world.store.images.promote(MODEL.model_copy(update={"id": "nano-2", "encoder": "enc-2"}))
    assert client.get(task["image"]["embedding_url"]).status_code == 200
    assert error_of(client.get("/api/images/2/embedding", params={"encoder": "enc-1"})) == (409, "encoder_mismatch")


def test_masks_decoded_on_the_server(world: World, log_in: LogIn) -> None:
    client = log_in(world.anna)
    first = client.post("/api/images/1/decode", json={"points": [[20, 20, 1]]}).json()
    logits = np.frombuffer(base64.b64decode(first["low_res_logits"]), "<f2").reshape(4, 128, 128)
    expected = Predictor(load_model("nano")[0]).set_image(picture()).predict(points=[[20, 20]])
    # What the library says of the same click, but for an embedding of 16 bits.
    assert np.abs(logits[1:].astype(np.float32) - expected.low_res_logits).max() < 0.2
    assert np.abs(np.array(first["predicted_iou"][1:]) - expected.predicted_iou).max() < 0.01
    best = 1 + expected.best
    refined = {"points": [[20, 20, 1]], "mask_input": base64.b64encode(logits[best].tobytes()).decode()}
    second = client.post("/api/images/1/decode", json=refined).json()
    assert second["predicted_iou"] != first["predicted_iou"]
    boxed = client.post("/api/images/1/decode", json={"box": [10, 10, 30, 30]}).json()
    assert len(boxed["predicted_iou"]) == 4
    for bad in ({}, {"points": [[1, 1, 7]]}, {"points": [[1, 1, 1]], "mask_input": "AAAA"}):
        assert client.post("/api/images/1/decode", json=bad).status_code == 422


def test_statistics(world: World, log_in: LogIn) -> None:
    anna, rita = log_in(world.anna), log_in(world.rita)
    task = claim(anna)
    world.clock.pass_seconds(20)
    save(anna, task, active_ms=14_000, suggestion=draft(side=5).rle)
    world.clock.pass_seconds(5)
    save(anna, task, x=30, active_ms=60_000)
    finish(anna, task)
    mine = anna.get("/api/statistics/me").json()
    # 25 s of work allow no more than 25 s of masks, whatever the page says.
    assert mine["total"] == mine["today"]
    assert mine["total"]["masks"] == 2 and mine["total"]["seconds_per_mask"] == 12.5
    assert mine["total"]["clicks_per_mask"] == 2 and mine["total"]["edit_iou"] == 0.25 and mine["total"]["images"] == 1
    assert error_of(anna.get("/api/statistics")) == (403, "role")
    claim(rita, "review")
    every = rita.get("/api/statistics").json()
    assert [row["name"] for row in every["annotators"]] == ["anna"] and every["queue"]["in_review"] == 1
    assert every["annotators"][0]["days"][0]["masks"] == 2 and every["overall"]["masks"] == 2
    assert every["overall"]["days"] == every["annotators"][0]["days"]


def test_the_page(stranger: TestClient) -> None:
    assert "page" in stranger.get("/").text and stranger.get("/").headers["cache-control"] == "no-cache"
    assert "immutable" in stranger.get("/assets/app-1234.js").headers["cache-control"]
    assert stranger.get("/icon.svg").status_code == 200 and stranger.get("/nothing.svg").status_code == 404
    assert error_of(stranger.get("/api/nothing")) == (404, "not_found")
    assert stranger.get("/api/openapi.json").json()["info"]["title"] == "Annotation server"


def test_levels_of_the_pyramid() -> None:
    assert display_levels(60, 40) == [(60, 40)]
    assert display_levels(2250, 1500) == [(2250, 1500), (1125, 750), (563, 375)]
