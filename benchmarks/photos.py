"""Photos of any size for the benchmarks, made of those inside scikit-image and scikit-learn: no download."""

from __future__ import annotations

import importlib.util
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = {
    "astronaut.png": ("skimage", "data"),
    "chelsea.png": ("skimage", "data"),
    "china.jpg": ("sklearn", "datasets", "images"),
    "coffee.png": ("skimage", "data"),
    "flower.jpg": ("sklearn", "datasets", "images"),
    "rocket.jpg": ("skimage", "data"),
}


def photo(name: str, height: int, width: int) -> np.ndarray:
    """uint8 RGB (height, width, 3): one of `PHOTOS`, cut to that shape about its centre, then scaled."""
    source = _original(name)
    scale = min(source.height / height, source.width / width)
    cut_height, cut_width = scale * height, scale * width
    left, top = (source.width - cut_width) / 2, (source.height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    return np.asarray(source.resize((width, height), Image.Resampling.BICUBIC, box=box))


def mosaic(height: int, width: int, seed: int, rows: int = 2, columns: int = 2) -> np.ndarray:
    """uint8 RGB (height, width, 3): rows x columns photos, which ones and which flipped says `seed`.

    A big picture of many things, as SA-1B's are; any two seeds give different pictures.
    """
    draw = np.random.default_rng(seed)
    out = np.empty((height, width, 3), np.uint8)
    tops = np.linspace(0, height, rows + 1).round().astype(int)
    lefts = np.linspace(0, width, columns + 1).round().astype(int)
    names = list(PHOTOS)
    for row, column in product(range(rows), range(columns)):
        top, bottom, left, right = tops[row], tops[row + 1], lefts[column], lefts[column + 1]
        tile = photo(names[draw.integers(len(names))], bottom - top, right - left)
        # A few grey levels of shift: the same photo twice is still two pictures.
        shift = int(draw.integers(-12, 13))
        tile = np.clip(tile.astype(np.int16) + shift, 0, 255).astype(np.uint8)
        out[top:bottom, left:right] = tile[:, ::-1] if draw.integers(2) else tile
    return out


@cache
def _original(name: str) -> Image.Image:
    package, *folders = PHOTOS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit("the photos need scikit-image and scikit-learn: pip install 'sa-dataengine[demo]'")
    return Image.open(Path(spec.origin).parent.joinpath(*folders, name)).convert("RGB")
