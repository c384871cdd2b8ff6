"""COCO folders and shards as labelled images: every kind of segmentation, and what is left out, with its reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dataengine.errors import ConfigError, RejectedImageError
from dataengine.labelled import CocoFolder, fixed_subset, open_labelled
from dataengine.masks.rle import decode
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, uncompressed, write_coco
from tests.dataengine.shards.sample_shards import images_of_shard, write_sample_shard

SIZE = (60, 90)


def test_every_kind_of_segmentation_gives_the_same_mask(tmp_path: Path) -> None:
    mask = drawn_object(SIZE, "rectangle", (10, 20, 39, 49))
    corner = drawn_object(SIZE, "rectangle", (80, 50, 89, 59))  # its last run is foreground
    polygon = [[10, 20, 40, 20, 40, 50, 10, 50]]
    forms = [compressed(mask), uncompressed(mask), polygon, compressed(corner), uncompressed(corner)]
    folder = write_coco(tmp_path / "set", {"a.jpg": (photo(*SIZE), forms)})
    image = CocoFolder(str(folder)).read("a.jpg")
    assert [m.id for m in image.masks] == [1, 2, 3, 4, 5] and image.pixels.shape == (*SIZE, 3)
    for found, expected in zip(image.masks, [mask, mask, mask, corner, corner], strict=True):
        assert np.array_equal(decode(found.rle), expected)


def test_what_can_not_be_used_is_counted(tmp_path: Path) -> None:
    mask = drawn_object(SIZE, "ellipse", (10, 10, 40, 40))
    good = compressed(mask)
    bad = [
        {"segmentation": good, "iscrowd": 1},
        {"segmentation": None, "bbox": [1, 2, 3, 4]},
        {"segmentation": compressed(np.zeros(SIZE, bool))},
        {"segmentation": {"size": list(SIZE), "counts": good["counts"][:-1] + "~"}},
        {"segmentation": {"size": list(SIZE), "counts": [5, 3]}},
        {"segmentation": {"size": [10, 10], "counts": [100]}},
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": good, "image_id": 77},
    ]
    images = {"a.jpg": (photo(*SIZE), [good, *bad]), "none.jpg": (photo(*SIZE), bad[:1])}
    source = open_labelled(str(write_coco(tmp_path / "set", images)))
    assert list(source.names) == ["a.jpg"]
    assert source.skipped == Counter(
        {
            "crowd, not one object": 2,
            "damaged run lengths": 2,
            "no segmentation": 1,
            "empty mask": 1,
            "segmentation of another size than its image": 1,
            "polygon with fewer than three corners": 1,
            "annotation of an unknown image": 1,
        }
    )
    assert [m.id for m in source.read("a.jpg").masks] == [1]


def test_a_missing_or_different_image_says_so(tmp_path: Path) -> None:
    mask = compressed(drawn_object(SIZE, "ellipse", (10, 10, 40, 40)))
    folder = write_coco(tmp_path / "set", {name: (photo(*SIZE), [mask]) for name in ("a.jpg", "b.jpg")})
    (folder / "images" / "a.jpg").unlink()
    source = open_labelled(str(folder))
    with pytest.raises(RejectedImageError, match="missing"):
        source.read("a.jpg")
    content = json.loads((folder / "instances.json").read_text())
    content["images"][1]["height"] = 61
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[1, 1, 30, 1, 30, 30]]
    (folder / "instances.json").write_text(json.dumps(content))
    with pytest.raises(RejectedImageError, match="size"):
        open_labelled(str(folder)).read("b.jpg")


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not JSON"), ("[]", "not COCO"), ('{"images": [{"id": 1}], "annotations": []}', "height")]
)
def test_a_wrong_annotation_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        open_labelled(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_neither_coco_nor_shards(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        open_labelled(str(tmp_path / "nowhere"))
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="neither"):
        open_labelled(str(tmp_path))


def test_shards_are_read_alike_in_any_order(tmp_path: Path) -> None:
    for shard in (0, 1):
        write_sample_shard(tmp_path, shard, count=3, short_side=80)
    source = open_labelled(str(tmp_path))
    samples = {f"sa_{i.image_id}": i for s in (0, 1) for i in images_of_shard(s, 3, 80) if i.sample}
    assert sorted(source.names) == sorted(samples)
    for name in reversed(source.names):
        image, written = source.read(name), samples[name].sample
        assert written is not None
        assert [m.rle for m in image.masks] == [m.segmentation for m in written.annotations]
        assert image.pixels.shape[:2] == (written.image.height, written.image.width)
    assert list(open_labelled(str(tmp_path / "sa_000001.tar")).names) == list(source.names)[3:]


def test_a_fixed_subset_does_not_depend_on_order_and_grows() -> None:
    names = [f"{index:03}.jpg" for index in range(200)]
    ten = fixed_subset(names, 10)
    assert len(ten) == 10 and ten == sorted(ten)
    assert set(fixed_subset(names[::-1], 10)) == set(ten) < set(fixed_subset(names, 20))
    assert fixed_subset(names, None) == names and fixed_subset(names, 999) == names
