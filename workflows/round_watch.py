"""What can be watched while a round trains: a bar and curves in the terminal, TensorBoard, a file of steps."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.console import Console, RenderableType

from dataengine.training.curves import Curves
from dataengine.training.events import EventFiles
from dataengine.training.loop import Progress
from workflows.chart import panels
from workflows.progress import Bar


class RoundWatch:
    """A `report` for `train` that shows and keeps every step. On a terminal the curves are drawn live.

    `events` is where the TensorBoard files go, `curves` the file of steps, which outlives a kill.
    """

    def __init__(self, console: Console, title: str, steps: int, curves: Curves, events: Path) -> None:
        self._curves, self._events = curves, EventFiles(events)
        self._shown = curves.series()
        self._held_out = ""
        done = int(max((step for step, _ in self._shown.get("loss", [])), default=0))
        self._bar = Bar(console, title, steps, done=done, unit="steps", below=self._panels)

    def __enter__(self) -> RoundWatch:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)
        self._events.close()

    def report(self, progress: Progress) -> None:
        self._curves.add(progress)
        self._events.add(progress)
        for name in ("loss", "last_iou"):
            self._shown.setdefault(name, []).append((progress.done, getattr(progress, name)))
        for name, value in progress.metrics.items():
            self._shown.setdefault(name, []).append((progress.done, value))
        if "held_out_miou" in progress.metrics:
            self._held_out = f", held-out mIoU {progress.metrics['held_out_miou']:.3f}"
        iou = f"IoU {progress.first_iou:.3f} -> {progress.last_iou:.3f}"
        self._bar.update(progress.done, f"loss {progress.loss:.4f}, {iou}{self._held_out}")

    def _panels(self) -> RenderableType:
        titles = {"loss": "loss", "last_iou": "training IoU", "held_out_miou": "held-out mIoU"}
        return panels({title: [value for _, value in self._shown.get(name, [])] for name, title in titles.items()})
