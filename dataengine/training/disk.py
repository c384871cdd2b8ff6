"""Room on the disk, asked for before a training starts: one that dies of a full disk dies after hours."""

from __future__ import annotations

import shutil
from pathlib import Path

from dataengine.errors import EngineError
from dataengine.model.sam import Sam
from schemas.training import Phase, Recipe

_FLOAT, _HALF = 4, 2
_TRUNK_BYTES = 6
"""Of nano's four frozen levels, for each pixel of the input: 5.75 in float16."""


def bytes_needed(sam: Sam, recipe: Recipe, images: int) -> int:
    """What a training on so many images writes at most: its checkpoints, its features, its model.

    A checkpoint holds the weights and Adam's two moments, and the old one stays until the new one is whole.
    """
    parameters = sum(parameter.numel() for parameter in sam.parameters())
    checkpoints = 2 * 3 * _FLOAT * parameters
    features = sum(_features(sam, phase, images) for phase in recipe.phases)
    return checkpoints + features + 2 * _HALF * parameters


def require_space(folder: Path, needed: int) -> None:
    """EngineError when the disk under `folder`, which need not exist yet, has less than `needed` bytes left."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise EngineError(
            f"{folder}: training writes up to {needed / 1e9:.2f} GB there and {free / 1e9:.2f} GB are free; free some"
        )


def _features(sam: Sam, phase: Phase, images: int) -> int:
    if phase.freeze == "nothing":
        return 0
    drawn = phase.steps * phase.images_per_step
    # Each input has its features once: a mirrored image is another input, a jittered one always is.
    inputs = drawn if phase.jitter else min(drawn, images * (2 if phase.flip else 1))
    side = phase.image_size or sam.image_size
    if phase.freeze == "trunk":
        return inputs * _TRUNK_BYTES * side**2
    cells = (sam.embedding_size * side // sam.image_size) ** 2
    return inputs * _HALF * 256 * cells
