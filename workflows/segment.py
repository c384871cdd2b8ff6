"""`dataengine segment`: masks of one photo from a prompt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataengine.automask.generator import MaskGenerator
from dataengine.automask.presets import resolve_settings
from dataengine.catalog.decode import decode
from dataengine.errors import ConfigError, RejectedImageError
from dataengine.masks.boxes import box_of_mask, xyxy_to_xywh
from dataengine.masks.rle import encode
from dataengine.model.checkpoints import load_model
from dataengine.model.predictor import Prediction, Predictor
from dataengine.model.sam import Sam
from dataengine.model.text import clip_of
from dataengine.prompts import ROUGH_LOGIT
from dataengine.reports.overlay import draw_masks
from schemas import CheckpointCard, MaskRecord
from schemas.config import GenerateConfig, IngestConfig
from workflows.segment_detected import detected

CHOICES = ("best", "all", "ambiguous")


@dataclass(frozen=True)
class Prompt:
    """What the person asked for: points xy with labels, a box XYXY, a rough mask, words, or everything."""

    points: list[tuple[float, float]]
    labels: list[int]
    box: list[float] | None
    mask: Path | None
    everything: bool
    choose: str
    text: str | None = None
    clip: str | None = None
    """The CLIP for the words, instead of the one that the model's card names."""
    detector: str | None = None
    """What finds the objects, by the words if there are any, instead of the model's own text prompt."""

    @classmethod
    def parse(
        cls,
        points: list[str],
        file: Path | None,
        box: str | None,
        mask: Path | None,
        everything: bool,
        choose: str,
        text: str | None = None,
        clip: str | None = None,
        detector: str | None = None,
    ) -> Prompt:
        """Checks the flags. Raises ConfigError that names the wrong one."""
        if file is not None:
            if not file.is_file():
                raise ConfigError(f"--points {file}: no such file")
            points = [*points, *(line for line in file.read_text().splitlines() if line.strip())]
        parsed = [_numbers("--point", text, (2, 3)) for text in points]
        corners = _numbers("--box", box, (4,)) if box else None
        if corners and (corners[0] >= corners[2] or corners[1] >= corners[3]):
            raise ConfigError(f"--box {box}: expected left,top,right,bottom with left < right and top < bottom")
        if choose not in CHOICES:
            raise ConfigError(f"--choose {choose}: expected one of {', '.join(CHOICES)}")
        given = bool(parsed or corners or mask or text is not None or detector)
        if given == everything:
            raise ConfigError("give --point, --points, --box, --mask, --text or --detector, or else --everything")
        if detector and (parsed or corners or mask or clip):
            raise ConfigError("--detector finds the boxes itself: it goes with --text and with no other prompt")
        if text is not None and not text.strip():
            raise ConfigError("--text: expected words")
        labels = [int(p[2]) if len(p) == 3 else 1 for p in parsed]
        if not set(labels) <= {0, 1}:
            raise ConfigError("--point: the third number is 1 (on the object) or 0 (background)")
        return cls([(p[0], p[1]) for p in parsed], labels, corners, mask, everything, choose, text, clip, detector)


