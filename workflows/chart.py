"""Curves in a terminal, out of block characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.columns import Columns
from rich.panel import Panel
from rich.text import Text

_BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 40, 6


def curve(values: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """`height` lines of `width` characters: columns from the lowest value (an eighth of a line) to the highest.

    More values than columns are averaged in stretches; fewer fill the columns from the left.
    """
    if not values:
        return [" " * width] * height
    means = np.array([part.mean() for part in np.array_split(np.asarray(values, float), min(width, len(values)))])
    low, span = means.min(), max(float(np.ptp(means)), 1e-9)
    eighths = np.rint(1 + (means - low) / span * (8 * height - 1)).astype(int)
    lines = []
    for row in range(height - 1, -1, -1):
        filled = np.clip(eighths - 8 * row, 0, 8)
        lines.append("".join(_BLOCKS[part] for part in filled).ljust(width))
    return lines


def panels(curves: Mapping[str, Sequence[float]]) -> Columns:
    """One panel a curve, side by side, with its last value and its range."""
    found = []
    for title, values in curves.items():
        range_ = f"{min(values):.3f} .. {max(values):.3f}" if values else "none yet"
        now = f" {values[-1]:.3f}" if values else ""
        found.append(
            Panel(Text("\n".join(curve(values)), "cyan"), title=f"{title}{now}", subtitle=range_, width=WIDTH + 4)
        )
    return Columns(found)
