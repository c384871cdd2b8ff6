"""Histograms as plain numbers for an SVG in the page: they follow the page's light or dark colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MOST_BARS = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: values from `low` to `high`, how many, and what share of the tallest bar."""

    low: float
    high: float
    count: int
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars from left to right, and ticks as (position 0..1 along the axis, text)."""

    title: str
    note: str
    bars: list[Bar]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def count_histogram(counts: npt.NDArray[np.int64], title: str, unit: str) -> Histogram | None:
    """Of whole numbers >= 0 (masks an image), in bars of equal whole width; None without data."""
    if len(counts) == 0:
        return None
    low, high = int(counts.min()), int(counts.max())
    step = _nice_step((high - low + 1) / MOST_BARS)
    first = low // step * step
    edges = np.arange(first, high + step + 1, step)
    values = np.bincount((counts - first) // step, minlength=len(edges) - 1)
    labels = [f"{a}" if step == 1 else f"{a} to {a + step - 1}" for a in edges[:-1]]
    note = f"median {np.median(counts):g}, mean {counts.mean():.1f}, from {low} to {high}"
    every = max(1, math.ceil((len(edges) - 1) / 8))
    ticks = [
        ((i + (0.5 if step == 1 else 0)) / (len(edges) - 1), str(edges[i])) for i in range(0, len(edges) - 1, every)
    ]
    return _histogram(title, note, edges.astype(float), values, [f"{label} {unit}" for label in labels], ticks)


def share_histogram(values: npt.NDArray[np.int64], title: str, note: str) -> Histogram | None:
    """Of numbers in 0..1 already counted into bins of equal width (`values` [bins]); None when all are 0."""
    if not values.any():
        return None
    edges = np.linspace(0, 1, len(values) + 1)
    labels = [f"{a:.2f} to {b:.2f}" for a, b in pairwise(edges)]
    ticks = [(tick, f"{tick:g}") for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    return _histogram(title, note, edges, values, labels, ticks)


def _histogram(
    title: str,
    note: str,
    edges: npt.NDArray[np.float64],
    values: npt.NDArray[np.int64],
    labels: list[str],
    x_ticks: list[tuple[float, str]],
) -> Histogram:
    step = _nice_step(values.max() / 4)
    top = step * math.ceil(values.max() / step)
    bars = [
        Bar(float(edges[i]), float(edges[i + 1]), int(value), float(value / top), f"{labels[i]}: {value:,}")
        for i, value in enumerate(values)
    ]
    y_ticks = [(tick / top, f"{tick:,}") for tick in range(0, top + 1, step)]
    return Histogram(title, note, bars, x_ticks, y_ticks)


def _nice_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`."""
    power = 10 ** max(0, math.floor(math.log10(max(least, 1))))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
