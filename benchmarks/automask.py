"""Automatic masks against segment-anything's generator: the same weights, image and thresholds.

    python -m benchmarks.automask [--models nano vit_b] [--sizes 1500x2250 1024x1024] [--shares 0.1 0.4]
                                  [--points 32] [--layers 0] [--repeats 1] [--json FILE]

Each side works in processes of its own, in turn (ours, public, ours, public, ...), after a warm-up on a small
photo. `s` is the median of `generate`, encoder included. `peak MB` is the most its process held while it
generated, python, torch and weights included; `idle MB` is what it held just before. A share is that of the
candidates (three a point) that pass both filters; the thresholds are found on a smaller copy of the image.
Records are compared one by one: a line that says `other records` counts for nothing. Where masks have an IoU of
.999 or less, or stabilities differ by more than .001, the line says how much rounding of logits that takes, as a share
of the mask's largest: from 1e-5 on it is none, and makes other records.

`nano` has its IoU head turned around, and `vit_b` a random encoder (tests/parity/weights.py says why): both
give many different masks. `of limit` is the time that the arithmetic of our side would take at the rate of
the best product of two 2048 x 2048 matrices in the same run, as a share of the time it took.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import in_fresh_process, machine, parser, peak_rss, report, reset_peak, rss
from benchmarks.photos import mosaic
from benchmarks.public import segment_anything
from dataengine.automask import MaskGenerator
from dataengine.automask.presets import OFFICIAL, batch_sizes
from dataengine.model import Sam
from dataengine.model.memory import return_freed_memory
from schemas import AutomaskSettings, MaskRecord

SEED = 3
THRESHOLD_SIDE, THRESHOLD_POINTS = 600, 16
PEAK_SIDE, PEAK_PRODUCTS = 2048, 8


def settings_of(sam: Sam, points: int, layers: int, thresholds: dict[str, float]) -> AutomaskSettings:
    """The public code's settings in the batches that `preset: auto` has on a CPU."""
    return AutomaskSettings(
        **OFFICIAL,
        points_per_side=points,
        crop_layers=layers,
        points_downscale=2,
        **batch_sizes(sam.embedding_size, on_gpu=False),
        **thresholds,
    )


def generator(model: str, side: str, points: int, layers: int, thresholds: dict[str, float]) -> Any:
    """Something with `generate(pixels)`; on our side nothing else is ever loaded."""
    from tests.parity.weights import Remembering, our_side, pair

    if side == "ours":
        sam = our_side(model)
        return MaskGenerator(sam, settings_of(sam, points, layers, thresholds))
    # What our loading tells the C library about freed memory holds for a whole process, so not for the other side's.
    with patch("dataengine.model.checkpoints.keep_freed_memory"):
        public = pair(model).public
    if isinstance(public.image_encoder, Remembering):
        public.image_encoder = public.image_encoder.encoder
    return segment_anything().SamAutomaticMaskGenerator(
        public,
        points_per_side=points,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        output_mode="coco_rle",
        **thresholds,
    )


def find_thresholds(model: str, height: int, width: int, share: float) -> dict[str, float]:
    """Of predicted IoU and stability, such that `share` of the candidates pass; in a process of its own."""
    from tests.parity.records import thresholds
    from tests.parity.weights import our_side

    small = THRESHOLD_SIDE / max(height, width)
    pixels = np.asarray(
        Image.fromarray(mosaic(height, width, SEED)).resize((round(width * small), round(height * small)))
    )
    sam = our_side(model)
    return thresholds(sam, pixels, settings_of(sam, THRESHOLD_POINTS, 0, {}), share)


def run(
    model: str, side: str, height: int, width: int, points: int, layers: int, limits: dict[str, float], answer: str
) -> dict[str, Any]:
    """One `generate`, timed, in a process of its own; the records go to the file `answer`."""
    made = generator(model, side, points, layers, limits)
    with torch.no_grad():
        warm_up = generator_with_few_points(made)
        warm_up.generate(mosaic(240, 320, SEED))
        pixels = mosaic(height, width, SEED)
        return_freed_memory()
        reset_peak()
        idle = rss()
        started = time.perf_counter()
        found = made.generate(pixels)
        seconds = time.perf_counter() - started
    records = [record.model_dump() if isinstance(record, MaskRecord) else plain(record) for record in found]
    Path(answer).write_text(json.dumps(records))
    return {"seconds": seconds, "peak": peak_rss(), "idle": idle}


def generator_with_few_points(made: Any) -> Any:
    """The same model and thresholds, four points: what is loaded late is loaded then."""
    if isinstance(made, MaskGenerator):
        few = made.settings.model_copy(update={"points_per_side": 2, "crop_layers": 0})
        return MaskGenerator(made.sam, few)
    return segment_anything().SamAutomaticMaskGenerator(made.predictor.model, points_per_side=2)


