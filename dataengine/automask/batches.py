"""How prompts and views are cut into batches: by the settings alone, never by what arrives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from dataengine.automask.crops import Crop
from dataengine.model.sam import Sam


def even_batch(total: int, most: int) -> int:
    """The size of as few batches as `most` allows, as equal as they can be: 21 by 8 is 7, not 8, 8 and 5.

    For code that is compiled for one shape: the last batch is padded to it, and this wastes least.
    """
    return math.ceil(total / math.ceil(total / most))


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """(n, ...) -> (size, ...): the last row again and again."""
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])


def resized_views(
    sam: Sam, pixels: np.ndarray, crops: list[Crop], frame: tuple[int, int], size: int, threads: int
) -> Iterator[tuple[list[Crop], list[np.ndarray]]]:
    """Batches of `size` crops, and each crop's view of the original as `Sam.resize` makes it.

    With `threads` the next batch is resized while the device works on this one; with 0 when it is asked for.
    """
    batches = [crops[start : start + size] for start in range(0, len(crops), size)]

    def resize(crop: Crop) -> np.ndarray:
        return sam.resize(crop.cut(pixels, frame))

    if not threads:
        for batch in batches:
            yield batch, [resize(crop) for crop in batch]
        return
    with ThreadPoolExecutor(threads, "views") as pool:
        ahead: list[list[Future[np.ndarray]]] = [[pool.submit(resize, crop) for crop in batches[0]]]
        for index, batch in enumerate(batches):
            if index + 1 < len(batches):
                ahead.append([pool.submit(resize, crop) for crop in batches[index + 1]])
            yield batch, [view.result() for view in ahead.pop(0)]
