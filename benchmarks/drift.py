"""What bf16 changes: `nano`'s masks, with its trained weights and the thresholds of its card, beside the exact ones.

    python -m benchmarks.drift [--images 20] [--size 1500x2250] [--device cpu|cuda] [--json FILE]

On mosaics: the share of images whose mask count changes, and the mean IoU of the masks with their partners (the best
one, above .5). A CPU rounds as a GPU does, to 8 bits, and adds up in another order.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Figures, machine, parser, report
from benchmarks.photos import mosaic
from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.masks import rle_iou
from dataengine.model import load_model
from schemas.config import GenerateConfig
from schemas.records import MaskRecord

PARTNERS = 0.5


def drift(device: str, images: int, size: tuple[int, int], tiny: bool = False) -> Figures:
    """bf16 against exact, with trained weights and the thresholds of their card."""
    sam, card = load_model("nano", device=device)
    keys: Figures = {"compile": False} | ({"points_per_side": 8, "crop_layers": 0} if tiny else {})
    exact = resolve_settings(GenerateConfig.model_validate(keys), card, device)
    sides = [MaskGenerator(sam, exact.model_copy(update={"precision": how}), device) for how in ("exact", "bf16")]
    changed, overlaps, masks = 0, list[float](), 0
    for seed in range(images):
        pixels = mosaic(*size, seed)
        before, after = (side.generate(pixels) for side in sides)
        changed += len(before) != len(after)
        masks += len(before)
        overlaps += partners(before, after)
    return {
        "model": "nano",
        "images": images,
        "masks, exact": masks,
        "images whose count changes": changed / images,
        "masks with a partner": len(overlaps) / masks if masks else None,
        "mean IoU with it": float(np.mean(overlaps)) if overlaps else None,
    }


def partners(before: list[MaskRecord], after: list[MaskRecord]) -> list[float]:
    """IoU of each mask that has a partner with its best one."""
    if not before or not after:
        return []
    best = rle_iou([r.segmentation for r in before], [r.segmentation for r in after]).max(axis=1)
    return [float(iou) for iou in best if iou > PARTNERS]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=20)
    arguments.add_argument("--size", default="1500x2250", help="height x width of the images")
    arguments.add_argument("--device", default="cpu")
    given = arguments.parse_args()
    height, width = (int(side) for side in given.size.split("x"))
    report(machine(), [drift(given.device, given.images, (height, width))], given.json, size=[height, width])


if __name__ == "__main__":
    main()