def plain(annotation: dict[str, Any]) -> dict[str, Any]:
    """A public annotation as JSON can hold it."""
    keys = ("segmentation", "bbox", "point_coords", "crop_box")
    numbers = {key: float(annotation[key]) for key in ("predicted_iou", "stability_score")}
    return {key: annotation[key] for key in keys} | numbers | {"area": int(annotation["area"])}


def count_gflop(model: str, height: int, width: int, points: int, layers: int, limits: dict[str, float]) -> float:
    """Products and convolutions of our side, counted by torch on one thread; in a process of its own."""
    torch.set_num_threads(1)  # the counter sees only its own thread
    made = generator(model, "ours", points, layers, limits)
    with FlopCounterMode(display=False) as counter:
        made.generate(mosaic(height, width, SEED))
    return counter.get_total_flops() / 1e9


def peak_gflops() -> float:
    """The machine's best rate of float32 products with all of torch's threads."""
    square = torch.randn(PEAK_SIDE, PEAK_SIDE)
    best = 0.0
    for _ in range(PEAK_PRODUCTS):
        started = time.perf_counter()
        square @ square
        best = max(best, 2 * PEAK_SIDE**3 / 1e9 / (time.perf_counter() - started))
    return best


def compared(folder: Path, model: str, height: int, width: int) -> str:
    """What is to be said of the records that both sides left in `folder`."""
    from tests.parity.records import compare

    parity = compare(*records_in(folder))
    said = f"{parity.public} records, {parity.identical} identical RLE"
    if parity.unlike:
        case = {"model": model, "height": height, "width": width, "folder": str(folder)}
        parity = replace(parity, rounding=in_fresh_process(needed_rounding, **case).result)
        said += f", {len(parity.unlike)} unlike by a rounding of {parity.rounding:.0e}"
    problems = parity.problems()
    return f"other records: {'; '.join(problems)} ({said})" if problems else said


def records_in(folder: Path) -> tuple[list[MaskRecord], list[MaskRecord]]:
    """Ours and the public ones."""
    from tests.parity.records import record_of

    ours, public = (json.loads((folder / f"{side}.json").read_text()) for side in ("ours", "public"))
    return [MaskRecord(**record) for record in ours], [record_of(index, one) for index, one in enumerate(public)]


def needed_rounding(model: str, height: int, width: int, folder: str) -> float | None:
    """Of what isn't alike, from the public logits: in a process of its own."""
    from tests.parity.records import compare, judge
    from tests.parity.weights import pair

    ours, public = records_in(Path(folder))
    return judge(compare(ours, public), pair(model).public, mosaic(height, width, SEED), ours, public).rounding


def rows_of(
    model: str, size: tuple[int, int], share: float, points: int, layers: int, repeats: int
) -> list[dict[str, Any]]:
    """Our row and the public one."""
    height, width = size
    limits = in_fresh_process(find_thresholds, model=model, height=height, width=width, share=share).result
    case = {"model": model, "height": height, "width": width, "points": points, "layers": layers, "limits": limits}
    results: dict[str, list[dict[str, Any]]] = {"ours": [], "public": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for side, done in results.items():
                done.append(in_fresh_process(run, side=side, answer=f"{folder}/{side}.json", **case).result)
        records = compared(Path(folder), model, height, width)
    limit = in_fresh_process(count_gflop, **case).result / peak_gflops()
    seconds = {side: median(one["seconds"] for one in done) for side, done in results.items()}
    peak = {side: max(one["peak"] for one in done) for side, done in results.items()}
    faster = median(b["seconds"] / a["seconds"] for a, b in zip(results["ours"], results["public"], strict=True))
    rows = []
    for side in results:
        mine = side == "ours"
        rows.append(
            {
                "model": model,
                "image": f"{height}x{width}",
                "points": f"{points}/{layers}",
                "passing": f"{share:.0%}",
                "generator": side,
                "s": seconds[side],
                "peak MB": round(peak[side] / 1e6),
                "idle MB": round(max(one["idle"] for one in results[side]) / 1e6),
                "times faster": faster if mine else None,
                "of its memory": peak["ours"] / peak["public"] if mine else None,
                "of limit": limit / seconds["ours"] if mine else None,
                "records": records if mine else None,
            }
        )
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=["nano", "vit_b"], choices=("nano", "vit_b"))
    arguments.add_argument("--sizes", nargs="+", default=["1500x2250", "1024x1024"], metavar="HxW")
    arguments.add_argument("--shares", nargs="+", type=float, default=[0.1, 0.4])
    arguments.add_argument("--points", type=int, default=32, help="a side, of the whole image")
    arguments.add_argument("--layers", type=int, default=0, help="of crops")
    arguments.add_argument("--repeats", type=int, default=1)
    chosen = arguments.parse_args()
    sizes = [(int(height), int(width)) for height, width in (size.split("x") for size in chosen.sizes)]
    facts = machine()
    rows = []
    for model, size, share in product(chosen.models, sizes, chosen.shares):
        rows += rows_of(model, size, share, chosen.points, chosen.layers, chosen.repeats)
    report(facts, rows, chosen.json)


if __name__ == "__main__":
    main()
