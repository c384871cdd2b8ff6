"""The generator on a GPU: exact and bf16, compiled and not, beside segment-anything, in the same run.

    python -m benchmarks.gpu [--model vit_h|vit_b|nano] [--recipes view sa-1b] [--size 1500x2250] [--repeats 5]
                             [--drift 20] [--json FILE]

`view` is 1024 points on the whole image; `sa-1b` is the paper's recipe, 21 views and 3072 points. `nano` has its
trained weights. The ViTs have a random encoder (the time is the same) and `nano`'s decoder in the official width;
thresholds are set on the image, so that a tenth of the candidates pass the predicted IoU and half of those the
stability. segment-anything gets the same weights and thresholds; filters that only the paper has (masks of nearly
the whole image, or whose largest part is tiny) it lacks, so its mask count may differ.

- cold s: the first image, with whatever is compiled and tuned in it.
- images/s: the median over turns that alternate between all sides, one image after the other, records included.
- encode, decode, measure ms: of one image with the device waited for around each part; host: the rest of `find`;
  records: specks and run lengths, which stage 3 does elsewhere while the device goes on.
- MFU: the arithmetic of the plain model (torch's FLOP counter; padding is not counted) over the time of
  `find` and the device's dense bf16 peak, whatever the precision.
- peak GB: allocated on the device at most, weights of all sides included (they are there together).

Drift is `benchmarks.drift`'s, on the same device. Without CUDA this ends with exit code 2; `--device cpu --tiny` runs
all of it on a small scale.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.drift import drift
from benchmarks.measure import Figures, alternate, machine, parser, print_table, report
from benchmarks.photos import mosaic
from benchmarks.public import public_sam, segment_anything
from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.automask.found import records_of
from dataengine.automask.measured import Measured
from dataengine.automask.upsample import Upsampler
from dataengine.model import Sam, build_sam, load_model
from dataengine.model.mask_decoder import ImageSide
from schemas import AutomaskSettings
from schemas.config import GenerateConfig

BF16_TFLOPS = {
    "B200": 2250, "H200": 989, "GH200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312,
    "L40S": 362, "L4": 121, "A10G": 70, "A10": 125, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Dense, by a part of the device's name, the longer names first; from the vendor's data sheets."""

IOU_SHARE, STABLE_SHARE = 0.1, 0.5
WELL_ABOVE_ZERO = 2.0
"""For predicted IoUs of ViTs: a threshold of 0 or less means "no filter"."""
PARTS = ("encode", "decode", "measure", "host", "records")


# models and settings -----------------------------------------------------------------------------------


def build(model: str, device: str) -> Sam:
    trained, _ = load_model("nano")
    if model == "nano":
        return trained.to(device).requires_grad_(False)
    torch.manual_seed(0)
    sam = build_sam(model)
    state = trained.mask_decoder.state_dict()
    for name, value in state.items():
        # Every hidden unit twice, with half the weight: the same decoder in the official width.
        if ".mlp.lin1." in name:
            state[name] = torch.cat([value, value])
        elif name.endswith(".mlp.lin2.weight"):
            state[name] = torch.cat([value / 2, value / 2], dim=1)
    sam.prompt_encoder.load_state_dict(trained.prompt_encoder.state_dict())
    sam.mask_decoder.load_state_dict(state)
    with torch.no_grad():
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.add_(WELL_ABOVE_ZERO)
    # torch's FLOP counter stumbles over gradients.
    return sam.to(device).requires_grad_(False)


def settings_of(recipe: str, device: str, tiny: bool) -> AutomaskSettings:
    _, card = load_model("nano")
    keys: Figures = {"preset": "sa-1b", "compile": False} | ({"points_per_side": 4} if tiny else {})
    layers = 0 if recipe == "view" else 1 if tiny else 2
    config = GenerateConfig.model_validate(keys | {"crop_layers": layers})
    return resolve_settings(config, card, device)


