"""Live progress: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_SECONDS = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.2f} {task.fields['unit']}/s")


class _Live(Progress):
    """A bar with something more below it."""

    below: Callable[[], RenderableType] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below()


class Bar:
    """One task's progress. `done` counts include earlier runs' work; the rate counts this run's only.

    On a terminal what `below` returns is shown under the bar, as it is when the bar is drawn.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        total: int,
        done: int = 0,
        unit: str = "images",
        below: Callable[[], RenderableType] | None = None,
    ) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._start, self._first, self._last_line = time.monotonic(), done, time.monotonic()
        self._note = ""
        self._progress = _Live(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._progress.below = below
        self._task = self._progress.add_task(title, total=total, completed=done, note="", unit=unit)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            rate = (done - self._first) / max(1e-9, now - self._start)
            eta = f", {(self._total - done) / rate:.0f} s left" if rate > 0 else ", starting"
            # Without a total there is nothing to be left.
            of, eta = (f"/{self._total}", eta) if self._total else ("", "")
            line = f"{self._title}: {done}{of} {self._unit}, {rate:.2f}/s{eta}" + (f", {note}" if note else "")
            self._console.print(line, highlight=False, soft_wrap=True)  # a line is a line in a log file too
