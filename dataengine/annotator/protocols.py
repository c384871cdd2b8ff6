"""What the server needs from other rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from schemas.annotations import AnnotationModel, Claim, Held, LeaseKind, TaskImage, User


class Media(Protocol):
    """Pictures and model files, made ahead by the embedding side or on demand. Called from several threads."""

    def embedding(self, image_id: int, encoder: str) -> bytes | None:
        """float16 little endian, C order (256, e, e); None when it isn't there."""

    def display(self, image_id: int, width: int) -> bytes:
        """JPEG of the annotation frame scaled to `width`, one of `media.display_levels`, faces and plates hidden as
        `privacy` says. Raises FileNotFoundError when the photo is gone."""

    def decoder(self, model_id: str) -> bytes | None:
        """The model's decoder as ONNX (`dataengine/model/onnx.py`); None when it isn't there."""


class QueueClient(Protocol):
    """Who gets which task. `dataengine.annotations.queue.Queue` is one; so is the `TaskQueue` actor's client."""

    def claim(self, who: User, kind: LeaseKind, mutation: str) -> Claim: ...

    def heartbeat(self, who: User, task_id: int, lease_id: str, fence: int) -> int: ...

    def release(self, who: User, task_id: int, held: Held) -> dict[str, Any]: ...

    def steal(self, admin: User, task_id: int, mutation: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class DecodedPrompt:
    """float32 (4,) predicted IoU and float32 (4, 4e, 4e) logits: 0 is the single mask, 1..3 the three readings."""

    predicted_iou: np.ndarray
    low_res_logits: np.ndarray


class Decoder(Protocol):
    """Masks on the server, for a page that can't decode by itself."""

    def decode(
        self,
        model: AnnotationModel,
        embedding: bytes,
        image: TaskImage,
        points: Sequence[tuple[float, float, int]],
        box: Sequence[float] | None,
        mask_input: np.ndarray | None,
    ) -> DecodedPrompt:
        """`points` [x, y, label] and `box` XYXY in the annotation frame; `mask_input` float (4e, 4e) logits."""
