"""`Sam`: the three parts in one module, and the architectures this project knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from dataengine.errors import EngineError
from dataengine.model.image_encoder import ImageEncoderViT
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.nano import NanoEncoder
from dataengine.model.prompt_encoder import PromptEncoder
from dataengine.model.tiny_vit import TinyViTEncoder

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

Resample = Literal["bilinear", "bicubic"]


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under the official state-dict keys.

    `image_size` is the side of the padded square input, `embedding_size` that of the embedding; low
    resolution logits have side 4 * embedding_size. Load one with `dataengine.model.load_model`.
    """

    mask_threshold = 0.0
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        architecture: str,
        resample: Resample,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.architecture = architecture
        self.resample = resample
        self.clip: str | None = None
        """transformers' CLIP, by name or folder, whose embeddings the text token takes; None without text."""
        # Non-persistent: they are constants, and the official state dicts don't hold them.
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @property
    def image_size(self) -> int:
        return self.prompt_encoder.image_size

    @property
    def embedding_size(self) -> int:
        return self.prompt_encoder.embedding_size

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def takes_text(self) -> bool:
        return self.prompt_encoder.text_projection is not None

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image after its longest side was resized to `image_size`; at least 1 px."""
        scale = self.image_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def resize(self, pixels: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """uint8 (H, W, 3) -> uint8 (h, w, 3) of `input_size`, by Pillow: part of the model's definition.

        Training gives another (height, width) where it jitters the scale.
        """
        height, width = size or self.input_size(*pixels.shape[:2])
        how = Image.Resampling.BILINEAR if self.resample == "bilinear" else Image.Resampling.BICUBIC
        return np.asarray(Image.fromarray(pixels).resize((width, height), how))

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """(3, h, w) or (B, 3, h, w) values 0..255 -> normalised, then zero-padded to the square."""
        # To the device as bytes, a quarter of what floats would be.
        x = (pixels.to(self.device).to(torch.float32) - self.pixel_mean) / self.pixel_std
        height, width = x.shape[-2:]
        return functional.pad(x, (0, self.image_size - width, 0, self.image_size - height))

    def encode_images(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """RGB uint8 (H, W, 3) images of any size -> embeddings (B, 256, e, e)."""
        return self.image_encoder(self.stack([self.resize(image) for image in images]))

    def stack(self, resized: Sequence[np.ndarray]) -> torch.Tensor:
        """Images as `resize` returns them -> the encoder's input (B, 3, S, S), on the model's device."""
        return torch.stack([self.preprocess(torch.from_numpy(one.copy()).permute(2, 0, 1)) for one in resized])

    def upsample(self, logits: torch.Tensor, input_size: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
        """Low resolution logits (B, K, 4e, 4e) -> (B, K, *size): up to the square, unpad, resize."""
        x = functional.interpolate(logits, (self.image_size, self.image_size), mode="bilinear", align_corners=False)
        x = x[..., : input_size[0], : input_size[1]]
        return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def _vit(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Callable[[], nn.Module]:
    return lambda: ImageEncoderViT(width=width, depth=depth, heads=heads, global_blocks=global_blocks)


_ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "nano": NanoEncoder,
    "tiny_vit": TinyViTEncoder,
    "vit_b": _vit(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": _vit(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": _vit(1280, 32, 16, (7, 15, 23, 31)),
}

ARCHITECTURES = tuple(_ENCODERS)


def build_sam(architecture: str, decoder_depth: int = 2, text_width: int | None = None) -> Sam:
    """A `Sam` with fresh random weights, in eval mode. Raises EngineError for an unknown architecture.

    `decoder_depth` is 3 in the paper's model for automatic masks (paper B); `text_width` is the width of
    CLIP's embeddings where text is among the prompts (paper D.5).
    """
    if architecture not in _ENCODERS:
        raise EngineError(f"unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}")
    nano = architecture == "nano"
    image_size, embedding_size = (512, 32) if nano else (1024, 64)
    sam = Sam(
        _ENCODERS[architecture](),
        PromptEncoder(embedding_size=embedding_size, image_size=image_size),
        MaskDecoder(depth=decoder_depth, mlp_width=1024 if nano else 2048),
        architecture=architecture,
        resample="bicubic" if nano else "bilinear",
    )
    if text_width is not None:
        sam.prompt_encoder.add_text(text_width)
    return sam.eval()