class Probe(MaskGenerator):
    """Keeps the scores of all candidates."""

    def __init__(self, sam: Sam, settings: AutomaskSettings, device: str) -> None:
        everything = settings.model_copy(update={"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0})
        super().__init__(sam, everything, device)
        self.iou: list[float] = []
        self.stability: list[float] = []

    def _decode(self, image: ImageSide, prompts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        rows, iou, logits = super()._decode(image, prompts, size)
        self.iou += iou.tolist()
        return rows, iou, logits

    def _measure(self, upsampler: Upsampler, logits: torch.Tensor) -> list[Measured | None]:
        measured = super()._measure(upsampler, logits)
        self.stability += [one.stability if one else 0.0 for one in measured]
        return measured


def with_thresholds(sam: Sam, settings: AutomaskSettings, pixels: np.ndarray, device: str) -> AutomaskSettings:
    """Thresholds that the shares above of this image's candidates pass, in a single view of it."""
    probe = Probe(sam, settings.model_copy(update={"crop_layers": 0}), device)
    probe.find(pixels)
    iou, stability = np.array(probe.iou), np.array(probe.stability)
    least_iou = float(np.quantile(iou, 1 - IOU_SHARE))
    least_stable = float(np.quantile(stability[iou > least_iou], 1 - STABLE_SHARE))
    return settings.model_copy(update={"pred_iou_thresh": least_iou, "stability_score_thresh": least_stable})


# our side ----------------------------------------------------------------------------------------------


class Timed(MaskGenerator):
    """Waits for the device around each part, and adds up how long the parts took."""

    @cached_property
    def seconds(self) -> defaultdict[str, float]:
        return defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        wait(self.sam.device)
        started = time.perf_counter()
        yield
        wait(self.sam.device)
        self.seconds[name] += time.perf_counter() - started

    def _encode(self, views: list[np.ndarray]) -> torch.Tensor:
        with self.part("encode"):
            return super()._encode(views)

    def _decode(self, image: ImageSide, prompts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        with self.part("decode"):
            return super()._decode(image, prompts, size)

    def _measure(self, upsampler: Upsampler, logits: torch.Tensor) -> list[Measured | None]:
        with self.part("measure"):
            return super()._measure(upsampler, logits)

    def parts(self, pixels: np.ndarray) -> Figures:
        """Milliseconds of each of `PARTS`, for one image."""
        self.seconds.clear()
        started = time.perf_counter()
        found = self.find(pixels)
        between = time.perf_counter()
        records_of(found, self.settings)
        self.seconds["records"] = time.perf_counter() - between
        inside = sum(self.seconds[part] for part in ("encode", "decode", "measure"))
        self.seconds["host"] = between - started - inside
        return {f"{part} ms": round(1e3 * self.seconds[part], 2) for part in PARTS}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gb(device: torch.device, run: Callable[[], object]) -> float | None:
    """Allocated on the device at most while this runs."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) / 1e9


def tflop(sam: Sam, settings: AutomaskSettings, pixels: np.ndarray, device: str) -> float:
    """Of one image, as the plain model computes it."""
    with FlopCounterMode(display=False) as counter:
        MaskGenerator(sam, settings, device).find(pixels)
    return counter.get_total_flops() / 1e12


def peak_tflops(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in BF16_TFLOPS.items() if part in name), None)


# the public side ---------------------------------------------------------------------------------------


def public_sides(model: str, sam: Sam, settings: AutomaskSettings, device: str) -> dict[str, Any]:
    """Name -> the public generator, with our weights and settings; says on stderr which one isn't here."""
    keys = {
        "points_per_side": settings.points_per_side,
        "pred_iou_thresh": settings.pred_iou_thresh,
        "stability_score_thresh": settings.stability_score_thresh,
        "box_nms_thresh": settings.box_nms_thresh,
        "crop_n_layers": settings.crop_layers,
        "crop_nms_thresh": settings.crop_nms_thresh,
        "crop_n_points_downscale_factor": settings.points_downscale,
        "min_mask_region_area": settings.min_mask_region_area,
        "output_mode": "coco_rle",
    }
    sides: dict[str, Any] = {}
    try:
        package = segment_anything()
        if model == "nano":
            public = public_sam(sam, sam.image_encoder)
        else:
            public = package.sam_model_registry[model]()
            public.load_state_dict(sam.state_dict())
        sides["segment-anything"] = package.SamAutomaticMaskGenerator(public.to(device).eval(), **keys)
    except SystemExit as missing:
        print(f"without segment-anything: {missing}", file=sys.stderr)
    fast = _segment_anything_fast()
    if fast is None or model == "nano":
        print("without segment-anything-fast: not importable here, or not for this model", file=sys.stderr)
    else:
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:  # its encoder is wrapped: weights come from a file
            torch.save(sam.state_dict(), file.name)
            quick = fast.sam_model_fast_registry[model](checkpoint=file.name).to(device)
        sides["segment-anything-fast"] = fast.SamAutomaticMaskGenerator(quick, **keys)
    return sides


def _segment_anything_fast() -> Any:
    """The fork of GitHub; the package of that name on PyPI is something else."""
    if importlib.util.find_spec("segment_anything_fast") is None:
        return None
    try:
        package = importlib.import_module("segment_anything_fast")
    except ImportError:  # it asks for torchvision and triton
        return None
    return package if hasattr(package, "sam_model_fast_registry") else None


# tables ------------------------------------------------------------------------------------------------


def speed(
    model: str, recipe: str, sam: Sam, settings: AutomaskSettings, pixels: np.ndarray, repeats: int, backend: str
) -> list[Figures]:
    """One row for each of our variants and for each public side."""
    device = sam.device
    torch._dynamo.reset()  # each recipe compiles for itself
    work = tflop(sam, settings, pixels, str(device))
    peak = peak_tflops(device)
    ours: dict[str, MaskGenerator] = {}
    for compiled in (False, True):
        for precision in ("exact", "bf16"):
            changed = settings.model_copy(update={"precision": precision, "compile": compiled})
            name = f"ours, {precision}{', compiled' if compiled else ''}"
            ours[name] = MaskGenerator(sam, changed, device, backend=backend)
    public = public_sides(model, sam, settings, str(device))
    runs: dict[str, Callable[[], Any]] = {
        name: _whole(MaskGenerator.generate, one, pixels) for name, one in ours.items()
    }
    runs |= {name: _whole(type(one).generate, one, pixels) for name, one in public.items()}
    rows: dict[str, Figures] = {}
    for name, run in runs.items():
        started = time.perf_counter()
        try:
            masks = len(run())
        except RuntimeError as error:
            if name in ours:
                raise
            # It keeps every mask at full size, or was written for another torch.
            print(f"{name}, {recipe}: failed: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        cold = time.perf_counter() - started
        rows[name] = {"model": model, "recipe": recipe, "side": name, "masks": masks, "cold s": cold}
        rows[name]["peak GB"] = peak_gb(device, run)
    for name, one in ours.items():
        timed = Timed(sam, one.settings, device, backend=backend)
        timed.steps = one.steps  # compiled once
        parts = timed.parts(pixels)
        seconds = sum(value for part, value in parts.items() if part != "records ms") / 1e3
        rows[name] |= parts | {"TFLOP": work, "MFU": work / seconds / peak if peak else None}
    turns = alternate({name: runs[name] for name in rows}, repeats, warm_up=0)
    first = next(iter(runs))
    for name, row in rows.items():
        row |= {"images/s": 1 / turns.median(name), "times faster": 1 / turns.ratio(name, first)}
    columns = ["model", "recipe", "side", "images/s", "times faster", "cold s", *(f"{part} ms" for part in PARTS)]
    columns += ["TFLOP", "MFU", "peak GB", "masks"]
    return [{column: row.get(column) for column in columns} for row in rows.values()]


def _whole(generate: Callable[..., Any], generator: Any, pixels: np.ndarray) -> Callable[[], Any]:
    return lambda: generate(generator, pixels)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default="vit_h", choices=("vit_h", "vit_b", "nano"))
    arguments.add_argument("--recipes", nargs="+", default=["view", "sa-1b"], choices=("view", "sa-1b"))
    arguments.add_argument("--size", default="1500x2250", help="height x width of the image")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--drift", type=int, default=20, metavar="IMAGES", help="0 leaves it out")
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--tiny", action="store_true", help="few points, nothing really compiled: a smoke test")
    chosen = arguments.parse_args()
    if not torch.cuda.is_available() and not (chosen.device == "cpu" and chosen.tiny):
        print("benchmarks.gpu needs a CUDA device; here is none", file=sys.stderr)
        raise SystemExit(2)
    height, width = (int(side) for side in chosen.size.split("x"))
    pixels = mosaic(height, width, 0)
    sam = build(chosen.model, chosen.device)
    rows: list[Figures] = []
    for recipe in chosen.recipes:
        settings = with_thresholds(sam, settings_of(recipe, chosen.device, chosen.tiny), pixels, chosen.device)
        backend = "eager" if chosen.tiny else "inductor"
        rows += speed(chosen.model, recipe, sam, settings, pixels, chosen.repeats, backend)
    drifted = [drift(chosen.device, chosen.drift, (height, width), chosen.tiny)] if chosen.drift else []
    real = importlib.util.find_spec("torchvision") is not None
    report(machine(), rows, chosen.json, drift=drifted, size=[height, width], torchvision=real)
    print()
    print_table(drifted)


if __name__ == "__main__":
    main()
