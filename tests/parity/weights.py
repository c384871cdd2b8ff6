"""Weights for comparing records: they leave the filters and both passes of NMS something to decide.

That takes many masks, small and different. Trained weights don't give them, and random ones don't either. So:

- `nano` has its IoU head turned around: it prefers what the trained head doubts. The trained one is sure of
  the same few big masks at every point, of which NMS leaves a handful; the doubtful masks are small, many and
  different. The public code gets `nano`'s encoder plugged in.
- `vit_b` is a whole ViT-B on both sides, each with its own encoder. Encoder and IoU head are random; the rest
  of the decoder is `nano`'s trained one in the official sizes. Around each point it draws local masks that
  depend on the embedding, and a random encoder's differs from cell to cell as the photo does. The trained IoU
  head prefers the same places at every point; what a random one prefers is spread over the photo.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataengine.model import Sam, build_sam, load_model
from tests.parity.public import public_sam, randomise, segment_anything

WELL_ABOVE_ZERO = 2.0
"""For predicted IoUs: the public code takes a threshold of 0 or less for "no filter"."""


@dataclass(frozen=True)
class Pair:
    """The same weights in our model and in the public one."""

    ours: Sam
    public: Any

    def forget(self) -> None:
        """Let go of the embeddings that a `Remembering` encoder holds: 4 MiB a crop."""
        for encoder in (self.ours.image_encoder, self.public.image_encoder):
            if isinstance(encoder, Remembering):
                encoder.seen.clear()


def pair(model: str, folder: Path | None = None) -> Pair:
    """`nano` or `vit_b`, as described above; skips the test where the public package isn't installed.

    ViT-B's embeddings are kept in `folder`, if there is one, for the next process.
    """
    sam = our_side(model)
    if model == "nano":
        return Pair(sam, public_sam(sam, sam.image_encoder))
    public = segment_anything().sam_model_registry["vit_b"]()
    public.load_state_dict(sam.state_dict())
    sam.image_encoder = Remembering(sam.image_encoder, folder and folder / "ours")
    public.image_encoder = Remembering(public.image_encoder, folder and folder / "public")
    return Pair(sam, public.eval())


def our_side(model: str) -> Sam:
    """`nano` or `vit_b` alone: what a process that measures memory may hold."""
    trained, _ = load_model("nano")
    if model == "nano":
        trained.resample = "bilinear"  # the public code's only way
        last = trained.mask_decoder.iou_prediction_head.layers[-1]
        with torch.no_grad():
            last.weight.neg_()
            last.bias.neg_().add_(WELL_ABOVE_ZERO)
        return trained
    sam = build_sam("vit_b")
    randomise(sam.image_encoder)
    sam.prompt_encoder.load_state_dict(trained.prompt_encoder.state_dict())
    sam.mask_decoder.load_state_dict(_widened(trained.mask_decoder.state_dict()))
    randomise(sam.mask_decoder.iou_prediction_head, seed=5)
    with torch.no_grad():
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.add_(WELL_ABOVE_ZERO)
    return sam


def _widened(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`nano`'s decoder with the official width: every hidden unit of its MLPs twice, with half the weight."""
    wider = dict(state)
    for name, value in state.items():
        if ".mlp.lin1." in name:
            wider[name] = torch.cat([value, value])
        elif name.endswith(".mlp.lin2.weight"):
            wider[name] = torch.cat([value / 2, value / 2], dim=1)
    return wider


class Remembering(nn.Module):
    """An encoder that computes each input once: a ViT-B takes ten seconds a crop on two cores.

    One side of a pair asks for the same crops again with every pair of thresholds. The sides don't share one.
    """

    def __init__(self, encoder: nn.Module, folder: Path | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.img_size = encoder.img_size  # the public predictor asks for it
        self.folder = folder
        self.seen: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key = hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()
        if key not in self.seen:
            self.seen[key] = self._kept(key, x) if self.folder else self.encoder(x)
        return self.seen[key]

    def _kept(self, key: str, x: torch.Tensor) -> torch.Tensor:
        path = self.folder / f"{key}.pt"
        if path.exists():
            return torch.load(path, weights_only=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        embedding = self.encoder(x)
        torch.save(embedding, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
        return embedding
