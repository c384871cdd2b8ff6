"""The server's own decoder: the model's prompt encoder and mask decoder on a precomputed embedding.

torch is imported with the first prompt: most servers never decode.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dataengine.annotator.protocols import DecodedPrompt
from dataengine.errors import EngineError
from schemas.annotations import AnnotationModel, TaskImage

if TYPE_CHECKING:
    import torch

    from dataengine.model.sam import Sam


class SamDecoder:
    """`Decoder` over `dataengine.model`. Keeps the last model; one prompt at a time, since a CPU gains nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model_id: str | None = None
        self._sam: Sam | None = None

    def decode(
        self,
        model: AnnotationModel,
        embedding: bytes,
        image: TaskImage,
        points: Sequence[tuple[float, float, int]],
        box: Sequence[float] | None,
        mask_input: np.ndarray | None,
    ) -> DecodedPrompt:
        """The same four masks that the page's ONNX decoder would give (`PromptDecoder`)."""
        import torch

        from dataengine.model.onnx import PromptDecoder

        with self._lock, torch.inference_mode():
            sam = self._load(model)
            side = sam.embedding_size
            features = np.frombuffer(embedding, "<f2").reshape(1, 256, side, side).astype(np.float32)
            coords, labels = _prompt(sam, image, points, box)
            given = np.zeros((1, 1, 4 * side, 4 * side), np.float32)
            if mask_input is not None:
                given[0, 0] = mask_input
            logits, iou = PromptDecoder(sam)(
                torch.from_numpy(features),
                coords,
                labels,
                torch.from_numpy(given),
                torch.tensor([float(mask_input is not None)]),
            )
        return DecodedPrompt(iou[0].float().numpy(), logits[0].float().numpy())

    def _load(self, model: AnnotationModel) -> Sam:
        from dataengine.model import load_model

        if self._sam is None or self._model_id != model.id:
            sam, _ = load_model(model.source)
            if sam.embedding_size != model.embedding_size:
                raise EngineError(f"{model.source} is not the model {model.id}: its embedding has another size")
            self._sam, self._model_id = sam, model.id
        return self._sam


def _prompt(
    sam: Sam, image: TaskImage, points: Sequence[tuple[float, float, int]], box: Sequence[float] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Annotation frame -> (1, N, 2) xy of the model's input frame, and (1, N) labels as `PromptDecoder` wants them."""
    import torch

    from dataengine.model.prompt_encoder import NOT_A_POINT

    height, width = sam.input_size(image.height, image.width)
    scale = (width / image.width, height / image.height)
    coords = [(x * scale[0], y * scale[1]) for x, y, _ in points]
    labels = [float(label) for *_, label in points]
    if box is not None:
        coords += [(box[0] * scale[0], box[1] * scale[1]), (box[2] * scale[0], box[3] * scale[1])]
        labels += [2.0, 3.0]
    else:
        coords.append((0.0, 0.0))
        labels.append(float(NOT_A_POINT))
    return torch.tensor([coords], dtype=torch.float32), torch.tensor([labels], dtype=torch.float32)
