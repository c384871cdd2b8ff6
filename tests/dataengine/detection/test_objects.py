"""Object detectors of stage 2: what they make of a network's numbers, and of other programs' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.detection.box_head import BoxHead, BoxHeadObjects, load_box_head, require_encoder, save_box_head
from dataengine.detection.from_file import FileObjects
from dataengine.detection.models import YOLOX_NANO, find_file
from dataengine.detection.objects import FoundObject, Picture, open_detector
from dataengine.detection.yolox import YoloxObjects
from dataengine.errors import ConfigError, EngineError
from dataengine.training.box_head import BoxHeadSettings, Example, giou, train_box_head
from tests.dataengine.labelled_sets import photo

BLANK = Picture.of(np.zeros((50, 100, 3), np.uint8), "folder/a.jpg")


def yolox_of(rows: dict[int, tuple[list[float], int]], path: Path, side: int = 64) -> Path:
    """A network of YOLOX's form, side x side, three classes, whose output is always the same.

    `rows`: output number -> ([x, y, w, h as the network says them, objectness], class).
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    count = sum((side // stride) ** 2 for stride in (8, 16, 32))
    values = np.zeros((1, count, 8), np.float32)
    for index, (row, kind) in rows.items():
        values[0, index, :5] = row
        values[0, index, 5 + kind] = 1.0
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(values, "rows"),
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, count, 8])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_yolox_boxes_lie_where_the_network_says(tmp_path: Path) -> None:
    # Cell (x 3, y 1) of stride 8 (8 cells a row), middle at its left top corner plus half, 2 x 1 cells large.
    sure = [0.5, 0.5, np.log(2.0), 0.0, 0.9]
    path = yolox_of(
        {
            11: (sure, 1),
            12: ([-0.4, 0.5, np.log(2.0), 0.0, 0.8], 1),  # the same object, seen by the next cell
            13: ([-1.5, 0.5, np.log(2.0), 0.0, 0.7], 2),  # the same place, another class
            40: ([0.0, 0.0, np.log(50.0), 0.0, 0.01], 0),  # not sure enough
        },
        tmp_path / "toy.onnx",
    )
    found = open_detector(str(path)).find(BLANK)
    # 100 x 50 shrinks by .64 into the 64 x 64 window.
    assert [(one.label, round(one.score, 3)) for one in found] == [("1", 0.9), ("2", 0.7)]
    assert found[0].box == pytest.approx((20 / 0.64, 8 / 0.64, 36 / 0.64, 16 / 0.64), abs=1e-3)
    assert found[0].model.startswith("toy@")


def test_what_is_no_detector_is_refused_in_one_line(tmp_path: Path) -> None:
    for name in ("nothing", str(tmp_path / "gone.onnx"), str(tmp_path / "gone.json"), str(tmp_path / "a.safetensors")):
        with pytest.raises(ConfigError, match=r"no such file") as refused:
            open_detector(name)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="text-prompted"):
        open_detector("yolox-nano", words=["cup"])
    (tmp_path / "bad.json").write_text('[{"file_name": "a.jpg", "bbox": [1, 2, 3]}]')
    with pytest.raises(ConfigError, match="entry 0"):
        FileObjects(tmp_path / "bad.json")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a box head"):
        load_box_head(tmp_path / "bad.safetensors")


