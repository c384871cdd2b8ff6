"""What an annotator's page takes in a real browser: from a click to the painted mask, and its longest stops.

    python -m benchmarks.page [--clicks 30] [--json FILE]

Needs chromium, and the page built (`make web`). A server with real photos, nano's embeddings and its exported
decoder runs beside it, with what the browser tests use (`tests/annotator`). `click` is from the click to the
painted mask, in the page (WebAssembly, one thread); beside it what native onnxruntime takes for the decoder alone,
one thread, in turn. `main thread` are the longest tasks of the page's main thread, as CPU time from chromium's
trace: while clicking, with 300 masks on an image, and with 1000 masks on one of 6000x8000 pixels, from opening the
page on; the mask in hand there reaches across the whole image.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import Figures, machine, parser, report
from tests.annotator.conftest import ARGUMENTS, browser_path
from tests.annotator.desk import Desk
from tests.annotator.scenes import fill_with_discs, huge_picture, work_on_huge
from tests.annotator.tracing import TRACED, main_thread_ms
from tests.annotator.world import annotators, embedding, exported_decoder, prepared_database


@contextmanager
def desk(
    browser: Browser, folder: Path, prepare: Callable[..., object], traced: bool = False, **world: object
) -> Iterator[Desk]:
    """Anna at the page of a fresh server, whose picture is there; `prepare(world)` ran before she came.

    `traced`: a trace has begun before she opened the page.
    """
    folder.mkdir()
    for one in annotators(folder, folder.parent / "people.db", folder.parent / "decoder.onnx", **world):  # type: ignore[arg-type]
        prepare(one)
        anna = Desk(browser, one, "anna")
        if traced:
            browser.start_tracing(page=anna.page, categories=TRACED)
        anna.sit_down()
        anna.wait_for_image()
        yield anna
        anna.close()


def clicks(browser: Browser, folder: Path, count: int) -> list[Figures]:
    """Rows: the page's click to mask, and native onnxruntime's decoder."""
    session = _native(folder / "decoder.onnx")
    native: list[float] = []
    with desk(browser, folder / "clicks", lambda world: None) as anna:
        anna.press("l")
        anna.click(300, 200)
        anna.press("Escape")
        anna.page.evaluate("performance.clearMeasures()")
        browser.start_tracing(page=anna.page, categories=TRACED)
        for index in range(count):
            anna.click(40 + 17 * (index % 30), 60 + 9 * (index % 30))
            anna.press("Escape")
            native.append(session())
        busy = main_thread_ms(browser.stop_tracing())
        page = anna.page.evaluate("performance.getEntriesByName('click-to-mask').map((entry) => entry.duration)")
    return [
        {"what": "click to mask, page", **_middle(page), "longest main thread ms": busy[-1]},
        {"what": "decoder alone, native", **_middle(native), "longest main thread ms": None},
    ]


def many_masks(browser: Browser, folder: Path) -> Figures:
    """300 masks: selecting, deleting, clicking, committing, zooming."""
    with desk(browser, folder / "many", lambda world: fill_with_discs(world, "anna", 300, 10)) as anna:
        browser.start_tracing(page=anna.page, categories=TRACED)
        anna.press("v")
        anna.page.mouse.click(*anna.at(10, 10))
        anna.press("Delete", "c")
        anna.click(300, 330)
        anna.commit(300)
        anna.page.mouse.wheel(0, -400)
        anna.press("n", "p", "p", "f")
        anna.expect_saved()
        busy = main_thread_ms(browser.stop_tracing())
    return {"what": "300 masks", "longest main thread ms": busy[-1]}


def huge(browser: Browser, folder: Path) -> list[Figures]:
    """Rows: opening an image of 6000x8000 pixels with 1000 masks, and working on it."""

    def fill(world: object) -> None:
        fill_with_discs(world, "anna", 1000, 90)

    world = {"numbers": [], "extra": {9: huge_picture()}, "short_side": 6000}
    with desk(browser, folder / "huge", fill, traced=True, **world) as anna:
        anna.expect_masks(1000)
        opening = main_thread_ms(browser.stop_tracing())
        browser.start_tracing(page=anna.page, categories=TRACED)
        work_on_huge(anna)
        working = main_thread_ms(browser.stop_tracing())
    return [
        {"what": "1000 masks, 6000x8000: opening", "longest main thread ms": opening[-1]},
        {"what": "1000 masks, 6000x8000: working", "longest main thread ms": working[-1]},
    ]


def _native(decoder: Path) -> Callable[[], float]:
    """A function that runs the decoder once and says how many ms it took."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(decoder), options, providers=["CPUExecutionProvider"])
    inputs = {
        "image_embeddings": np.frombuffer(embedding(1), "<f2").reshape(1, 256, 32, 32).astype(np.float32),
        "point_coords": np.array([[[200, 100], [0, 0]]], np.float32),
        "point_labels": np.array([[1, -1]], np.float32),
        "mask_input": np.zeros((1, 1, 128, 128), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }
    session.run(None, inputs)

    def once() -> float:
        began = time.perf_counter()
        session.run(None, inputs)
        return 1000 * (time.perf_counter() - began)

    return once


def _middle(milliseconds: list[float]) -> Figures:
    return {
        "median ms": float(np.median(milliseconds)),
        "p95 ms": float(np.percentile(milliseconds, 95)),
        "times": len(milliseconds),
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clicks", type=int, default=30)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        exported_decoder(folder)
        prepared_database(folder)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=ARGUMENTS)
        rows = [*clicks(browser, folder, chosen.clicks), many_masks(browser, folder), *huge(browser, folder)]
        browser.close()
    columns = ("what", "median ms", "p95 ms", "times", "longest main thread ms")
    report(machine(), [{column: row.get(column) for column in columns} for row in rows], chosen.json)


if __name__ == "__main__":
    main()
