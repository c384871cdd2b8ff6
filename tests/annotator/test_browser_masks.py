"""Making masks in a real browser: clicks, choices, brush, undo; saved, reloaded, still there."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from playwright.sync_api import expect

from dataengine.masks import decode
from dataengine.model import load_model
from tests.annotator.world import embedding, photos

pytestmark = pytest.mark.browser


def native_masks(decoder_file, number: int, point: tuple[float, float]) -> np.ndarray:
    """bool (4, H, W): what native onnxruntime and `Sam.upsample` make of one click on photo `number`."""
    import torch

    sam, _ = load_model("nano")
    height, width = photos()[number][1].shape[:2]
    size = sam.input_size(height, width)
    session = onnxruntime.InferenceSession(str(decoder_file), providers=["CPUExecutionProvider"])
    features = np.frombuffer(embedding(number), "<f2").reshape(1, 256, 32, 32).astype(np.float32)
    at = [point[0] * size[1] / width, point[1] * size[0] / height]
    logits, _ = session.run(
        None,
        {
            "image_embeddings": features,
            "point_coords": np.array([[at, [0, 0]]], np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 128, 128), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        },
    )
    return (sam.upsample(torch.from_numpy(logits), size, (height, width))[0] > 0).numpy()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_click_choose_brush_undo_save_reload(sit_down, world, decoder_file):
    anna = sit_down("anna", by_password=True)
    anna.wait_for_image()
    task = anna.task_id
    number = world.store.queue.task(task).image.id
    height, width = photos()[number][1].shape[:2]
    point = (width * 0.5, height * 0.5)

    anna.click(*point)
    anna.press("2")
    expect(anna.page.locator("[data-choice='2']")).to_have_attribute("aria-pressed", "true")
    anna.commit(1)
    anna.expect_saved()
    (saved,) = world.masks(task)
    second = native_masks(decoder_file, number, point)[2]
    assert iou(decode(saved.rle), second) > 0.98
    assert saved.source == "assisted" and saved.prompts.clicks == 1
    assert saved.prompts.points[0][:2] == pytest.approx(point, abs=1.0)
    assert saved.model == "nano-1" and 0 < saved.active_ms < 120_000

    # A second mask, the smallest reading: its two strokes, one of them undone and done again, the other undone.
    anna.click(width * 0.25, height * 0.3)
    anna.press("1")
    expect(anna.page.locator("[data-choice='1']")).to_have_attribute("aria-pressed", "true")
    untouched = anna.pixels_in_hand()
    anna.press("d", "]", "]", "]", "]")
    anna.drag((width * 0.1, height * 0.9), (width * 0.3, height * 0.9))
    one_stroke = anna.pixels_in_hand()
    assert one_stroke > untouched
    anna.press("Control+z")
    expect(anna.page.locator("text=brushed")).to_have_count(0)
    anna.press("Control+Shift+z")
    anna.drag((width * 0.7, height * 0.1), (width * 0.9, height * 0.1))
    anna.press("Control+z")
    anna.commit(2)
    anna.expect_saved()
    brushed = world.masks(task)[1]
    pixels = decode(brushed.rle)
    assert brushed.source == "brushed" and brushed.suggestion is not None
    assert (
        pixels[int(height * 0.9), int(width * 0.2)]
        and not decode(brushed.suggestion)[int(height * 0.9), int(width * 0.2)]
    )
    added = pixels & ~decode(brushed.suggestion)
    assert not added[: height // 2].any(), "the undone stroke was saved"

    anna.page.reload()
    anna.wait_for_image()
    anna.expect_masks(2)
    assert [mask.rle for mask in world.masks(task)] == [saved.rle, brushed.rle]


def test_box_refine_background_edit_and_delete(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    height, width = photos()[world.store.queue.task(task).image.id][1].shape[:2]

    anna.drag((width * 0.3, height * 0.3), (width * 0.7, height * 0.7))
    expect(anna.page.locator("[data-choice='0']")).to_have_attribute("aria-pressed", "true")
    anna.click(width * 0.5, height * 0.5)
    anna.click(width * 0.05, height * 0.05, button="right")
    anna.commit(1)
    anna.expect_saved()
    (mask,) = world.masks(task)
    assert mask.prompts.clicks == 3
    assert [label for *_, label in mask.prompts.points] == [1, 0]
    assert mask.prompts.box == pytest.approx((width * 0.3, height * 0.3, width * 0.7, height * 0.7), abs=1.5)

    # Taken in hand again, erased at one end: the same mask, a new revision, the suggestion is kept.
    anna.press("v", "n", "Enter")
    expect(anna.page.locator(".hand h2")).to_have_text("Changing a mask")
    anna.press("e", "]", "]", "]", "]", "]", "]")
    anna.drag((width * 0.2, height * 0.5), (width * 0.8, height * 0.5))
    anna.press("Enter")
    expect(anna.page.locator(".mask-row .what")).to_contain_text("brushed")
    anna.expect_saved()
    (changed,) = world.masks(task)
    assert changed.id == mask.id and changed.revision == 2 and changed.area < mask.area
    assert changed.suggestion == mask.rle

    anna.press("v", "n", "Delete")
    anna.expect_masks(0)
    anna.expect_saved()
    assert world.masks(task) == []
    anna.press("Control+z")
    anna.expect_masks(1)
    anna.expect_saved()
    assert [one.rle for one in world.masks(task)] == [changed.rle]


def test_the_mask_in_hand_survives_a_reload(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    anna.click(200, 150)
    anna.press("d")
    anna.drag((40, 40), (120, 60))
    before = anna.pixels_in_hand()
    expect(anna.page.locator(".hand .facts")).to_contain_text("1 click · brushed")
    anna.expect_kept()
    anna.page.reload()
    anna.wait_for_image()
    expect(anna.page.locator(".hand .facts")).to_contain_text("1 click · brushed")
    # The ring of the brush is not there without a pointer; everything else is.
    assert anna.pixels_in_hand() == pytest.approx(before, rel=0.02)
    anna.commit(1)
    anna.expect_saved()
    assert len(world.masks(anna.task_id)) == 1


def test_a_browser_that_can_not_keep_the_mask_in_hand_says_so(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    anna.click(200, 150)
    anna.expect_kept()
    anna.page.evaluate(
        """() => {
          window.put = IDBObjectStore.prototype.put;
          IDBObjectStore.prototype.put = () => { throw new Error("the disk is full"); };
        }"""
    )
    anna.press("d")
    anna.drag((40, 40), (120, 60))
    expect(anna.page.locator(".toast")).to_contain_text("not kept for a reload")
    expect(anna.page.locator(".hand[data-kept=false]")).to_be_visible()
    anna.page.evaluate("() => { IDBObjectStore.prototype.put = window.put }")
    anna.drag((40, 80), (120, 100))
    anna.expect_kept()


def test_the_server_decodes_for_a_page_that_can_not(sit_down, world):
    anna = sit_down("anna", query="?decoder=server")
    anna.wait_for_image()
    anna.click(200, 150)
    expect(anna.page.locator(".hand .facts")).to_contain_text("decoded on the server")
    anna.commit(1)
    anna.expect_saved()
    assert world.masks(anna.task_id)[0].area > 0


def test_boxes_over_faces_are_corrected(sit_down, world):
    anna = sit_down("anna")
    for _ in range(3):
        anna.wait_for_image()
        anna.leave_image("k", "5")
    anna.wait_for_image()
    assert anna.image_name == "astronaut.png"
    task = anna.task_id
    anna.press("x")
    expect(anna.page.locator(".options")).to_contain_text("1 box")
    anna.page.mouse.click(*anna.at(225, 125))
    anna.press("Delete")
    expect(anna.page.locator(".options")).to_contain_text("0 boxes")
    anna.page.locator(".segments label", has_text="plate").click()
    anna.drag((300, 300), (360, 330))
    anna.expect_saved()
    boxes = world.store.queue.task(task).image.redactions
    assert [(box.kind, box.state) for box in boxes] == [("face", "deleted"), ("plate", "live")]
    assert boxes[1].box == pytest.approx((300, 300, 360, 330), abs=1.5)
