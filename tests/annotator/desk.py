"""A person at the page: what she does with mouse and keyboard, and what she sees."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from dataengine.annotator.access import COOKIE
from tests.annotator.world import PASSWORD, Annotators

MARGIN = 24
"""CSS pixels that the page leaves around a fitted image (canvas/view.ts)."""
PATIENCE_MS = 40_000
"""Machines that build several things at once are slow; a page that never answers still fails."""

expect.set_options(timeout=PATIENCE_MS)


class Desk:
    """One browser profile. Coordinates are pixels of the annotation frame of a fitted image."""

    def __init__(self, browser: Browser, world: Annotators, name: str) -> None:
        self.world, self.name = world, name
        self.context = browser.new_context(viewport={"width": 1366, "height": 768})
        self.context.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def close(self) -> None:
        self.context.close()
        assert self.errors == []

    def sit_down(self, page: str = "", query: str = "") -> None:
        """With a session that she got earlier, which spares the password's slow check."""
        secret = self.world.store.people.issue(self.world.people[self.name].id, "session", 3600)
        self.context.add_cookies([{"name": COOKIE, "value": secret, "url": self.world.url, "httpOnly": True}])
        self.page.goto(f"{self.world.url}/{query}#/{page}")
        expect(self.page.locator(".topbar")).to_be_visible()

    def log_in(self, page: str = "", query: str = "") -> None:
        self.page.goto(f"{self.world.url}/{query}#/{page}")
        self.page.fill("[name=name]", self.name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        expect(self.page.locator(".topbar")).to_be_visible()

    def wait_for_image(self) -> None:
        expect(self.page.locator(".stage[data-ready=true]")).to_be_visible()

    @property
    def task_id(self) -> int:
        """The oldest task that this person holds."""
        return self.world.store.queue.mine(self.world.people[self.name])[0].id

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the frame lies in the window, as long as the image is fitted."""
        width, height = (
            int(part) for part in self.page.locator(".image-name small").inner_text().split(" ")[0].split("×")
        )
        box = self.page.locator(".stage").bounding_box()
        assert box is not None
        scale = min((box["width"] - 2 * MARGIN) / width, (box["height"] - 2 * MARGIN) / height, 8)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + x * scale, top + y * scale

    def click(self, x: float, y: float, button: str = "left") -> None:
        """One click; waits until the model has answered."""
        before = self.answers()
        self.page.mouse.click(*self.at(x, y), button=button)  # type: ignore[arg-type]
        self.page.wait_for_function(
            "before => performance.getEntriesByName('click-to-mask').length > before", arg=before
        )

    def answers(self) -> int:
        return int(self.page.evaluate("performance.getEntriesByName('click-to-mask').length"))

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 20) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def expect_masks(self, count: int) -> None:
        expect(self.page.locator(".masks [data-count]")).to_have_attribute("data-count", str(count))

    def expect_saved(self) -> None:
        # What was just done has reached the indicator once two frames have been drawn.
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        expect(self.page.locator(".savestate")).to_have_text("All saved")

    @property
    def image_name(self) -> str:
        return self.page.locator(".image-name b").inner_text()

    def leave_image(self, *keys: str) -> None:
        """Press the keys that end an image, and wait until it has gone."""
        name = self.image_name
        self.press(keys[0])
        expect(self.page.locator("dialog[open]")).to_be_visible()
        self.press(*keys[1:])
        self.page.wait_for_function("name => document.querySelector('.image-name b')?.textContent !== name", arg=name)

    def commit(self, count: int) -> None:
        """Commit the mask in hand, which makes `count`."""
        self.press("Enter")
        self.expect_masks(count)

    def expect_kept(self) -> None:
        """The mask in hand is written down in the browser."""
        expect(self.page.locator(".hand[data-kept=true]")).to_be_visible()

    def pixels_in_hand(self) -> int:
        """Screen pixels that the mask in hand covers: those of its canvas that are tinted at all."""
        return int(
            self.page.evaluate(
                """() => {
                  const canvas = document.querySelector('canvas[data-layer=active]');
                  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                  let count = 0;
                  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) count++;
                  return count;
                }"""
            )
        )
