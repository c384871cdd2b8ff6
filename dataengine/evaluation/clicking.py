"""A person who clicks where the error is largest, for a batch of masks of one image."""

from __future__ import annotations

import numpy as np
import torch

from dataengine.model.prompt_encoder import NOT_A_POINT
from dataengine.model.sam import Sam
from dataengine.prompts import centre_point, error_centre


class Clicking:
    """The state of B masks under clicks: `truth` and `masks` bool (B, H, W), `iou` float64 (B,).

    `masks` are the current predictions at the image's size. One point and the padding token that the
    public predictor adds are part of every prompt.
    """

    def __init__(self, sam: Sam, embedding: torch.Tensor, truth: np.ndarray) -> None:
        self.sam = sam
        self.embedding = embedding
        self.truth = truth
        self.size: tuple[int, int] = (truth.shape[1], truth.shape[2])
        self.input_size = sam.input_size(*self.size)
        self.points: list[list[tuple[int, int]]] = [[] for _ in truth]
        self.labels: list[list[int]] = [[] for _ in truth]
        self.masks = np.zeros_like(truth)
        self.iou = np.zeros(len(truth))
        side = 4 * sam.embedding_size
        self.logits = torch.zeros(len(truth), 1, side, side, device=sam.device)

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """Click every mask's centre; returns (B,) the best IoU of the three masks, and the predicted IoU.

        The mask with the highest predicted IoU becomes the current one.
        """
        for index, mask in enumerate(self.truth):
            self.points[index].append(centre_point(mask))
            self.labels[index].append(1)
        everyone = np.arange(len(self.truth))
        logits, predicted = self._decode(everyone, None, multimask=True)
        three = self._masks(logits)
        ious = np.stack([iou_of_pairs(three[:, k], self.truth) for k in range(three.shape[1])], axis=1)
        top = predicted.argmax(axis=1)
        self._keep(everyone, three[everyone, top], logits[torch.arange(len(logits)), top][:, None])
        return ious.max(axis=1), predicted[everyone, top]

    def correct(self, which: np.ndarray) -> None:
        """One more click for the masks numbered `which`, with their own logits fed back and one mask asked for."""
        for index in which:
            click = error_centre(self.truth[index], self.masks[index], self.points[index])
            self.points[index].append((click.x, click.y))
            self.labels[index].append(click.label)
        logits, _ = self._decode(which, self.logits[which], multimask=False)
        self._keep(which, self._masks(logits)[:, 0], logits)

    def _keep(self, which: np.ndarray, masks: np.ndarray, logits: torch.Tensor) -> None:
        self.masks[which] = masks
        self.logits[which] = logits
        self.iou[which] = iou_of_pairs(masks, self.truth[which])

    def _decode(
        self, which: np.ndarray, masks: torch.Tensor | None, multimask: bool
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Low-resolution logits (B, K, 4e, 4e) and predicted IoU (B, K); all of `which` have as many clicks."""
        scale = np.array([self.input_size[1] / self.size[1], self.input_size[0] / self.size[0]])
        points = np.asarray([self.points[index] for index in which], np.float64) * scale
        coords = torch.from_numpy(np.pad(points, ((0, 0), (0, 1), (0, 0)))).to(self.sam.device, torch.float32)
        kinds = torch.tensor([[*self.labels[index], NOT_A_POINT] for index in which], device=self.sam.device)
        encoder, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        sparse = encoder.embed_points(coords, kinds)
        dense = encoder(masks=masks)[1]
        logits, predicted = decoder(self.embedding, encoder.dense_positions(), sparse, dense, multimask)
        return logits.float(), predicted.float().cpu().numpy()

    def _masks(self, logits: torch.Tensor) -> np.ndarray:
        full = self.sam.upsample(logits, self.input_size, self.size)
        return (full > self.sam.mask_threshold).cpu().numpy()


def iou_of_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bool (B, H, W) both -> float64 (B,): the IoU of the pairs; two empty masks have 0."""
    overlap = (first & second).sum(axis=(1, 2)).astype(np.float64)
    union = (first | second).sum(axis=(1, 2))
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