def test_boxes_and_points_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    entries: list[dict[str, Any]] = [
        {"file_name": "a.jpg", "bbox": [10, 5, 20, 10], "score": 0.4, "category_id": 7},
        {"file_name": "elsewhere/a.jpg", "point": [99, 49], "score": 0.8, "label": "gaze"},
        {"file_name": "a.jpg", "bbox": [90, 40, 50, 50], "score": 0.5},
        {"file_name": "a.jpg", "bbox": [200, 40, 50, 50], "score": 0.9},  # outside
        {"file_name": "a.jpg", "point": [100, 10], "score": 0.9},  # outside
        {"file_name": "b.jpg", "bbox": [0, 0, 5, 5], "score": 1},
    ]
    path.write_text(json.dumps(entries))
    found = open_detector(str(path)).find(BLANK)
    assert [(one.box, one.point, one.label) for one in found] == [
        (None, (99.0, 49.0), "gaze"),
        ((90.0, 40.0, 100.0, 50.0), None, "object"),
        ((10.0, 5.0, 30.0, 15.0), None, "7"),
    ]
    coco = {
        "images": [{"id": 4, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 4, "bbox": [1, 2, 3, 4], "category_id": 1}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    path.write_text(json.dumps(coco))
    assert [(one.box, one.label, one.score) for one in FileObjects(path).find(BLANK)] == [((1, 2, 4, 6), "cup", 1.0)]


def squares(count: int, seed: int, side: int = 16) -> list[Example]:
    """Embeddings whose first channel shows where an object is, the second its border to the right and below."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        features = draw.normal(0, 0.1, (4, side, side)).astype(np.float32)
        boxes = []
        for column in (0, side // 2):
            size, x, y = (int(draw.integers(low, high)) for low, high in ((3, 7), (0, 2), (0, side - 7)))
            x += column
            features[0, y : y + size, x : x + size] += 1.0
            boxes.append([x, y, x + size, y + size])
        made.append(Example(torch.from_numpy(features).half(), torch.tensor(boxes).float() / side))
    return made


@pytest.fixture(scope="module")
def trained() -> BoxHead:
    torch.set_num_threads(1)
    return train_box_head(squares(32, 1), BoxHeadSettings(steps=100, batch=8, learning_rate=4e-3, width=32))


def test_a_trained_head_finds_what_it_was_shown(trained: BoxHead, tmp_path: Path) -> None:
    path = tmp_path / "boxes.safetensors"
    save_box_head(trained, path, {"encoder": "0123456789abcdef", "images": 32})
    assert json.loads((tmp_path / "boxes.json").read_text())["images"] == 32
    detector = open_detector(str(path))
    assert isinstance(detector, BoxHeadObjects)
    matched = wanted = given = 0
    for example in squares(8, 2):
        picture = Picture("", (120, 160), lambda: np.zeros((0, 0, 3), np.uint8), lambda e=example: e.embedding.numpy())
        found = [one for one in detector.find(picture) if one.score >= 0.3]
        boxes = torch.tensor([one.box for one in found]).reshape(-1, 4) / 160
        for box in example.boxes[example.boxes[:, 3] <= 0.7]:
            wanted += 1
            matched += bool(len(boxes)) and float(giou(boxes, box.expand_as(boxes)).max()) > 0.6
        given += len(found)
        assert all(
            0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 120 for x0, y0, x1, y1 in (one.box for one in found if one.box)
        )
    assert matched >= 0.8 * wanted and given <= 40
    require_encoder(detector, "0123456789abcdef")
    with pytest.raises(EngineError, match="train it again"):
        require_encoder(detector, "another")


def test_the_same_set_trains_the_same_head() -> None:
    settings = BoxHeadSettings(steps=5, batch=4)
    torch.manual_seed(1)
    first = train_box_head(squares(6, 3), settings)
    torch.manual_seed(2)
    second = train_box_head(squares(6, 3), settings)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_transformers_detectors_by_folder(tmp_path: Path) -> None:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=5,
        num_labels=3,
    )
    torch.manual_seed(0)
    YolosForObjectDetection(config).save_pretrained(tmp_path / "yolos")
    YolosImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "yolos")
    found = open_detector(f"transformers:{tmp_path / 'yolos'}").find(Picture.of(photo(60, 90)))
    assert found and all(isinstance(one, FoundObject) and one.label.startswith("LABEL_") for one in found)
    assert all(0 <= x0 < x1 <= 90 and 0 <= y0 < y1 <= 60 for x0, y0, x1, y1 in (one.box for one in found if one.box))
    assert found[0].model.startswith("yolos@")
    with pytest.raises(EngineError, match="can't load the detector"):
        open_detector(f"transformers:{tmp_path / 'gone'}")


def test_yolox_nano_sees_the_cup() -> None:
    if find_file(YOLOX_NANO) is None:
        pytest.skip("yolox-nano isn't on this machine: dataengine models pull yolox-nano")
    found = YoloxObjects("yolox-nano").find(Picture.of(photo(400, 600)))
    assert "cup" in {one.label for one in found if one.score > 0.3}
