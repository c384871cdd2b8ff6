"""Curves as plain numbers for an SVG in the page: they follow the page's light or dark colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """`places`: (x, y) as shares 0..1 of the plot, y upwards."""

    label: str
    places: list[tuple[float, float]]
    last: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines in one plot, and ticks as (share 0..1 along the axis, text)."""

    title: str
    note: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def line_chart(title: str, note: str, curves: Mapping[str, Points]) -> LineChart | None:
    """Curves of (step, value) on axes from step 0 and from round values; None when there is no point."""
    curves = {label: points for label, points in curves.items() if points}
    if not curves:
        return None
    everything = [point for points in curves.values() for point in points]
    last = max(step for step, _ in everything) or 1
    low, high = min(value for _, value in everything), max(value for _, value in everything)
    step = _nice((high - low or abs(high) or 1) / (TICKS - 1))
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    span = top - bottom or step
    lines = [
        Line(label, [(at / last, (value - bottom) / span) for at, value in points], points[-1][1])
        for label, points in curves.items()
    ]
    x_step = _nice(last / TICKS)
    x_ticks = [(i * x_step / last, f"{i * x_step:g}") for i in range(int(last / x_step) + 1)]
    y_ticks = [(i * step / span, f"{bottom + i * step:.4g}") for i in range(round(span / step) + 1)]
    return LineChart(title, note, lines, x_ticks, y_ticks)


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
