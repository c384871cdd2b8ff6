"""One image, then as many prompts as you like: the interactive use of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataengine.model.sam import Sam
from dataengine.model.text import Clip, clip_of


@dataclass(frozen=True)
class Prediction:
    """K masks for one prompt: bool (K, H, W) in the image's frame, float32 (K,), logits (K, 4e, 4e).

    `low_res_logits[k]` is a valid `mask` prompt for the next call.
    """

    masks: np.ndarray
    predicted_iou: np.ndarray
    low_res_logits: np.ndarray

    @property
    def best(self) -> int:
        """Index of the mask that the model itself trusts most."""
        return int(np.argmax(self.predicted_iou))


class Predictor:
    """`Predictor(sam).set_image(pixels).predict(points=[[x, y]], labels=[1])`.

    `clip` embeds the words of text prompts; left out, the first of them loads the one that `sam` was trained with.
    """

    def __init__(self, sam: Sam, clip: Clip | None = None) -> None:
        self.sam = sam
        self._clip = clip
        self._embedding: torch.Tensor | None = None
        self._size = (0, 0)

    @torch.inference_mode()
    def set_image(self, pixels: np.ndarray) -> Predictor:
        """Encode one RGB uint8 (H, W, 3) image; every later `predict` is about it."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ValueError(f"an image must be uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
        self._size = (int(pixels.shape[0]), int(pixels.shape[1]))
        self._embedding = self.sam.encode_images([pixels])
        return self

    @property
    def embedding(self) -> torch.Tensor:
        """(1, 256, e, e). Raises ValueError before `set_image`."""
        if self._embedding is None:
            raise ValueError("call set_image before asking for masks")
        return self._embedding

    @torch.inference_mode()
    def predict(
        self,
        points: Sequence[Sequence[float]] | np.ndarray | None = None,
        labels: Sequence[int] | np.ndarray | None = None,
        box: Sequence[float] | np.ndarray | None = None,
        mask: np.ndarray | None = None,
        multimask: bool = True,
        text: str | None = None,
    ) -> Prediction:
        """Masks for one prompt made of any of its parts.

        `points` (N, 2) xy and `box` XYXY in pixels of the image, `labels` (N,) 1 = on the object,
        0 = background (all 1 when left out), `mask` (4e, 4e) logits of an earlier prediction, `text` a few
        words, for a checkpoint that was trained with text: ConfigError for any other.
        `multimask` asks for the three readings of an ambiguous prompt, else for one mask.
        """
        embedding = self.embedding
        if points is None and box is None and mask is None and text is None:
            raise ValueError("a prompt needs points, a box, a mask or text")
        coords = kinds = corners = dense_prompt = words = None
        if text is not None:
            words = self._embed(text)
        if points is not None:
            coords = self._to_input(np.asarray(points, np.float64).reshape(1, -1, 2))
            given = np.ones(coords.shape[1], np.int64) if labels is None else np.asarray(labels, np.int64)
            if len(given) != coords.shape[1]:
                raise ValueError(f"{coords.shape[1]} points but {len(given)} labels")
            kinds = torch.as_tensor(given, device=self.sam.device)[None]
        if box is not None:
            corners = self._to_input(np.asarray(box, np.float64).reshape(1, 2, 2)).reshape(1, 4)
        if mask is not None:
            logits = np.asarray(mask, np.float32)
            dense_prompt = torch.as_tensor(logits, device=self.sam.device).reshape(1, 1, *logits.shape[-2:])
        sparse, dense = self.sam.prompt_encoder(coords, kinds, corners, dense_prompt, words)
        low, iou = self.sam.mask_decoder(embedding, self.sam.prompt_encoder.dense_positions(), sparse, dense, multimask)
        full = self.sam.upsample(low, self.sam.input_size(*self._size), self._size)[0]
        masks = (full > self.sam.mask_threshold).cpu().numpy()
        return Prediction(masks, iou[0].float().cpu().numpy(), low[0].float().cpu().numpy())

    def _embed(self, text: str) -> torch.Tensor:
        if self._clip is None:
            self._clip = clip_of(self.sam)
        return self._clip.embed_words([text])

    def _to_input(self, coords: np.ndarray) -> torch.Tensor:
        """(B, N, 2) xy in image pixels -> xy in pixels of the model's input, on its device."""
        height, width = self.sam.input_size(*self._size)
        scale = np.array([width / self._size[1], height / self._size[0]])
        scaled = torch.as_tensor(coords * scale)
        # Apple's GPU backend has no float64.
        return scaled.to(self.sam.device, torch.float32 if self.sam.device.type == "mps" else torch.float64)
