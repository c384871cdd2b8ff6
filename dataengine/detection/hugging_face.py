"""transformers' detectors: by class (RT-DETR, D-FINE, DETR, ...) and by words (Grounding DINO, OWLv2, OWL-ViT)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataengine.detection.objects import INSTALL_TRANSFORMERS, FoundObject, Picture, clipped
from dataengine.errors import ConfigError, EngineError
from dataengine.masks import nms

SAME_OBJECT = 0.7
"""Box IoU above which two answers, also to different words, are one object: DETR's family has no NMS of its own."""


class TransformersObjects:
    """Any `AutoModelForObjectDetection`, by the name that transformers knows it by or from a folder.

    Raises EngineError, one line, without transformers or without a detector of that name.
    """

    def __init__(self, name: str, device: str = "cpu", score: float = 0.05) -> None:
        self._processor, self._model = _load(name, "AutoModelForObjectDetection", device)
        self.model_id, self._score = _id(name, self._model), score

    @torch.inference_mode()
    def find(self, picture: Picture) -> list[FoundObject]:
        """See `ObjectDetector.find`."""
        inputs = self._processor(images=Image.fromarray(picture.pixels), return_tensors="pt").to(self._model.device)
        answer = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=self._score, target_sizes=[picture.size]
        )[0]
        names = getattr(self._model.config, "id2label", None) or {}
        labels = [str(names.get(int(kind), int(kind))) for kind in answer["labels"]]
        return _objects(answer, labels, self.model_id, picture)


class TextPromptedObjects:
    """Any `AutoModelForZeroShotObjectDetection`, asked for `words` ("a cat", "a red cup")."""

    def __init__(self, name: str, words: Sequence[str], device: str = "cpu", score: float = 0.1) -> None:
        self._words = [word.strip().rstrip(".") for word in words if word.strip()]
        if not self._words:
            raise ConfigError(f"detector {name}: a text-prompted detector needs words")
        self._processor, self._model = _load(name, "AutoModelForZeroShotObjectDetection", device)
        asked = hashlib.sha256("/".join(self._words).encode()).hexdigest()[:6]
        # What is found depends on the words as on the weights.
        self.model_id, self._score = f"{_id(name, self._model)}?{asked}", score

    @torch.inference_mode()
    def find(self, picture: Picture) -> list[FoundObject]:
        """See `ObjectDetector.find`; labels are the words."""
        image = Image.fromarray(picture.pixels)
        inputs = self._processor(text=[self._words], images=image, return_tensors="pt").to(self._model.device)
        outputs = self._model(**inputs)
        if hasattr(self._processor, "post_process_grounded_object_detection"):
            answer = self._processor.post_process_grounded_object_detection(
                outputs, threshold=self._score, target_sizes=[picture.size], **self._texts(inputs)
            )[0]
        else:
            answer = self._processor.post_process_object_detection(
                outputs, threshold=self._score, target_sizes=torch.tensor([picture.size])
            )[0]
        named = answer.get("text_labels") or answer["labels"]
        # Grounding DINO may be sure of a box and of no word of it.
        labels = [(one if isinstance(one, str) else self._words[int(one)]) or "object" for one in named]
        return _objects(answer, labels, self.model_id, picture)

    def _texts(self, inputs: Any) -> dict[str, Any]:
        """Grounding DINO reads its words back from the tokens, the OWL family from the words themselves."""
        if "grounding" in str(self._model.config.model_type):
            return {"input_ids": inputs["input_ids"]}
        return {"text_labels": [self._words]}


def _objects(answer: dict[str, Any], labels: list[str], model: str, picture: Picture) -> list[FoundObject]:
    boxes = answer["boxes"].float().cpu().numpy()
    scores = answer["scores"].float().cpu().numpy()
    kept = nms(boxes, scores, SAME_OBJECT)
    return clipped(boxes[kept], scores[kept], [labels[index] for index in kept], model, picture.size)


def _load(name: str, kind: str, device: str) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise EngineError(
            f"detector {name} needs transformers, which is not installed: {INSTALL_TRANSFORMERS}"
        ) from error
    try:
        processor = transformers.AutoProcessor.from_pretrained(name)
        model = getattr(transformers, kind).from_pretrained(name)
    except Exception as error:  # an absent folder, no network, another kind of model: each has its own type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(f"can't load the detector {name}: {reason}") from error
    return processor, model.eval().requires_grad_(False).to(device)


def _id(name: str, model: Any) -> str:
    """The name's last part and a hash of some weights: a folder may hold another training under the same name."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(np.asarray(value.flatten()[:64].float().cpu()).tobytes())
    return f"{name.rstrip('/').rpartition('/')[2][:64]}@{digest.hexdigest()[:8]}"
