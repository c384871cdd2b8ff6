"""Where training stands: everything a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dataengine.errors import EngineError
from dataengine.home.storage import sync
from schemas.training import Recipe

NAME = "training.pt"


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` steps of phase number `phase`, float32 weights included.

    `run` is the hash of recipe, seed and number of workers: another run's checkpoint is refused. Random
    states are not part of it: every draw follows from seed and step (`seeds.py`).
    """

    run: str
    phase: int
    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    streams: list[dict[str, Any]]
    """Positions of the workers' streams, in their order."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """fp16's loss scale and how long it has held."""

    def save(self, folder: Path) -> None:
        """Replaces the folder's checkpoint at once: after a kill there is the old one or the new one."""
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{NAME}.part"
        torch.save(vars(self), part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(folder / NAME)
        sync(folder)


def finished_checkpoint(found: Checkpoint | None, recipe: Recipe) -> bool:
    """Whether it is the last one that a run of the recipe writes."""
    phases = recipe.phases
    return found is not None and found.phase == len(phases) - 1 and found.step == phases[-1].steps


def load_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """The folder's checkpoint, or None without one. EngineError when it is damaged or of another run."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises its unpickler's private types
        raise EngineError(f"{path} can't be read as a training checkpoint: {str(error).splitlines()[0]}") from error
    if found.run != run:
        raise EngineError(f"{path} is of another recipe, seed or number of workers; delete it or use another folder")
    return found
