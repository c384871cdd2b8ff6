"""The automatic mask generator: one image in, SA-1B records out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from dataengine.automask.batches import even_batch, padded, resized_views
from dataengine.automask.candidates import Candidates
from dataengine.automask.crops import Crop, crop_boxes
from dataengine.automask.filters import best_across_crops, best_within_crop, within_limits
from dataengine.automask.found import Found, records_of
from dataengine.automask.grids import layer_grids
from dataengine.automask.measured import Measured
from dataengine.automask.threads import BatchThreads
from dataengine.automask.upsample import Upsampler
from dataengine.model.compiled import compiled_steps, plain_steps
from dataengine.model.mask_decoder import ImageSide
from dataengine.model.memory import return_freed_memory
from dataengine.model.sam import Sam
from schemas.config import AutomaskSettings
from schemas.records import MaskRecord

CELLS_PER_TRIM = 256 * 32**2
"""Image cells of all prompts that a CPU decodes before it gives freed memory back: of 256 of nano, 64 of a ViT."""


class MaskGenerator:
    """Masks of everything in an image, by the algorithm of the public code (paper B) in a cheaper order.

    Crops are encoded in batches, prompts decoded in batches, both cut by `settings` alone. A mask is
    upsampled only if its predicted IoU, known beforehand, is good enough; it waits as packed bits of
    its box until NMS has spoken, and only survivors are run-length encoded. The same image, settings
    and machine give the same records, whatever `memory_gb` is.

    With `settings.compile` encoder and decoder are compiled by `backend` of torch.compile at the first
    image; the last batch is padded, so that later images bring no new shape.
    """

    def __init__(
        self,
        sam: Sam,
        settings: AutomaskSettings,
        device: str | torch.device = "cpu",
        *,
        backend: str = "inductor",
    ) -> None:
        self.sam = sam.to(device).eval()
        self.settings = settings
        self.grids = layer_grids(settings.points_per_side, settings.crop_layers, settings.points_downscale)
        self.steps = compiled_steps(self.sam, backend) if settings.compile else plain_steps(self.sam)

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
        return records_of(self.find(pixels, image_id=image_id, release_size=release_size), self.settings)

    @torch.inference_mode()
    def find(self, pixels: np.ndarray, *, image_id: int = 0, release_size: tuple[int, int] | None = None) -> Found:
        """The device's share of `generate`; `records_of` makes the records of it, in any thread or process."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ValueError(f"an image must be uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
        frame = release_size or (int(pixels.shape[0]), int(pixels.shape[1]))
        crops = crop_boxes(frame, self.settings.crop_layers, self.settings.crop_overlap_ratio)
        parts: list[Candidates] = []
        ahead = 0 if self.sam.device.type == "cpu" else torch.get_num_threads()
        with BatchThreads(self.sam.device) as threads:
            for batch, views in resized_views(self.sam, pixels, crops, frame, self._crops_at_once(), ahead):
                parts += self._process_crops(batch, views, frame, threads)
        found = Candidates.joined(parts)
        return Found(image_id, best_across_crops(found, self.settings) if len(crops) > 1 else found, frame)

    def _process_crops(
        self, crops: list[Crop], views: list[np.ndarray], frame: tuple[int, int], threads: BatchThreads
    ) -> list[Candidates]:
        # The embeddings themselves are gone by the time that prompts are decoded.
        images = [self._image_side(embedding[None].float()) for embedding in self._encode(views)]
        return [
            self._process_crop(image, crop, (view.shape[0], view.shape[1]), frame, threads)
            for crop, view, image in zip(crops, views, images, strict=True)
        ]

    def _image_side(self, embedding: torch.Tensor) -> ImageSide:
        prompts = self.sam.prompt_encoder
        no_mask = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return self.sam.mask_decoder.image_side(embedding, prompts.dense_positions(), no_mask)

    def _encode(self, views: list[np.ndarray]) -> torch.Tensor:
        """Resized views -> their embeddings (len(views), 256, e, e)."""
        size = self._crops_at_once() if self.settings.compile else len(views)
        inputs = self.sam.stack([*views, *views[-1:] * (size - len(views))])
        with self._precision():
            return self.steps.encode(inputs)[: len(views)]

    def _process_crop(
        self, image: ImageSide, crop: Crop, input_size: tuple[int, int], frame: tuple[int, int], threads: BatchThreads
    ) -> Candidates:
        settings = self.settings
        upsampler = Upsampler(self.sam, input_size, crop.size, settings)
        grid = self.grids[crop.layer]
        height, width = crop.size
        points = grid * np.array([width, height])
        prompts = points * np.array([input_size[1] / width, input_size[0] / height])

        size = self._points_at_once(len(grid))
        every = max(1, CELLS_PER_TRIM // self.sam.embedding_size**2 // size) * size

        @torch.inference_mode()
        def process(start: int) -> Candidates:
            if start % every == 0 and self.sam.device.type == "cpu":
                return_freed_memory()  # at first, the encoder's
            stop = start + size
            rows, iou, logits = self._decode(image, prompts[start:stop], size)
            measured = self._measure(upsampler, logits)
            return within_limits(_column(measured, points[start:stop][rows], iou, crop), frame, settings)

        parts = threads.map(process, range(0, len(grid), size))
        return best_within_crop(Candidates.joined(parts), settings)

    def _decode(self, image: ImageSide, prompts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        """Masks worth upsampling for prompts (B, 2) xy in the model's input frame; B is `size`, or less at the end.

        Returns, for each in grid order and then whole, part, subpart: its prompt's row (M,), predicted
        IoU float32 (M,) and logits (M, 4e, 4e).
        """
        device = self.sam.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        asked = padded(prompts, size) if self.settings.compile else prompts
        coords = torch.as_tensor(asked).to(device, dtype)[:, None]
        labels = torch.ones(len(asked), 1, dtype=torch.int64, device=device)
        with self._precision():
            sparse, _ = self.sam.prompt_encoder(coords, labels)
            decoded = self.steps.decode_tokens(image, sparse)
            iou = decoded.predicted_iou.float()
            good = iou > self.settings.pred_iou_thresh if self.settings.pred_iou_thresh > 0 else iou == iou
            good[:, 0] = False  # the single mask: not of use for a lone point
            good[len(prompts) :] = False
            logits = self.sam.mask_decoder.chosen_logits(decoded, good).float()
        rows = good.nonzero()[:, 0].cpu().numpy()
        return rows, iou[good].cpu().numpy(), logits

    def _measure(self, upsampler: Upsampler, logits: torch.Tensor) -> list[Measured | None]:
        return upsampler.measure(logits)

    def _crops_at_once(self) -> int:
        most = self.settings.crops_per_batch
        return even_batch(sum(4**layer for layer in range(len(self.grids))), most) if self.settings.compile else most

    def _points_at_once(self, total: int) -> int:
        most = self.settings.points_per_batch
        return even_batch(total, most) if self.settings.compile else most

    def _precision(self) -> AbstractContextManager[object]:
        if self.settings.precision == "exact":
            return nullcontext()
        return torch.autocast(self.sam.device.type, dtype=torch.bfloat16)


def _column(measured: list[Measured | None], points: np.ndarray, predicted_iou: np.ndarray, crop: Crop) -> Candidates:
    """Measurements in a crop -> candidates in the frame; masks without a measurement are left out."""
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
