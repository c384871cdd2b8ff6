"""A packed home trains elsewhere on the same sides of the same sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dataengine.errors import ConfigError, EngineError
from dataengine.home import create_home, open_home
from dataengine.labelled import open_labelled
from dataengine.labelled.held_out import is_held_out
from dataengine.masks import decode, mask_iou
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from workflows.pack import pack_home

CONSOLE = Console(quiet=True)


@pytest.fixture
def home(tmp_path: Path) -> str:
    images = {}
    for number in range(6):
        size = (600, 900) if number % 2 else (90, 60)
        large = drawn_object(size, "ellipse", (5, 5, size[1] // 2, size[0] // 2))
        speck = np.zeros(size, bool)
        speck[0, 0] = True
        images[f"a_{number}.png"] = photo(*size) // (number + 1), [compressed(large), compressed(speck)]
    write_coco(tmp_path / "set", images)
    create_home(str(tmp_path / "home"), [])
    path = tmp_path / "home" / "engine.yaml"
    path.write_text(f"retrain: {{data: [{{path: {tmp_path / 'set'}, weight: 3, sequence: '^(a)_'}}]}}\n")
    return str(tmp_path / "home")


def test_copies_are_small_and_keep_identity_and_masks(home: str, tmp_path: Path) -> None:
    counts = pack_home(open_home(home), str(tmp_path / "small"), 300, 90, 40, CONSOLE)
    (packed,) = counts.values()
    assert (packed.images, packed.masks) == (6, 9)  # a speck of one pixel has none in a picture a third as large
    assert packed.skipped == {"mask without a pixel when small": 3}
    config = open_home(str(tmp_path / "small")).config
    (entry,) = config.retrain.data
    assert (entry.path, entry.weight, entry.sequence) == ("sets/00-set", 3, "^(a)_")

    before, after = open_labelled(str(tmp_path / "set")), open_labelled(str(tmp_path / "small" / entry.path))
    for old, new in zip(before.names, after.names, strict=True):
        assert before.content_hash(old) == after.content_hash(new)
        assert is_held_out(before.content_hash(old)) == is_held_out(after.content_hash(new))
        one, other = before.read(old), after.read(new)
        assert other.pixels.shape[:2] == ((200, 300) if one.pixels.shape[0] == 600 else (90, 60))
        small, large = decode(other.masks[0].rle), decode(one.masks[0].rle)
        if one.pixels.shape[0] == 600:
            large = large.reshape(200, 3, 300, 3).mean(axis=(1, 3)) >= 0.5
        assert mask_iou(small[None], large[None])[0, 0] > 0.98


def test_what_can_not_be_packed_is_said(home: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"MB packed, more than 0\.001"):
        pack_home(open_home(home), str(tmp_path / "small"), 300, 90, 0.001, CONSOLE)
    assert not (tmp_path / "small" / "engine.yaml").exists()
    with pytest.raises(ConfigError, match="isn't empty"):
        pack_home(open_home(home), str(tmp_path / "small"), 300, 90, 40, CONSOLE)
    create_home(str(tmp_path / "bare"), [])
    with pytest.raises(ConfigError, match="nothing to pack"):
        pack_home(open_home(str(tmp_path / "bare")), str(tmp_path / "other"), 300, 90, 40, CONSOLE)
