"""CLIP as the source of text prompts: words at inference, crops of masks in training (paper D.5).

CLIP puts pictures and their descriptions in one space, so a model trained on the embeddings of crops, of
which there are as many as masks, understands words that no one ever wrote beside a mask. transformers is
imported when a CLIP is loaded and not before; CLIP itself is never trained and never part of a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataengine.errors import ConfigError, EngineError
from dataengine.model.sam import Sam

INSTALL = "pip install 'sa-dataengine[text]'"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Crop:
    """A square cut-out around an object: `pixels` uint8 (S, S, 3) RGB, `mask` bool (S, S), not empty."""

    pixels: np.ndarray
    mask: np.ndarray


def crop_of(pixels: np.ndarray, mask: np.ndarray, scale: float = 1.0, blank_background: bool = False) -> Crop:
    """The square around the mask's box, grown by `scale`, of an image uint8 (H, W, 3) and bool (H, W).

    It is moved into the image where it sticks out, and what still does is black; so are the pixels outside
    the mask with `blank_background`. Raises ValueError for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no crop")
    spans = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
    side = round(max(stop - start for start, stop in spans) * scale)
    square, inside = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), bool)
    source, target = zip(
        *(_window(*span, side, whole) for span, whole in zip(spans, mask.shape, strict=True)), strict=True
    )
    square[target] = pixels[source] * mask[source][..., None] if blank_background else pixels[source]
    inside[target] = mask[source]
    return Crop(square, inside)


class Clip:
    """A frozen CLIP of transformers. `width` is the length D of its embeddings, `digest` names its weights."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model, self._tokenizer, self.name = model.eval().requires_grad_(False), tokenizer, name
        self.width = int(model.config.projection_dim)
        vision = model.config.vision_config
        self._side, self._patch = int(vision.image_size), int(vision.patch_size)

    @classmethod
    def load(cls, name_or_folder: str, device: str | torch.device = "cpu") -> Clip:
        """By the name that transformers knows it by, or from a local folder.

        Raises EngineError, one line, when transformers is not installed, or there is no CLIP under that name.
        """
        try:
            from transformers import AutoTokenizer, CLIPModel
            from transformers.utils import logging
        except ImportError as error:
            raise EngineError(f"text prompts need transformers, which is not installed: {INSTALL}") from error
        if shown := logging.is_progress_bar_enabled():
            logging.disable_progress_bar()  # it would tear ours
        try:
            model: Any = CLIPModel.from_pretrained(name_or_folder)
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder)
        except Exception as error:  # an absent file, a broken one, no network: each library has its own types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(f"can't load CLIP {name_or_folder!r}: {reason}") from error
        finally:
            if shown:
                logging.enable_progress_bar()
        return cls(model.to(torch.device(device)), tokenizer, name_or_folder)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @torch.no_grad()
    def embed_words(self, texts: Sequence[str]) -> torch.Tensor:
        """Float32 (B, D), each of length 1. Raises ConfigError for a text that is empty or too long for CLIP."""
        longest = int(self._model.config.text_config.max_position_embeddings)
        for text in texts:
            if not text.strip():
                raise ConfigError("a text prompt needs words")
            if len(self._tokenizer(text)["input_ids"]) > longest:
                raise ConfigError(f"text {text[:40]!r}... has more than the {longest} tokens that CLIP takes")
        tokens = self._tokenizer(list(texts), padding=True, return_tensors="pt").to(self.device)
        chosen = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        pooled = self._model.text_model(**chosen).pooler_output
        return torch.nn.functional.normalize(self._model.text_projection(pooled).float(), dim=-1)

    @torch.no_grad()
    def embed_crop(self, crop: Crop) -> torch.Tensor:
        """Float32 (D,) of length 1: what the object looks like to CLIP.

        In the last layer the token that becomes the embedding attends only to patches that hold a pixel of
        the mask, so that the embedding is of the object and not of what is around it (paper D.5).
        """
        how = Image.Resampling.BICUBIC
        resized = np.asarray(Image.fromarray(crop.pixels).resize((self._side, self._side), how), np.float32) / 255
        normal = (resized - np.asarray(CLIP_MEAN, np.float32)) / np.asarray(CLIP_STD, np.float32)
        vision = self._model.vision_model
        pixels = torch.from_numpy(normal).permute(2, 0, 1)[None].to(self.device, vision.dtype)
        layer = vision.encoder.layers[-1]
        x = vision(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        # Zero for what is seen, minus infinity for the rest: added to the scores of every query, read for the first.
        seen = torch.cat([torch.ones(1, dtype=torch.bool), torch.from_numpy(self._patches(crop.mask)).flatten()])
        barred = torch.zeros(len(seen)).masked_fill(~seen, float("-inf")).to(x)
        mask = barred.expand(1, 1, len(seen), -1)
        x = x + layer.self_attn(hidden_states=layer.layer_norm1(x), attention_mask=mask)[0]
        x = x + layer.mlp(layer.layer_norm2(x))
        embedding = self._model.visual_projection(vision.post_layernorm(x[:, 0]))
        return torch.nn.functional.normalize(embedding.float(), dim=-1)[0]

    def digest(self) -> str:
        """A hash of what makes the embeddings of crops, for caches of them."""
        total = hashlib.sha256()
        for part in (self._model.vision_model, self._model.visual_projection):
            for key, value in part.state_dict().items():
                total.update(key.encode())
                total.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]

    def _patches(self, mask: np.ndarray) -> np.ndarray:
        """Bool (S, S) -> bool (g, g): the patches that hold at least a trace of the mask."""
        import cv2  # here, because it takes tens of MB of those who have no text

        grid = self._side // self._patch
        # Enlarged first where cells would otherwise fall between its pixels; INTER_AREA then sees every pixel.
        factor = -(-grid // len(mask))
        whole = mask.astype(np.float32).repeat(factor, axis=0).repeat(factor, axis=1)
        return cv2.resize(whole, (grid, grid), interpolation=cv2.INTER_AREA) > 0


def clip_of(sam: Sam, name: str | None = None) -> Clip:
    """The CLIP that `sam` was trained with, or the one named instead, on its device.

    Raises ConfigError when the model takes no text, or its text token was trained with another CLIP's width.
    """
    width = sam.prompt_encoder.text_width
    if width is None:
        raise ConfigError(
            "this model was trained without text prompts; let a detector find the words (--detector), or train one "
            "with `text:` in its recipe's phase"
        )
    wanted = name or sam.clip
    if wanted is None:
        raise ConfigError("this model's card doesn't say which CLIP it was trained with; name it with --clip")
    clip = Clip.load(wanted, sam.device)
    if clip.width != width:
        raise ConfigError(
            f"CLIP {wanted!r} has embeddings of {clip.width} numbers, the model's text token takes {width}"
        )
    return clip


def _window(start: int, stop: int, side: int, whole: int) -> tuple[slice, slice]:
    """Along one axis: the part of the image that a window of `side` around start..stop shows, and where in it."""
    first = (start + stop - side) // 2
    first = min(max(first, 0), whole - side) if side <= whole else (whole - side) // 2
    low, high = max(first, 0), min(first + side, whole)
    return slice(low, high), slice(low - first, high - first)
