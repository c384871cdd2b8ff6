"""A run's curves: one line a step in a file, so that they outlive a kill, and short lists for the card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dataengine.training.loop import Progress

NAME = "curves.jsonl"
POINTS = 100
_MEANS = ("loss", "first_iou", "last_iou")


class Curves:
    """Appends to `folder/curves.jsonl`. Steps that a resumed run takes again replace their first lines."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME

    def add(self, progress: Progress) -> None:
        line = {"step": progress.done, **{name: getattr(progress, name) for name in _MEANS}, **progress.metrics}
        with self._path.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(line) + "\n")

    def summary(self) -> dict[str, list[float]]:
        """`step`, and means of loss and training IoUs over at most `POINTS` stretches of steps that end there.

        What `validate` returned comes as `<name>` with its own `<name>_step`.
        """
        steps = self._read()
        numbers = sorted(steps)
        curves: dict[str, list[float]] = {name: [] for name in ("step", *_MEANS)}
        for part in np.array_split(np.array(numbers, int), min(POINTS, len(numbers))) if numbers else []:
            curves["step"].append(int(part[-1]))
            for name in _MEANS:
                curves[name].append(round(float(np.mean([steps[number][name] for number in part])), 5))
        for number in numbers:
            for name in steps[number].keys() - {"step", *_MEANS}:
                curves.setdefault(f"{name}_step", []).append(number)
                curves.setdefault(name, []).append(round(steps[number][name], 5))
        return curves

    def series(self) -> dict[str, list[tuple[float, float]]]:
        """(step, value) of each curve of `summary`, for a plot."""
        summary = self.summary()
        return {
            name: list(zip(summary.get(f"{name}_step", summary["step"]), values, strict=True))
            for name, values in summary.items()
            if name != "step" and not name.endswith("_step")
        }

    def _read(self) -> dict[int, dict[str, float]]:
        steps: dict[int, dict[str, float]] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []:
            try:
                values = json.loads(line)
            except ValueError:
                continue  # the kill fell into this line
            steps[values["step"]] = values
        return steps
