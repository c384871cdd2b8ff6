"""Text prompts in training: CLIP embeddings of the masks' crops, each computed once (paper D.5)."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dataengine.errors import ConfigError
from dataengine.labelled import LabelledImage, LabelledMask
from dataengine.masks.rle import decode, rle_area
from dataengine.model.sam import Sam
from dataengine.model.text import Clip, crop_of
from dataengine.prompts import TextOfMasks
from dataengine.training.seeds import generator_of, seed_of
from schemas.training import Recipe, TextPrompts


def add_text_token(sam: Sam, recipe: Recipe, seed: int = 0) -> Clip | None:
    """Load the recipe's CLIP and give `sam` a text token for it, where it has none; None without text prompts.

    ConfigError when its token was trained with another CLIP: the two spaces have nothing to do with each other.
    """
    if recipe.clip is None:
        return None
    if sam.takes_text and sam.clip not in (None, recipe.clip):
        raise ConfigError(
            f"the model's text token was trained with CLIP {sam.clip!r}, the recipe names {recipe.clip!r}"
        )
    clip = Clip.load(recipe.clip, sam.device)
    if not sam.takes_text:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("text token", seed))
            sam.prompt_encoder.add_text(clip.width)
    elif sam.prompt_encoder.text_width != clip.width:
        raise ConfigError(
            f"the model's text token takes {sam.prompt_encoder.text_width} numbers, CLIP gives {clip.width}"
        )
    sam.clip = recipe.clip
    return clip


class CropEmbeddings:
    """Which masks of an image are prompted by text, and with which embedding.

    A mask has `crops_per_mask` crops, whose scale and background follow from the mask alone. Embeddings are
    rounded to float16 whether they come from the cache or were just computed, one at a time: a warm cache, a
    cold one and a resumed run give the same numbers. With `folder` the cache is one file an image below a
    folder named after CLIP's weights, otherwise it is in memory; it can be deleted at any time.
    """

    def __init__(self, clip: Clip, settings: TextPrompts, folder: Path | None = None) -> None:
        self._clip, self._settings = clip, settings
        self._folder = None if folder is None else folder / f"clip-{clip.digest()}"
        self._memory: dict[str, dict[str, torch.Tensor]] = {}

    def __call__(
        self, image: LabelledImage, masks: Sequence[LabelledMask], mirrored: bool, generator: torch.Generator
    ) -> TextOfMasks:
        """For N masks of the image; crops are mirrored with the image. Two draws and a number for each mask."""
        settings = self._settings
        chosen, pointed = torch.rand(2, len(masks), generator=generator)
        variants = torch.randint(settings.crops_per_mask, (len(masks),), generator=generator).tolist()
        large = torch.tensor([rle_area(mask.rle) >= settings.min_area for mask in masks])
        given = large & (chosen < settings.share)
        embeddings = torch.zeros(len(masks), self._clip.width)
        wanted = [(masks[index], variants[index]) for index in given.nonzero()[:, 0].tolist()]
        if wanted:
            embeddings[given] = self._embed(image, wanted, mirrored)
        return TextOfMasks(embeddings, given, pointed < settings.with_point)

    def _embed(self, image: LabelledImage, wanted: Sequence[tuple[LabelledMask, int]], mirrored: bool) -> torch.Tensor:
        key = hashlib.sha256(image.pixels.tobytes()).hexdigest()
        known = self._read(key)
        fresh: dict[str, torch.Tensor] = {}
        found = []
        for mask, variant in wanted:
            name = self._name(mask, variant, mirrored)
            if name not in known and name not in fresh:
                fresh[name] = self._compute(image, mask, name, mirrored)
            found.append(known[name] if name in known else fresh[name])
        if fresh:
            self._write(key, known | fresh)
        return torch.stack(found).float()

    def _name(self, mask: LabelledMask, variant: int, mirrored: bool) -> str:
        low, high = self._settings.crop_scale
        what = f"{mask.rle.size}/{mask.rle.counts}/{variant}/{mirrored}/{low}/{high}/{self._settings.blank_background}"
        return hashlib.sha256(what.encode()).hexdigest()[:24]

    def _compute(self, image: LabelledImage, mask: LabelledMask, name: str, mirrored: bool) -> torch.Tensor:
        low, high = self._settings.crop_scale
        grown, blank = torch.rand(2, generator=generator_of("crop", name)).tolist()
        pixels, shape = image.pixels, decode(mask.rle)
        if mirrored:
            pixels, shape = pixels[:, ::-1], shape[:, ::-1]
        crop = crop_of(pixels, shape, low + (high - low) * grown, blank < self._settings.blank_background)
        return self._clip.embed_crop(crop).half().cpu()

    def _read(self, key: str) -> dict[str, torch.Tensor]:
        if self._folder is None:
            return self._memory.get(key, {})
        path = self._path(key)
        return load_file(path) if path.is_file() else {}

    def _write(self, key: str, embeddings: dict[str, torch.Tensor]) -> None:
        if self._folder is None:
            self._memory[key] = embeddings
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another worker may write the same image's: the last one wins, and what is lost is computed again.
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        save_file(embeddings, part)
        part.replace(path)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.safetensors"
