"""Nothing is lost: offline, a dead server, an ended session, a lost lease, two tabs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from schemas.annotations import Held, MaskDraft
from tests.dataengine.annotations.world import new_id

pytestmark = pytest.mark.browser


def test_work_done_offline_is_sent_later(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    anna.click(200, 150)
    anna.commit(1)
    anna.expect_saved()
    anna.context.set_offline(True)
    anna.click(100, 100)
    anna.commit(2)
    anna.press("d")
    anna.drag((30, 200), (120, 210))
    anna.commit(3)
    expect(anna.page.locator(".savestate")).to_contain_text("Offline · 2 kept here")
    assert len(world.masks(task)) == 1
    anna.context.set_offline(False)
    anna.expect_saved()
    assert [mask.revision for mask in world.masks(task)] == [1, 1, 1]


def test_a_server_that_dies_and_comes_back_gets_everything_once(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    anna.click(200, 150)
    world.stop()
    anna.commit(1)
    expect(anna.page.locator(".savestate")).to_contain_text("kept here")
    # The browser is closed with work in it, and opened again before the server is back.
    anna.page.close()
    world.start()
    anna.page = anna.new_page()
    anna.page.goto(world.url)
    anna.wait_for_image()
    anna.expect_masks(1)
    anna.expect_saved()
    assert len(world.masks(task)) == 1
    assert world.store.verify().problems == []


def test_an_ended_session_keeps_the_mask_in_hand_and_what_was_committed(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    anna.click(200, 150)
    world.end_sessions("anna")
    anna.commit(1)
    dialog = anna.page.locator("dialog[open]")
    expect(dialog).to_contain_text("Log in again")
    expect(anna.page.locator(".savestate")).to_contain_text("Log in to save 1")
    dialog.locator("[name=password]").fill("a long password")
    dialog.locator("button[type=submit]").click()
    expect(anna.page.locator("dialog[open]")).to_have_count(0)
    anna.expect_saved()
    assert len(world.masks(task)) == 1

    # Now with a mask in hand: it must be there, as it was, after the new log-in.
    anna.click(120, 220)
    in_hand = anna.pixels_in_hand()
    anna.expect_kept()
    world.end_sessions("anna")
    anna.page.evaluate("location.reload()")
    anna.page.wait_for_selector("[name=password]")
    anna.page.fill("[name=name]", "anna")
    anna.page.fill("[name=password]", "a long password")
    anna.page.click("button[type=submit]")
    anna.wait_for_image()
    assert anna.pixels_in_hand() == pytest.approx(in_hand, rel=0.02)
    anna.commit(2)
    anna.expect_saved()
    assert len(world.masks(task)) == 2


def test_a_lease_taken_away_mid_mask_keeps_the_work_as_an_orphan(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    anna.click(200, 150)
    world.store.queue.steal(world.people["adam"], task, new_id())
    assert world.store.queue.claim(world.people["ben"], "annotate", new_id()).task_id == task
    anna.press("Enter")
    expect(anna.page.locator(".toast")).to_contain_text("kept as a draft")
    anna.expect_saved()
    assert [orphan["task_id"] for orphan in world.store.work.orphans()] == [task]
    assert world.masks(task) == []
    anna.wait_for_image()
    assert anna.task_id != task


def test_two_tabs_of_one_person_never_overwrite_each_other_silently(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task = anna.task_id
    anna.click(200, 150)
    anna.commit(1)
    anna.expect_saved()
    first = anna.page
    anna.page = second = anna.new_page()
    second.goto(world.url)
    anna.wait_for_image()
    anna.expect_masks(1)
    for page, end in ((second, (60, 60)), (first, (90, 200))):
        anna.page = page
        page.bring_to_front()
        anna.press("v", "n", "Enter")
        expect(page.locator(".hand h2")).to_have_text("Changing a mask")
        anna.press("d")
        anna.drag((20, 20), end)
        anna.press("Enter")
        if page is second:
            anna.expect_saved()
    # The tabs share one outbox: the one that sends knows of the other's revision, so this may be seen as the
    # same person's next change, or as a conflict. Neither loses a version.
    expect(first.locator(".hand h2")).to_have_count(0)
    expect(first.locator(".savestate")).to_have_text(re.compile("All saved|1 to decide"))
    (mask,) = world.masks(task)
    state = first.locator(".savestate").inner_text()
    assert (state == "All saved" and mask.revision == 3) or (state == "1 to decide" and mask.revision == 2)


def test_a_change_made_elsewhere_is_shown_beside_ones_own(sit_down, world):
    anna = sit_down("anna")
    anna.wait_for_image()
    task_id = anna.task_id
    anna.click(200, 150)
    anna.commit(1)
    anna.expect_saved()
    task = world.store.queue.task(task_id)
    (mask,) = task.masks
    held = Held(lease=task.lease, fence=task.fence, mutation=new_id())
    other = MaskDraft.model_validate(mask.model_dump(include=set(MaskDraft.model_fields)) | {"group": True})
    world.store.work.save_mask(world.people["anna"], task_id, mask.id, held, 1, other)

    anna.press("v", "n", "Enter")
    expect(anna.page.locator(".hand h2")).to_have_text("Changing a mask")
    anna.press("d")
    anna.drag((20, 20), (90, 40))
    anna.press("Enter")
    expect(anna.page.locator(".savestate")).to_have_text("1 to decide")
    anna.page.click(".savestate")
    expect(anna.page.locator(".versions")).to_contain_text("revision 2")
    anna.page.click("text=Keep mine")
    anna.expect_saved()
    (now,) = world.masks(task_id)
    assert now.revision == 3 and now.source == "brushed"
