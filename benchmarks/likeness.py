"""How far copies and strangers lie apart by perceptual hash: what `dataengine.catalog.likeness.NEAR` rests on.

    python -m benchmarks.likeness DIR [DIR ...] [--every 8] [--json FILE]

DIR are COCO-form folders of photos. Every eighth photo (--every) is copied in the ways of `COPIES`, and the bits by
which a copy's hash differs are counted; then each photo's nearest other, in any of the folders and mirrored too, is
looked for. Pairs that are near are printed: real ones, if all is well.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Figures, machine, parser, print_table, report
from dataengine.catalog.likeness import NEAR, distances, perceptual_hash
from dataengine.labelled import open_labelled


def recompressed(image: Image.Image, shrink: int, quality: int) -> Image.Image:
    stored = BytesIO()
    image.resize((image.width // shrink, image.height // shrink)).save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without half of this share at each border."""
    x, y = share / 2 * image.width, share / 2 * image.height
    return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))


def hidden(image: Image.Image) -> Image.Image:
    """An eighth of each side in one colour, near the middle: a large blurred face."""
    copy = image.copy()
    copy.paste((128, 128, 128), [image.width // 3, image.height // 3, 11 * image.width // 24, 11 * image.height // 24])
    return copy


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size, JPEG 50": lambda image: recompressed(image, 2, 50),
    "a quarter of it, JPEG 30": lambda image: recompressed(image, 4, 30),
    "brighter by a fifth": lambda image: image.point([min(255, round(1.2 * value)) for value in range(256)] * 3),
    "an eighth of each side hidden": hidden,
    "cropped by 2 %": lambda image: cropped(image, 0.02),
    "cropped by 5 %": lambda image: cropped(image, 0.05),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    arguments.add_argument("--every", type=int, default=8)
    given = arguments.parse_args()
    hashes: dict[str, str] = {}
    bits: dict[str, list[int]] = {name: [] for name in COPIES}
    for folder in given.folders:
        source = open_labelled(str(folder))
        for number, name in enumerate(source.names):
            pixels = source.read(name).pixels
            own = hashes[f"{folder.name}/{name}"] = perceptual_hash(pixels)
            for kind, copy in COPIES.items() if number % given.every == 0 else ():
                copied = perceptual_hash(np.asarray(copy(Image.fromarray(pixels))))
                bits[kind].append(distances([own], [copied]).item())
    rows: list[Figures] = [
        {"what": kind, "photos": len(values)} | _spread(values) | {"near": np.mean(np.array(values) <= NEAR)}
        for kind, values in bits.items()
    ]
    apart = distances(list(hashes.values()), list(hashes.values()))
    np.fill_diagonal(apart, 256)
    rows += [
        {"what": f"nearest other of {folder.name}"} | _nearest(apart, list(hashes), folder.name)
        for folder in given.folders
    ]
    names = list(hashes)
    pairs = [(int(apart[a, b]), names[a], names[b]) for a, b in np.argwhere(apart <= NEAR) if a < b]
    report(machine(), rows, given.json, near=NEAR, pairs=sorted(pairs))
    print()
    print_table([{"bits": differ, "image": a, "and": b} for differ, a, b in sorted(pairs)])


def _nearest(apart: np.ndarray, names: list[str], folder: str) -> Figures:
    nearest = apart[[name.startswith(f"{folder}/") for name in names]].min(axis=1)
    return {"photos": len(nearest)} | _spread(nearest.tolist()) | {"near": float(np.mean(nearest <= NEAR))}


def _spread(values: list[int]) -> Figures:
    low, middle, high = (int(np.percentile(values, share)) for share in (1, 50, 99))
    return {"least": min(values), "1 %": low, "median": middle, "99 %": high, "most": max(values)}


if __name__ == "__main__":
    main()
