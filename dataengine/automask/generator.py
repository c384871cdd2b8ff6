"""The automatic mask generator: one image in, SA-1B records out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from dataengine.automask.candidates import Candidates
from dataengine.automask.crops import Crop, crop_boxes
from dataengine.automask.filters import best_across_crops, best_within_crop, within_limits, without_specks
from dataengine.automask.grids import layer_grids
from dataengine.automask.upsample import Measured, Upsampler
from dataengine.masks import encode_boxed, xyxy_to_xywh
from dataengine.model.mask_decoder import ImageSide
from dataengine.model.sam import Sam
from schemas.config import AutomaskSettings
from schemas.records import MASKS_PER_IMAGE, MaskRecord


class MaskGenerator:
    """Masks of everything in an image, by the algorithm of the public code (paper B) in a cheaper order.

    Crops are encoded in batches, prompts decoded in batches, both cut by `settings` alone. A mask is
    upsampled only if its predicted IoU, known beforehand, is good enough; it waits as packed bits of
    its box until NMS has spoken, and only survivors are run-length encoded. The same image, settings
    and machine give the same records, whatever `memory_gb` is.
    """

    def __init__(self, sam: Sam, settings: AutomaskSettings, device: str | torch.device = "cpu") -> None:
        self.sam = sam.to(device).eval()
        self.settings = settings
        self.grids = layer_grids(settings.points_per_side, settings.crop_layers, settings.points_downscale)

    @torch.inference_mode()
    def generate(
        self, pixels: np.ndarray, *, image_id: int = 0, release_size: tuple[int, int] | None = None
    ) -> list[MaskRecord]:
        """Records of an RGB uint8 (H, W, 3) original, in the frame of `release_size` (height, width).

        Masks, boxes, points and crop boxes live in the release frame (default: the original's size);
        each crop's pixels are cut from the original at full detail. The i-th record has the id
        image_id * 65536 + i. Order: predicted IoU descending; with crops, smallest crop first, then
        predicted IoU; with `min_mask_region_area`, masks that needed no cleaning before that. An image
        in which nothing is found gives []. Raises ValueError for other arrays.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ValueError(f"an image must be uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
        frame = release_size or (int(pixels.shape[0]), int(pixels.shape[1]))
        crops = crop_boxes(frame, self.settings.crop_layers, self.settings.crop_overlap_ratio)
        parts: list[Candidates] = []
        for start in range(0, len(crops), self.settings.crops_per_batch):
            batch = crops[start : start + self.settings.crops_per_batch]
            parts += self._process_crops(pixels, batch, frame)
        found = Candidates.joined(parts)
        if len(crops) > 1:
            found = best_across_crops(found, self.settings)
        if self.settings.min_mask_region_area > 0:
            found = without_specks(found, frame, self.settings)
        return self._records(found, frame, image_id)

    def _process_crops(self, pixels: np.ndarray, crops: list[Crop], frame: tuple[int, int]) -> list[Candidates]:
        views = [crop.cut(pixels, frame) for crop in crops]
        with self._precision():
            embeddings = self.sam.encode_images(views)
        positions = self.sam.prompt_encoder.dense_positions()
        parts = []
        for crop, view, embedding in zip(crops, views, embeddings, strict=True):
            dense = self.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            image = self.sam.mask_decoder.image_side(embedding[None].float(), positions, dense)
            input_size = self.sam.input_size(view.shape[0], view.shape[1])
            parts.append(self._process_crop(image, crop, input_size, frame))
        return parts

    def _process_crop(
        self, image: ImageSide, crop: Crop, input_size: tuple[int, int], frame: tuple[int, int]
    ) -> Candidates:
        settings = self.settings
        upsampler = Upsampler(self.sam, input_size, crop.size, settings.stability_score_offset, settings.memory_gb)
        grid = self.grids[crop.layer]
        height, width = crop.size
        points = grid * np.array([width, height])
        prompts = points * np.array([input_size[1] / width, input_size[0] / height])
        parts = []
        for start in range(0, len(grid), settings.points_per_batch):
            stop = start + settings.points_per_batch
            rows, iou, logits = self._decode(image, prompts[start:stop])
            measured = upsampler.measure(logits)
            parts.append(within_limits(_column(measured, points[start:stop][rows], iou, crop), frame, settings))
        return best_within_crop(Candidates.joined(parts), settings)

    def _decode(self, image: ImageSide, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        """Masks worth upsampling for prompts (B, 2) xy in the model's input frame.

        Returns, for each in grid order and then whole, part, subpart: its prompt's row (M,), predicted
        IoU float32 (M,) and logits (M, 4e, 4e).
        """
        device = self.sam.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        coords = torch.as_tensor(prompts).to(device, dtype)[:, None]
        labels = torch.ones(len(prompts), 1, dtype=torch.int64, device=device)
        with self._precision():
            sparse, _ = self.sam.prompt_encoder(coords, labels)
            decoded = self.sam.mask_decoder.decode_tokens(image, sparse)
            iou = decoded.predicted_iou[:, 1:].float()
            good = iou > self.settings.pred_iou_thresh if self.settings.pred_iou_thresh > 0 else iou == iou
            chosen = good.any(dim=1).nonzero()[:, 0]
            logits = self.sam.mask_decoder.mask_logits(decoded, chosen)[:, 1:].float()
        rows = good.nonzero()[:, 0].cpu().numpy()
        return rows, iou[good].cpu().numpy(), logits[good[chosen]]

    def _records(self, found: Candidates, frame: tuple[int, int], image_id: int) -> list[MaskRecord]:
        return [
            MaskRecord(
                id=image_id * MASKS_PER_IMAGE + index,
                segmentation=encode_boxed(mask.pixels(), mask.x, mask.y, frame),
                bbox=xyxy_to_xywh(found.boxes[index]),
                area=int(found.areas[index]),
                predicted_iou=float(found.predicted_iou[index]),
                stability_score=float(found.stability[index]),
                crop_box=xyxy_to_xywh(found.crops[index].box),
                point_coords=[found.points[index].tolist()],
            )
            for index, mask in enumerate(found.masks)
        ]

    def _precision(self) -> AbstractContextManager[object]:
        if self.settings.precision == "exact":
            return nullcontext()
        return torch.autocast(self.sam.device.type, dtype=torch.bfloat16)


def _column(measured: list[Measured | None], points: np.ndarray, predicted_iou: np.ndarray, crop: Crop) -> Candidates:
    """Measurements in a crop -> candidates in the frame; masks without a pixel are left out."""
    rows = [index for index, one in enumerate(measured) if one is not None]
    found = [one for one in measured if one is not None]
    offset = np.array([crop.x0, crop.y0])
    return Candidates(
        np.array([one.mask.box for one in found], np.int64).reshape(-1, 4) + np.tile(offset, 2),
        predicted_iou[rows],
        np.array([one.stability for one in found], np.float32),
        np.array([one.area for one in found], np.int64),
        points[rows] + offset,
        [one.mask.moved(crop.x0, crop.y0) for one in found],
        [crop] * len(found),
    )
