"""The sets of a loop without people: known masks, two sides that never mix, files as they were."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from dataengine.errors import ConfigError
from dataengine.labelled import open_labelled
from dataengine.labelled.held_out import is_held_out
from dataengine.masks import decode
from workflows.known_truth import HELD_OUT, KnownTruth, divide, write_scenes
from workflows.sample_scenes import LEAST_PIXELS, SIZE, scenes


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> KnownTruth:
    return write_scenes(scenes(), tmp_path_factory.mktemp("drawn"), images=8, held_out=6)


def test_drawn_pictures_have_the_masks_of_what_was_pasted(drawn: KnownTruth) -> None:
    for folder, count, held_out in ((*drawn.labelled, 8, False), (*drawn.held_out, 6, True)):
        source = open_labelled(folder)
        assert len(source.names) == count
        for name in source.names:
            image = source.read(name)
            masks = np.stack([decode(mask.rle) for mask in image.masks])
            assert image.pixels.shape == (*SIZE, 3) and len(masks) >= 3
            assert masks.sum(0).max() == 1 and masks.sum((1, 2)).min() >= LEAST_PIXELS
            assert is_held_out(source.content_hash(name)) == held_out
    first, again = (next(itertools.islice(scenes(), 1, None)) for _ in range(2))
    assert first.jpeg == again.jpeg and (first.masks == again.masks).all()


def test_a_labelled_set_is_divided_and_its_files_stay_as_they_are(drawn: KnownTruth, tmp_path: Path) -> None:
    # All of one side, then all of the other: one set with both.
    for image in (path for folder in (*drawn.labelled, *drawn.held_out) for path in Path(folder, "images").iterdir()):
        (tmp_path / "both" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "both" / "images" / image.name).write_bytes(image.read_bytes())
    contents = [
        json.loads((Path(folder) / "instances.json").read_text()) for folder in (*drawn.labelled, *drawn.held_out)
    ]
    for image in contents[1]["images"]:
        image["id"] += 100
    for annotation in contents[1]["annotations"]:
        annotation["image_id"] += 100
    whole = {name: contents[0][name] + contents[1][name] for name in ("images", "annotations")}
    (tmp_path / "both" / "instances.json").write_text(json.dumps(whole))
    known = divide([tmp_path / "both"], tmp_path / "truth", images=5, held_out=6, unlabelled=2, most=2)
    labelled, gate = open_labelled(*known.labelled), open_labelled(*known.held_out)
    unlabelled = [path.name for path in sorted(Path(known.photos[-1]).iterdir())]
    assert (len(labelled.names), len(gate.names), len(unlabelled)) == (5, 6, 2)
    assert not {*labelled.names} & {*unlabelled} and all(name.startswith(HELD_OUT) for name in gate.names)
    assert all(len(gate.read(name).masks) == 2 for name in gate.names)
    assert all(len(labelled.read(name).masks) > 2 for name in labelled.names)
    assert all(is_held_out(gate.content_hash(name)) for name in gate.names)
    with pytest.raises(ConfigError, match=r"5 of the images are held out .* the gate needs 6"):
        (tmp_path / "both" / "images" / gate.names[0]).unlink()
        divide([tmp_path / "both"], tmp_path / "again", images=5, held_out=6, most=2)
