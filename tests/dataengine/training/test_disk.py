"""Room on the disk, by hand for nano, and one line when there is too little."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dataengine.errors import EngineError
from dataengine.model.sam import build_sam
from dataengine.training.disk import bytes_needed, require_space
from schemas.training import Phase, Recipe


def recipe(**changes: object) -> Recipe:
    phase = Phase.model_validate({"steps": 10, "images_per_step": 4, **changes})
    return Recipe(name="r", description="", phases=[phase])


def test_checkpoints_features_and_the_model_are_counted() -> None:
    sam = build_sam("nano")
    weights = sum(parameter.numel() for parameter in sam.parameters())
    plain = 2 * 3 * 4 * weights + 2 * 2 * weights
    embedding = 2 * 256 * 32 * 32
    assert bytes_needed(sam, recipe(), 100) == plain
    assert bytes_needed(sam, recipe(freeze="encoder"), 100) == plain + 40 * embedding  # ten steps of four images
    assert bytes_needed(sam, recipe(freeze="encoder"), 7) == plain + 7 * embedding
    assert bytes_needed(sam, recipe(freeze="encoder", flip=0.5), 7) == plain + 14 * embedding
    levels = 2 * sum(channels * (256 // stride) ** 2 for channels, stride in ((24, 4), (40, 8), (112, 16), (320, 32)))
    trunk = bytes_needed(sam, recipe(freeze="trunk", image_size=256), 7) - plain
    assert 7 * levels <= trunk <= 7.5 * levels


def test_too_little_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_space(tmp_path / "not" / "yet", 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(EngineError, match=r"2\.00 GB there and 1\.00 GB are free") as caught:
        require_space(tmp_path / "not" / "yet", 2 * 10**9)
    assert "\n" not in str(caught.value)
