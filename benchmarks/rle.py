"""Run-length encoding and decoding of real masks: ours, pycocotools', the public generator's.

    python -m benchmarks.rle [--images 3] [--size 1500x2250] [--points-per-side 32] [--repeats 5] [--json FILE]

The masks are those that the bundled `nano` finds on single photos of that size. Every side starts from bool
pixels in memory and ends with COCO's compressed counts, which must be the same bytes:

- ours, boxed: what the generator does; only the mask's box is looked at, the frame is never built.
- ours, whole frame: `encode` of (N, H, W).
- pycocotools: `encode`, with the column-major uint8 copy that it asks for.
- public: `mask_to_rle_pytorch` on batches of 32 masks, then `coco_encode_rle`. Its float, int64 and per-mask
  temporaries are of the whole frame.

Decoding ends with bool (H, W); the public code's `rle_to_mask` begins with uncompressed counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco

from benchmarks.measure import Figures, Turns, alternate, machine, parser, report
from benchmarks.photos import PHOTOS, photo
from benchmarks.public import segment_anything
from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.masks import box_of_mask, decode, encode, encode_boxed
from dataengine.model import load_model
from schemas.config import GenerateConfig
from schemas.records import RLE

PUBLIC_BATCH = 32
CHUNK = 64
"""Masks that are whole in memory at once: 64 frames of 1500x2250 are 216 MB."""


def real_masks(images: int, height: int, width: int, points_per_side: int) -> list[RLE]:
    """What `nano` finds on the first `images` photos."""
    sam, card = load_model("nano")
    generator = MaskGenerator(sam, resolve_settings(GenerateConfig(points_per_side=points_per_side), card, "cpu"))
    names = list(PHOTOS)[:images]
    return [record.segmentation for name in names for record in generator.generate(photo(name, height, width))]


def pycocotools_encode(masks: np.ndarray) -> list[str]:
    return [coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() for mask in masks]


def public_encode(amg: Any, masks: np.ndarray) -> list[str]:
    counts = []
    for start in range(0, len(masks), PUBLIC_BATCH):
        rles = amg.mask_to_rle_pytorch(torch.from_numpy(masks[start : start + PUBLIC_BATCH]))
        counts += [amg.coco_encode_rle(rle)["counts"] for rle in rles]
    return counts


class Chunk:
    """Some masks in every form that a side starts from."""

    def __init__(self, amg: Any, rles: list[RLE]) -> None:
        self.rles = rles
        self.masks = np.stack([decode(rle) for rle in rles])
        self.frame = self.masks.shape[1:]
        boxes = [box for mask in self.masks if (box := box_of_mask(mask)) is not None]
        self.corners = [(x0, y0) for x0, y0, _, _ in boxes]
        self.boxed = [
            mask[y0 : y1 + 1, x0 : x1 + 1].copy() for mask, (x0, y0, x1, y1) in zip(self.masks, boxes, strict=True)
        ]
        self.public = [
            rle
            for start in range(0, len(rles), PUBLIC_BATCH)
            for rle in amg.mask_to_rle_pytorch(torch.from_numpy(self.masks[start : start + PUBLIC_BATCH]))
        ]

    def encoders(self, amg: Any) -> dict[str, Callable[[], list[str]]]:
        def boxed() -> list[str]:
            pairs = zip(self.boxed, self.corners, strict=True)
            return [encode_boxed(pixels, x, y, self.frame).counts for pixels, (x, y) in pairs]

        return {
            "ours, boxed": boxed,
            "ours, whole frame": lambda: [rle.counts for rle in encode(self.masks)],
            "pycocotools": lambda: pycocotools_encode(self.masks),
            "public": lambda: public_encode(amg, self.masks),
        }

    def decoders(self, amg: Any) -> dict[str, Callable[[], list[np.ndarray]]]:
        plain = [{"size": rle.size, "counts": rle.counts.encode()} for rle in self.rles]
        return {
            "ours": lambda: [decode(rle) for rle in self.rles],
            "pycocotools": lambda: [coco.decode(rle) for rle in plain],
            "public": lambda: [amg.rle_to_mask(rle) for rle in self.public],
        }


def rows_of(rles: list[RLE], repeats: int) -> list[Figures]:
    amg = segment_anything().utils.amg
    chunks = [rles[start : start + CHUNK] for start in range(0, len(rles), CHUNK)]
    encoded: list[Turns] = []
    decoded: list[Turns] = []
    same: dict[tuple[str, str], bool] = {}
    for rles_of_chunk in chunks:
        chunk = Chunk(amg, rles_of_chunk)
        for name, encoder in chunk.encoders(amg).items():
            expected = [rle.counts for rle in chunk.rles]
            same["encode", name] = same.get(("encode", name), True) and encoder() == expected
        for name, decoder in chunk.decoders(amg).items():
            equal = all(np.array_equal(mask, one) for mask, one in zip(chunk.masks, decoder(), strict=True))
            same["decode", name] = same.get(("decode", name), True) and equal
        encoded.append(alternate(chunk.encoders(amg), repeats, warm_up=0))
        decoded.append(alternate(chunk.decoders(amg), repeats, warm_up=0))
    rows = []
    for what, parts in (("encode", encoded), ("decode", decoded)):
        # One turn of all masks is the sum of that turn over the chunks.
        turns = Turns({name: _summed([part.seconds[name] for part in parts]) for name in parts[0].seconds})
        rows += [
            {
                "what": what,
                "code": name,
                "ms/mask": 1000 * turns.median(name) / len(rles),
                "times ours": turns.ratio(name),
                "same result": same[what, name],
            }
            for name in turns.seconds
        ]
    return rows


def _summed(parts: list[list[float]]) -> list[float]:
    return [sum(turn) for turn in zip(*parts, strict=True)]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=3, help=f"photos, at most {len(PHOTOS)}")
    arguments.add_argument("--size", default="1500x2250", help="height x width of the photos")
    arguments.add_argument("--points-per-side", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=5)
    chosen = arguments.parse_args()
    height, width = (int(side) for side in chosen.size.split("x"))
    rles = real_masks(chosen.images, height, width, chosen.points_per_side)
    rows = rows_of(rles, chosen.repeats)
    areas = [float(coco.area({"size": rle.size, "counts": rle.counts.encode()})) for rle in rles]
    share = float(np.mean(areas)) / (height * width)
    print(f"{len(rles)} masks of {chosen.images} photos at {chosen.size}, on average {share:.1%} of the frame")
    report(machine(), rows, chosen.json, masks=len(rles), size=chosen.size, mean_area_share=share)


if __name__ == "__main__":
    main()
