"""Images -> embeddings in training: all of the encoder learns, or its frozen part runs once an image, ever."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dataengine.errors import ConfigError
from dataengine.model.nano import NanoEncoder
from dataengine.model.sam import Sam
from dataengine.training.examples import Example
from dataengine.training.precision import autocast
from schemas.training import Phase


def learning_parts(sam: Sam, phase: Phase) -> list[nn.Module]:
    """The modules that a phase trains. ConfigError where the model has no such seam."""
    parts: list[nn.Module] = [sam.prompt_encoder, sam.mask_decoder]
    if phase.freeze == "nothing":
        return [sam.image_encoder, *parts]
    if phase.freeze == "encoder":
        return parts
    if not isinstance(sam.image_encoder, NanoEncoder):
        raise ConfigError(f"freeze: trunk is for nano; {sam.architecture} takes `encoder` or `nothing`")
    return [sam.image_encoder.lat, sam.image_encoder.down, sam.image_encoder.fuse, sam.image_encoder.norm, *parts]


class ImageEncoding:
    """Embeds examples for one phase. What is frozen is cached by the content of its input.

    The cache holds float16 in memory or, with `folder`, in one file an image below a folder named after
    the frozen weights; it can be deleted at any time. Values are rounded to float16 whether they come
    from the cache or were just computed, and always computed one image at a time: a warm cache, a cold
    one and a resumed run give the same numbers.
    """

    def __init__(self, sam: Sam, phase: Phase, folder: Path | None = None) -> None:
        self.sam = sam
        self.phase = phase
        self._memory: dict[str, list[torch.Tensor]] = {}
        self._folder = None
        if folder is not None and phase.freeze != "nothing":
            self._folder = folder / f"{sam.architecture}-{phase.freeze}-{sam.image_size}-{self._frozen_hash()}"

    def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
        """(B, 256, e, e); with gradient where something in front of it learns."""
        encoder = self.sam.image_encoder
        if self.phase.freeze == "nothing":
            inputs = torch.stack([self.sam.preprocess(example.pixels) for example in examples])
            with autocast(inputs.device, self.phase):
                return encoder(inputs).float()
        cached = [self._features(example) for example in examples]
        levels = [torch.stack(level).to(self.sam.device).float() for level in zip(*cached, strict=True)]
        if isinstance(encoder, NanoEncoder) and self.phase.freeze == "trunk":
            return encoder.neck(levels)
        return levels[0]

    def _features(self, example: Example) -> list[torch.Tensor]:
        key = hashlib.sha256(example.pixels.numpy().tobytes()).hexdigest() + "-{}x{}".format(*example.size)
        if self._folder is None:
            if key not in self._memory:
                self._memory[key] = self._compute(example)
            return self._memory[key]
        path = self._folder / key[:2] / f"{key}.safetensors"
        if path.is_file():
            stored = load_file(path)
            return [stored[name] for name in sorted(stored)]
        levels = self._compute(example)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: several workers may meet the same image.
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        save_file({str(index): level for index, level in enumerate(levels)}, part)
        part.replace(path)
        return levels

    @torch.no_grad()
    def _compute(self, example: Example) -> list[torch.Tensor]:
        encoder = self.sam.image_encoder
        trunk = isinstance(encoder, NanoEncoder) and self.phase.freeze == "trunk"
        frozen = self._frozen()
        before = frozen.training
        frozen.eval()
        inputs = self.sam.preprocess(example.pixels)[None]
        levels = frozen(inputs) if trunk else [frozen(inputs)]
        frozen.train(before)
        return [level[0].half().cpu().contiguous() for level in levels]

    def _frozen(self) -> nn.Module:
        encoder = self.sam.image_encoder
        return encoder.net if isinstance(encoder, NanoEncoder) and self.phase.freeze == "trunk" else encoder

    def _frozen_hash(self) -> str:
        digest = hashlib.sha256()
        for key, value in self._frozen().state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
