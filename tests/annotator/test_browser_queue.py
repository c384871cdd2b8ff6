"""Who gets what: two annotators, a whole image by keyboard, review, people and plots."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from dataengine.annotations.tables import mask, probe
from dataengine.annotations.tables import task as tasks
from dataengine.masks import encode
from schemas.annotations import Held, MaskDraft
from tests.annotator.test_browser_scale import fill_with_discs
from tests.annotator.world import MODEL, NEXT_MODEL, photos
from tests.dataengine.annotations.world import new_id

pytestmark = pytest.mark.browser


def test_two_annotators_never_hold_the_same_image(sit_down, world):
    anna, ben = sit_down("anna"), sit_down("ben")
    seen: dict[str, list[str]] = {"anna": [], "ben": []}
    for _ in range(2):
        for desk in (anna, ben):
            desk.wait_for_image()
            seen[desk.name].append(desk.image_name)
            desk.leave_image("Control+Enter", "2")
    for desk in (anna, ben):
        desk.wait_for_image()
        seen[desk.name].append(desk.image_name)
    everything = seen["anna"] + seen["ben"]
    assert len(set(everything)) == 6, seen
    assert {row["state"] for row in world.tasks("submitted")} == {"submitted"}
    assert len(world.tasks("submitted")) == 4


def test_a_promoted_model_waits_for_the_next_image(sit_down, world):
    """She finishes on the model she began with, also after a reload, and so does her reviewer; the next has the new."""
    anna = sit_down("anna")
    anna.wait_for_image()
    task, images = anna.task_id, world.store.images
    held = [one.id for one in world.store.queue.mine(world.people["anna"])]
    images.promote(NEXT_MODEL)
    for number in photos():
        images.embedding_ready(number, NEXT_MODEL.encoder)
    anna.click(300, 200)
    anna.commit(1)
    anna.click(100, 100)
    anna.page.reload()
    anna.wait_for_image()
    expect(anna.page.locator(".toast")).to_contain_text("The mask you had in hand is back.")
    anna.click(120, 110)
    anna.commit(2)
    assert anna.task_id == task
    for _ in held:
        anna.leave_image("Control+Enter", "1")
        anna.wait_for_image()
    anna.click(200, 150)
    anna.commit(1)
    anna.expect_saved()
    assert [mask.model for mask in world.masks(task)] == [MODEL.id, MODEL.id]
    assert [mask.model for mask in world.masks(anna.task_id)] == [NEXT_MODEL.id]
    rita = sit_down("rita", "review")
    rita.wait_for_image()
    rita.press("c")
    rita.click(50, 50)
    rita.commit(3)
    rita.expect_saved()
    assert [mask.model for mask in world.masks(task)] == [MODEL.id] * 3


def test_a_whole_image_without_a_mouse(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    before = anna.answers()
    anna.press("ArrowRight", "ArrowRight", "ArrowDown", "a")
    anna.page.wait_for_function("b => performance.getEntriesByName('click-to-mask').length > b", arg=before)
    anna.press("Tab", "1", "2", "Shift+Tab")
    expect(anna.page.locator("[data-choice='1']")).to_have_attribute("aria-pressed", "true")
    anna.press("d", *["ArrowLeft"] * 34, *["ArrowUp"] * 14, "a", *["ArrowRight"] * 6, "a")
    expect(anna.page.locator(".hand .facts")).to_contain_text("brushed")
    anna.commit(1)
    anna.press("b", *["ArrowLeft"] * 12, "a", *["ArrowRight"] * 8, *["ArrowDown"] * 8, "a")
    expect(anna.page.locator(".hand h2")).to_have_text("New mask")
    expect(anna.page.locator("[data-choice='0']")).to_have_attribute("aria-pressed", "true")
    anna.commit(2)
    anna.press("v", "n", "g", "n", "Delete")
    anna.expect_masks(1)
    anna.press("h", "+", "-", "f", "?")
    expect(anna.page.locator("dialog[open]")).to_contain_text("Keys")
    anna.press("Escape")
    anna.leave_image("Control+Enter", "1")
    anna.wait_for_image()
    anna.expect_saved()
    done = world.store.queue.task(task)
    assert done.state == "submitted" and done.exhaustive is True
    assert [mask.group for mask in done.masks] == [True]
    assert done.masks[0].source == "brushed"


def test_keys_in_one_breath_go_where_they_belong(sit_down, world):
    """No frame is drawn between them: the cheat sheet closes, the next dialog opens and takes its digit."""
    anna = sit_down("anna")
    anna.wait_for_image()
    task, name = anna.task_id, anna.image_name
    anna.page.evaluate(
        """() => {
          const press = (key, ctrlKey = false) =>
            document.activeElement.dispatchEvent(
              new KeyboardEvent("keydown", { key, ctrlKey, bubbles: true, cancelable: true }));
          const cancel = () =>
            document.querySelector("dialog[open]").dispatchEvent(new Event("cancel", { cancelable: true }));
          press("?");
          cancel();
          press("Enter", true);
          press("2");
        }"""
    )
    anna.page.wait_for_function("name => document.querySelector('.image-name b')?.textContent !== name", arg=name)
    anna.wait_for_image()
    anna.expect_saved()
    done = world.store.queue.task(task)
    assert done.state == "submitted" and done.exhaustive is False


def test_skip_with_a_reason_and_an_empty_queue_that_says_why(sit_down, world):
    anna = sit_down("anna")
    for _ in range(6):
        anna.wait_for_image()
        anna.leave_image("k", "1")
    expect(anna.page.locator(".notice h2")).to_contain_text("All images are done")
    assert {row["reason"] for row in world.tasks("skipped")} == {"nothing to annotate"}


def test_review_accept_reject_and_the_next_pass_goes_to_another(sit_down, world):
    for name, masks in (("anna", 2), ("anna", 1)):
        claim = world.store.queue.claim(world.people[name], "annotate", new_id())
        image = world.store.queue.task(claim.task_id).image
        for index in range(masks):
            pixels = np.zeros((image.height, image.width), bool)
            pixels[20 : 90 + 20 * index, 30 + 100 * index : 110 + 100 * index] = True
            draft = MaskDraft(rle=encode(pixels)[0], source="brushed", active_ms=5000, prominence=index)
            held = Held(lease=claim.lease, fence=claim.fence, mutation=new_id())
            world.store.work.save_mask(world.people[name], claim.task_id, new_id(), held, 0, draft)
        held = Held(lease=claim.lease, fence=claim.fence, mutation=new_id())
        world.store.work.finish(world.people[name], claim.task_id, held, True)

    rita = sit_down("rita", page="review")
    rita.wait_for_image()
    rita.expect_masks(2)
    first = rita.task_id
    rita.press("n", "a", "r")
    expect(rita.page.locator("dialog[open]")).to_contain_text("Reject this mask")
    rita.press("2")
    expect(rita.page.locator(".verdict")).to_have_count(2)
    rita.press("Control+Enter", "2")
    expect(rita.page.locator("dialog[open]")).to_contain_text("Reject this image")
    rita.press("1")
    rita.expect_masks(1)
    rita.wait_for_image()
    rita.press("n", "Enter")
    expect(rita.page.locator(".hand h2")).to_have_text("Changing a mask")
    rita.press("d")
    rita.drag((40, 150), (90, 160))
    rita.press("Enter")
    expect(rita.page.locator(".verdict")).to_have_text("fixed")
    rita.press("Control+Enter", "1")
    expect(rita.page.locator(".notice h2")).to_be_visible()
    rita.expect_saved()
    assert world.store.queue.task(first).state == "rejected"
    (accepted,) = world.tasks("accepted")
    assert world.masks(accepted["id"])[0].verdict == "fixed"

    anna, ben = sit_down("anna"), sit_down("ben")
    ben.wait_for_image()
    anna.wait_for_image()
    expect(ben.page.locator(".returned")).to_contain_text("missing objects")
    expect(anna.page.locator(".returned")).to_have_count(0)


def test_people_queue_and_dashboard(sit_down, world):
    adam = sit_down("adam", page="users")
    adam.page.fill("[name=new-name]", "carla")
    adam.page.fill("[name=new-password]", "another long password")
    adam.page.click(".new-user button")
    expect(adam.page.locator("table")).to_contain_text("carla")
    assert world.store.people.authenticate("carla", "another long password") is not None
    adam.page.fill("[name=new-name]", "dora")
    adam.page.click(".new-user button")
    link = adam.page.locator(".invitation code").inner_text()
    adam.page.click("nav >> text=Queue")
    expect(adam.page.locator("tbody tr")).to_have_count(6)
    adam.page.click("nav >> text=Dashboard")
    expect(adam.page.locator(".plot")).to_have_count(6)
    anna = sit_down("anna", page="users")
    anna.wait_for_image()
    expect(anna.page.locator("nav >> text=People")).to_have_count(0)
    # Whoever was invited chooses a password and is in.
    anna.page.goto("about:blank")
    anna.page.goto(link)
    anna.page.fill("[name=name]", "dora")
    anna.page.fill("[name=password]", "a password of dora's own")
    anna.page.click("button[type=submit]")
    expect(anna.page.locator(".menu summary")).to_have_text("dora")


def test_the_dashboard_shows_what_the_hidden_probes_found(sit_down, world):
    task = fill_with_discs(world, "anna", 4, 20)
    with world.store.database.write() as tx:
        for number, outcome in enumerate(("found", "missed", "missed", "kept", "deleted")):
            kind = "withheld" if number < 3 else "planted"
            row = {"id": number, "task_id": task, "mask_id": str(number), "kind": kind, "content": {}, "created_at": 0}
            tx.execute(probe.insert().values(**row, outcome=outcome))
        tx.execute(tasks.update().where(tasks.c.id == task).values(annotator_id=world.people["anna"].id))
    adam = sit_down("adam", page="users")
    adam.page.click("nav >> text=Dashboard")
    expect(adam.page.locator(".plot")).to_have_count(8)
    expect(adam.page.locator(".tile", has_text="recall")).to_contain_text("0.33")
    expect(adam.page.locator(".tile", has_text="automation bias")).to_contain_text("0.5")
    row = adam.page.locator("tbody tr", has_text="anna")
    expect(row).to_contain_text("0.33 (3)")
    expect(row).to_contain_text("0.5 (2)")


def test_prefilled_masks_are_locked_filtered_by_score_and_rejected(sit_down, world):
    task = fill_with_discs(world, "anna", 4, 20)
    for saved, score in zip(world.masks(task), (0.95, 0.8, 0.6, 0.4), strict=True):
        with world.store.database.write() as tx:
            prefill = {"source": "prefill", "locked": True, "score": score}
            tx.execute(mask.update().where(mask.c.id == saved.id).values(**prefill))
    anna = sit_down("anna")
    anna.wait_for_image()
    slider = anna.page.get_by_label("Least score of prefilled masks to show")
    slider.fill("0.7")
    expect(anna.page.locator(".options .facts")).to_have_text("2 of 4 prefilled masks shown")
    expect(anna.page.locator(".mask-row.dim")).to_have_count(2)
    anna.press("v")
    # A hidden mask can't be hit; a shown one is locked, and can only be taken away.
    anna.page.mouse.click(*anna.at(20 + 3 * 43, 20))
    expect(anna.page.locator(".mask-row[aria-selected=true]")).to_have_count(0)
    anna.page.mouse.click(*anna.at(20, 20))
    expect(anna.page.locator(".hand .facts")).to_contain_text("locked")
    anna.press("Enter")
    expect(anna.page.locator(".toast")).to_contain_text("locked")
    anna.press("Delete")
    anna.expect_masks(3)
    anna.press("c")
    anna.click(300, 250)
    anna.commit(4)
    anna.expect_saved()
    assert sorted(one.source for one in world.masks(task)) == ["assisted", "prefill", "prefill", "prefill"]
