"""Curves out of blocks, and the bar that they hang under."""

from __future__ import annotations

import io

from rich.console import Console

from workflows.chart import curve, panels
from workflows.progress import Bar


def test_a_curve_rises_from_an_eighth_of_a_line_to_the_top() -> None:
    assert curve([0.0, 1.0, 2.0, 3.0], width=6, height=2) == ["  ▃█  ", "▁▆██  "]
    assert curve([5.0, 5.0], width=3, height=1) == ["▁▁ "]
    assert curve([], width=2, height=1) == ["  "]
    many = curve([float(n) for n in range(1000)], width=10, height=1)[0]
    assert many == "".join(sorted(many)) and many[-1] == "█"


def test_curves_are_drawn_on_a_terminal_and_plain_lines_elsewhere() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
        with Bar(console, "round-001", 4, unit="steps", below=lambda: panels({"loss": [0.9, 0.5]})) as bar:
            bar.update(2, "loss 0.5")
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("loss 0.500" in text and "█" in text) is terminal
