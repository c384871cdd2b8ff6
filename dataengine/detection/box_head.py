"""A class-agnostic box detector on the image embedding that is already there (paper section 4, stage 2).

The paper trains a Faster R-CNN with one class, "object", on stage 1's masks. Here the features are the image
encoder's own, so a detection costs a few convolutions and no second look at the picture. One level, anchor-free,
after FCOS (Tian et al. 2019): each cell says how sure it is to lie in an object's middle, and how far the four
sides are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from dataengine.detection.objects import FoundObject, Picture, clipped
from dataengine.errors import ConfigError, EngineError
from dataengine.masks import nms

NMS_IOU = 0.6
MOST = 200
"""Boxes an image before NMS looks at them."""


class BoxHead(nn.Module):
    """(B, channels, e, e) -> objectness logits (B, e, e) and boxes XYXY (B, 4, e, e).

    Boxes are shares of the padded square input: 1 is its side.
    """

    def __init__(self, channels: int = 256, width: int = 96, depth: int = 4) -> None:
        super().__init__()
        self.channels, self.width, self.depth = channels, width, depth
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 1)]
        for index in range(depth):
            # Alternately dilated: a single level must see both a button and a wall.
            step = 1 if index % 2 == 0 else 3
            layers += [
                nn.Conv2d(width, width, 3, padding=step, dilation=step),
                nn.GroupNorm(16, width),
                nn.GELU(),
            ]
        self.trunk = nn.Sequential(*layers)
        self.objectness = nn.Conv2d(width, 1, 3, padding=1)
        self.sides = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.constant_(self.objectness.bias, -4.0)  # type: ignore[arg-type]  # few cells are positive
        nn.init.constant_(self.sides.bias, -2.0)  # type: ignore[arg-type]

    def forward(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.trunk(embedding)
        # Left, top, right, bottom; exp keeps them positive, and the clamp keeps a bad start finite.
        away = self.sides(seen).clamp(-8, 1).exp()
        x, y = cell_centres(seen.shape[-1], seen.device)
        boxes = torch.stack([x - away[:, 0], y - away[:, 1], x + away[:, 2], y + away[:, 3]], dim=1)
        return self.objectness(seen)[:, 0], boxes


def cell_centres(side: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of the cells' middles as shares of the square: (e, e) each."""
    middles = (torch.arange(side, device=device) + 0.5) / side
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return x, y


class BoxHeadObjects:
    """`ObjectDetector` of a trained head. It fits the embeddings of one encoder: the caller checks `encoder`."""

    def __init__(self, head: BoxHead, model_id: str, encoder: str, score: float = 0.05) -> None:
        self._head = head.eval().requires_grad_(False)
        self.model_id, self.encoder, self._score = model_id, encoder, score

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> BoxHeadObjects:
        """Raises ConfigError when it isn't there or isn't a box head."""
        head, card, digest = load_box_head(path)
        return cls(head.to(device), f"{path.stem[:64]}@{digest[:8]}", str(card["encoder"]))

    @torch.inference_mode()
    def find(self, picture: Picture) -> list[FoundObject]:
        """See `ObjectDetector.find`; the label is always "object"."""
        device = next(self._head.parameters()).device
        logits, boxes = self._head(torch.from_numpy(picture.embedding)[None].float().to(device))
        scores = logits[0].flatten().sigmoid().cpu().numpy()
        found = boxes[0].flatten(1).T.cpu().numpy() * max(picture.size)
        order = np.argsort(-scores, kind="stable")[:MOST]
        order = order[scores[order] >= self._score]
        kept = order[nms(found[order], scores[order], NMS_IOU)]
        return clipped(found[kept], scores[kept], ["object"] * len(kept), self.model_id, picture.size)


def save_box_head(head: BoxHead, path: Path, card: dict[str, Any]) -> list[Path]:
    """Safetensors with its card inside and as `NAME.json` beside it: both paths; `card` must name the `encoder`."""
    facts = {"channels": head.channels, "width": head.width, "depth": head.depth, **card}
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().contiguous() for key, value in head.state_dict().items()}
    save_file(weights, path, metadata={"box_head": json.dumps(facts, sort_keys=True)})
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    return [path, path.with_suffix(".json")]


def load_box_head(path: Path) -> tuple[BoxHead, dict[str, Any], str]:
    """The head, its card, and its file's sha256. Raises ConfigError."""
    try:
        with safe_open(path, framework="pt") as opened:
            card = json.loads((opened.metadata() or {})["box_head"])
            weights = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
        head = BoxHead(card["channels"], card["width"], card["depth"])
        head.load_state_dict(weights)
    except FileNotFoundError as error:
        raise ConfigError(f"detector {path}: no such file") from error
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"detector {path}: not a box head of this engine ({reason})") from error
    return head, card, hashlib.sha256(path.read_bytes()).hexdigest()


def require_encoder(detector: object, encoder: str) -> None:
    """Raises EngineError when the detector is a box head for the embeddings of another encoder."""
    if isinstance(detector, BoxHeadObjects) and detector.encoder != encoder:
        raise EngineError(
            f"box head {detector.model_id} fits embeddings of encoder {detector.encoder}, the model makes {encoder}: "
            "train it again on this model"
        )
