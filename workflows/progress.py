"""Live progress: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
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


class Bar:
    """One task's progress. `done` counts include earlier runs' work; the rate counts this run's only."""

    def __init__(self, console: Console, title: str, total: int, done: int = 0, unit: str = "images") -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._start, self._first, self._last_line = time.monotonic(), done, time.monotonic()
        self._note = ""
        self._progress = Progress(
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
            eta = f"{(self._total - done) / rate:.0f} s left" if rate > 0 else "starting"
            self._console.print(
                f"{self._title}: {done}/{self._total} {self._unit}, {rate:.2f}/s, {eta} {note}".rstrip(),
                highlight=False,
            )
