"""Pictures full of masks, for the page's tests and its benchmark."""

from __future__ import annotations

import numpy as np

from dataengine.masks import encode_boxed
from schemas.annotations import Held, MaskDraft
from tests.annotator.desk import Desk
from tests.annotator.world import Annotators
from tests.dataengine.annotations.world import new_id


def fill_with_discs(world: Annotators, name: str, count: int, radius: int) -> int:
    """`name` claims a task and saves `count` discs in rows; returns the task."""
    who = world.people[name]
    claim = world.store.queue.claim(who, "annotate", new_id())
    image = world.store.queue.task(claim.task_id).image
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.hypot(x, y) <= radius
    across = max(1, (image.width - disc.shape[1]) // (disc.shape[1] + 2) + 1)
    for index in range(count):
        left = index % across * (disc.shape[1] + 2)
        top = index // across * (disc.shape[0] + 2) % (image.height - disc.shape[0])
        rle = encode_boxed(disc, left, top, (image.height, image.width))
        held = Held(lease=claim.lease, fence=claim.fence, mutation=new_id())
        draft = MaskDraft(rle=rle, source="assisted", active_ms=1000, prominence=index)
        world.store.work.save_mask(who, claim.task_id, new_id(), held, 0, draft)
    return claim.task_id


def huge_picture() -> np.ndarray:
    """uint8 (8000, 6000, 3): coloured squares of 100 px."""
    coarse = np.random.default_rng(1).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 100, 0), 100, 1)


def work_on_huge(anna: Desk) -> None:
    """On `huge_picture` with 1000 masks, which are 1000 again at the end: clicking, a broad brush and the broadest,
    undo, committing, changing, selecting, deleting, zooming. The mask in hand reaches across the whole image."""
    anna.click(3000, 7300)
    anna.press("d", "]", "]")
    anna.drag((2500, 7800), (3500, 7800), steps=40)
    anna.press(*["]"] * 20)
    anna.drag((500, 500), (5500, 7500), steps=30)
    anna.press("Control+z", "Control+Shift+z", "Control+z")
    anna.commit(1001)
    anna.press("v", "p", "Enter")
    changing = anna.page.locator(".hand h2", has_text="Changing a mask")
    changing.wait_for()
    anna.drag((3000, 3000), (3100, 3000), steps=3)
    anna.press("Enter")
    changing.wait_for(state="hidden")
    anna.press("v", "n", "n", "Delete")
    anna.expect_masks(1000)
    for _ in range(6):
        anna.page.mouse.wheel(0, -300)
    anna.expect_saved()