def segment_image(
    image: Path, prompt: Prompt, model: str, target: Path | None
) -> tuple[Path, list[MaskRecord], list[str]]:
    """Runs the prompt and writes a PNG overlay, or JSON when `target` ends in .json.

    Returns where, the records, and what a detector says of each (empty without one).
    """
    if not image.is_file():
        raise ConfigError(f"{image}: no such file")
    try:
        pixels = decode(image.read_bytes(), IngestConfig().max_megapixels).pixels
    except RejectedImageError as error:
        raise ConfigError(f"{image}: {error}") from error
    sam, card = load_model(model)
    words: list[str] = []
    if prompt.detector:
        found = detected(sam, card, pixels, image.name, prompt.detector, prompt.text)
        records, words = [record for record, _ in found], [said for _, said in found]
    else:
        records = _everything(sam, card, pixels) if prompt.everything else _prompted(sam, pixels, prompt)
    target = target or image.with_name(f"{image.stem}-masks.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() == ".json":
        target.write_text(json.dumps([record.model_dump() for record in records], indent=1))
    else:
        Image.fromarray(draw_masks(pixels, records)).save(target)
    return target, records, words


def _everything(sam: Sam, card: CheckpointCard, pixels: np.ndarray) -> list[MaskRecord]:
    settings = resolve_settings(GenerateConfig(), card, "cpu")
    return MaskGenerator(sam, settings).generate(pixels)


def _prompted(sam: Sam, pixels: np.ndarray, prompt: Prompt) -> list[MaskRecord]:
    height, width = pixels.shape[:2]
    for x, y in prompt.points:
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f"--point {x:g},{y:g} lies outside the image of {width}x{height} pixels")
    # Several prompts at once leave little to be ambiguous about: the paper's single-mask token (paper A).
    single = (
        prompt.choose == "best"
        and (len(prompt.points) + 2 * bool(prompt.box) + bool(prompt.mask) + bool(prompt.text)) > 1
    )
    arguments: dict[str, Any] = {
        "points": prompt.points or None,
        "labels": prompt.labels or None,
        "box": prompt.box,
        "text": prompt.text,
    }
    if prompt.mask:
        arguments["mask"] = _rough_logits(sam, prompt.mask, (height, width))
    clip = clip_of(sam, prompt.clip) if prompt.text else None
    found = Predictor(sam, clip).set_image(pixels).predict(**arguments, multimask=not single)
    chosen = (
        [found.best]
        if prompt.choose == "best"
        else sorted(range(len(found.masks)), key=lambda i: -found.predicted_iou[i])
    )
    point = list(prompt.points[0]) if prompt.points else _centre(prompt.box, width, height)
    return [_record(found, index, number, point) for number, index in enumerate(chosen)]


def _record(found: Prediction, index: int, number: int, point: list[float]) -> MaskRecord:
    mask = found.masks[index]
    height, width = mask.shape
    return MaskRecord(
        id=number,
        segmentation=encode(mask)[0],
        bbox=xyxy_to_xywh(box_of_mask(mask) or (0, 0, 0, 0)),
        area=int(mask.sum()),
        predicted_iou=float(found.predicted_iou[index]),
        stability_score=_stability(found.low_res_logits[index]),
        crop_box=[0.0, 0.0, float(width), float(height)],
        point_coords=[point],
    )


def _stability(logits: np.ndarray) -> float:
    """IoU of the masks at thresholds +1 and -1, on the low-res logits (paper B)."""
    wide = int((logits > -1).sum())
    return float((logits > 1).sum() / wide) if wide else 0.0


def _rough_logits(sam: Sam, path: Path, size: tuple[int, int]) -> np.ndarray:
    """A PNG of the image's size (white = object) as the prompt encoder's (4e, 4e) logits."""
    if not path.is_file():
        raise ConfigError(f"--mask {path}: no such file")
    drawn = np.asarray(Image.open(path).convert("L"))
    if drawn.shape != size:
        raise ConfigError(f"--mask {path}: {drawn.shape[1]}x{drawn.shape[0]}, but the image is {size[1]}x{size[0]}")
    height, width = sam.input_size(*size)
    grid = 4 * sam.embedding_size
    scale = grid / sam.image_size
    small = Image.fromarray(drawn).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR
    )
    logits = np.full((grid, grid), -ROUGH_LOGIT, np.float32)
    values = np.asarray(small, np.float32) / 255.0
    logits[: values.shape[0], : values.shape[1]] = (values * 2 - 1) * ROUGH_LOGIT
    return logits


def _centre(box: list[float] | None, width: int, height: int) -> list[float]:
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2] if box else [width / 2, height / 2]


def _numbers(flag: str, text: str, counts: tuple[int, ...]) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts or not np.isfinite(values).all():
        wanted = "X,Y or X,Y,0|1" if flag == "--point" else "X,Y,X,Y"
        raise ConfigError(f"{flag} {text}: expected {wanted} in pixels")
    return values
