"""`python -m benchmarks.parity`: rows are kept, and a row that fails ends the script with its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import parity


def run(file: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    arguments = ["--json", str(file), "--tables", "components", "--models", "nano"]
    monkeypatch.setattr(sys, "argv", ["parity", *arguments])
    with pytest.raises(SystemExit) as ended:
        parity.main()
    return ended.value.code


def test_a_second_run_measures_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "parity.json"
    assert run(file, monkeypatch) == 0
    written = json.loads(file.read_text())
    assert [row["package"] for row in written["components"]] == ["segment_anything", "transformers"]
    assert all(0 < row["predicted IoU"] < 2e-5 for row in written["components"])

    written["components"][0] |= {"predicted IoU": 0.5, "problems": ["predicted IoU differs by 0.5"]}
    del written["components"][1]
    file.write_text(json.dumps(written))
    assert run(file, monkeypatch) == "nano, segment_anything: predicted IoU differs by 0.5"
    again = json.loads(file.read_text())["components"]
    assert [row["package"] for row in again] == ["segment_anything", "transformers"]
    assert again[0]["predicted IoU"] == 0.5
