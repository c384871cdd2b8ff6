"""A run's curves as TensorBoard event files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dataengine.training.loop import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_TRAINING = ("loss", "mask_loss", "iou_loss", "first_iou", "last_iou", "learning_rate", "gradient_norm")


class EventFiles:
    """Writes scalars `training/...` and `held_out/...` by step into `folder`.

    A run that goes on after a kill starts another file; steps it takes again hide those of the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def add(self, progress: Progress) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # a second and a half, for who trains only

            self._writer = SummaryWriter(str(self._folder), purge_step=progress.done)
        for name in _TRAINING:
            self._writer.add_scalar(f"training/{name}", getattr(progress, name), progress.done)
        for name, value in progress.metrics.items():
            self._writer.add_scalar(f"held_out/{name.removeprefix('held_out_')}", value, progress.done)
        self._writer.flush()  # a step is told before it is saved: after a kill no saved step is missing here

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
