"""What every figure rests on: turns, quantiles, memory of a fresh process, tables."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from benchmarks.measure import Turns, alternate, extra_memory, in_fresh_process, machine, machine_line, print_table
from benchmarks.photos import mosaic

MB = 1 << 20


def fill(megabytes: int) -> dict[str, Any]:
    """Runs in the child."""
    return {"sum": int(np.ones(megabytes * MB, np.uint8).sum()) // MB}


def test_turns_alternate_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    turns = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert [len(seconds) for seconds in turns.seconds.values()] == [2, 2]


def test_a_ratio_is_the_median_within_turns() -> None:
    turns = Turns({"ours": [1.0, 10.0, 1.0], "theirs": [2.0, 30.0, 4.0]})
    assert turns.ratio("theirs") == 3.0
    assert turns.ratio("ours", to="theirs") == pytest.approx(1 / 3)
    assert turns.median("theirs") == 4.0


def test_quantiles() -> None:
    turns = Turns({"one": [float(value) for value in range(20, 0, -1)]})
    assert [turns.quantile("one", share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 10, 19, 20]


def test_a_fresh_process_has_its_own_peak() -> None:
    ours = np.ones(300 * MB, np.uint8)  # a fork of us would begin with it
    small, big = (in_fresh_process(fill, megabytes=size) for size in (1, 200))
    assert (small.result, big.result) == ({"sum": 1}, {"sum": 200})
    assert 190 * MB < big.peak_rss - small.peak_rss < 230 * MB
    assert small.peak_rss < len(ours)
    assert small.cpu_seconds > 0 and small.seconds > 0


def fill_after_more(before: int, then: int) -> dict[str, Any]:
    """Runs in the child: in ours, what earlier tests freed may be there for the taking."""
    np.ones(before * MB, np.uint8)
    result, extra = extra_memory(lambda: fill(then))
    return {**result, "extra": extra}


def test_extra_memory_forgets_earlier_peaks() -> None:
    found = in_fresh_process(fill_after_more, before=300, then=100).result
    assert found["sum"] == 100
    assert 90 * MB < found["extra"] < 130 * MB


def test_the_machine_line_names_the_conditions() -> None:
    facts = machine()
    line = machine_line(facts)
    assert (
        facts["torch"] in line and facts["commit"] in line and facts["date"] == time.strftime("%Y-%m-%d", time.gmtime())
    )


def test_tables_are_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        [
            {"what": "ours", "s": 0.12345, "n": 1024},
            {"what": "theirs", "s": None, "n": 7.0},
            {"what": "both", "s": 1031.0009, "n": 0.0},
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "| what   | s     | n    |",
        "| ------ | ----- | ---- |",
        "| ours   | 0.123 | 1024 |",
        "| theirs | -     | 7    |",
        "| both   | 1031  | 0    |",
    ]


def test_mosaics_differ_by_seed_and_by_nothing_else() -> None:
    one, again, other = mosaic(150, 225, 0), mosaic(150, 225, 0), mosaic(150, 225, 1)
    assert one.shape == (150, 225, 3) and one.dtype == np.uint8
    assert np.array_equal(one, again) and not np.array_equal(one, other)
