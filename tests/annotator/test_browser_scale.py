"""Many masks and huge images. How long things take, `benchmarks/page.py` measures."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.annotator.desk import Desk
from tests.annotator.scenes import fill_with_discs, huge_picture, work_on_huge
from tests.annotator.tracing import TRACED, main_thread_ms
from tests.annotator.world import annotators

pytestmark = pytest.mark.browser


def test_three_hundred_masks(sit_down, world):
    task = fill_with_discs(world, "anna", 300, 10)
    anna = sit_down("anna")
    anna.wait_for_image()
    anna.expect_masks(300)
    assert anna.page.locator(".mask-row").count() < 60, "only the rows in sight exist"
    anna.press("v")
    anna.page.mouse.click(*anna.at(10, 10))
    expect(anna.page.locator(".mask-row[aria-selected=true] .number")).to_have_text("1")
    anna.press("Delete")
    anna.expect_masks(299)
    anna.press("c")
    anna.click(300, 330)
    anna.commit(300)
    anna.page.mouse.wheel(0, -400)
    anna.press("n", "p", "p", "f")
    anna.expect_saved()
    masks = world.masks(task)
    assert len(masks) == 300 and masks[-1].prominence == 300


@pytest.mark.slow
def test_a_thousand_masks_on_six_thousand_by_eight_thousand_pixels(chromium, tmp_path, people_file, decoder_file):
    for world in annotators(tmp_path, people_file, decoder_file, [], {9: huge_picture()}, short_side=6000):
        task = fill_with_discs(world, "anna", 1000, 90)
        anna = Desk(chromium, world, "anna")
        anna.sit_down()
        anna.wait_for_image()
        anna.expect_masks(1000)
        chromium.start_tracing(page=anna.page, categories=TRACED)
        work_on_huge(anna)
        busy = main_thread_ms(chromium.stop_tracing())
        masks = world.masks(task)
        assert len(masks) == 1000 and masks[-1].source == "brushed" and masks[-1].suggestion is not None
        # The page's bar is 50 ms (the benchmark measured 29); a machine that does other things takes longer.
        assert busy[-1] < 150, f"the main thread stood still for {busy[-1]:.0f} ms of CPU time"
        anna.close()
