"""The files of every detector: where they come from, what they are by hash, under which licence.

None of them lies in this repository. A file is looked for in `$DATAENGINE_MODELS` (one folder or several,
separated as in PATH) and then in `~/.cache/dataengine/models`; its sha256 is checked before use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dataengine.detection.protocol import Kind
from dataengine.errors import EngineError

MODELS_VARIABLE = "DATAENGINE_MODELS"
_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models"


@dataclass(frozen=True)
class DetectorFile:
    """One known model file. `package` names the Python package that carries it, where one does."""

    name: str
    kind: Kind
    file_name: str
    url: str
    sha256: str
    licence: str
    note: str = ""
    package: str | None = None


YUNET = DetectorFile(
    name="yunet",
    kind="face",
    file_name="face_detection_yunet_2026may.onnx",
    url=f"{_ZOO}/face_detection_yunet/face_detection_yunet_2026may.onnx",
    sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    licence="MIT",
    note="Finds far smaller faces than dlib: pull it where there is internet.",
)
LPD_YUNET = DetectorFile(
    name="lpd-yunet",
    kind="plate",
    file_name="license_plate_detection_lpd_yunet_2022may.onnx",
    url=f"{_ZOO}/license_plate_detection_yunet/license_plate_detection_lpd_yunet_2022may.onnx",
    sha256="a383f866bc76140fa609e989749b1c81c2962c1664136d83763b0d8962e10e07",
    licence="Apache-2.0",
)
PLATEDET = DetectorFile(
    name="platedet",
    kind="plate",
    file_name="artifacts/platedet.onnx",
    url="https://github.com/pstwh/platedet",
    sha256="aeeee6e8e7f756d3e9a94cb409fc767825671ab2b81b8bf36c03eb228d848a93",
    licence="not stated",
    note=(
        "The package states no licence, and the ONNX file's own metadata say AGPL-3.0 (Ultralytics). "
        "Where there is internet, pull lpd-yunet (Apache-2.0) instead: `dataengine models pull lpd-yunet`."
    ),
    package="platedet",
)

YOLOX_NANO = DetectorFile(
    name="yolox-nano",
    kind="object",
    file_name="yolox_nano.onnx",
    url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
    sha256="e8af074932d4ed7e232278e3055cefcdea3edf178874a3694ae292649fb464dd",
    licence="Apache-2.0",
    note="COCO's 80 kinds of object, for prefilled masks (stage 2).",
)

KNOWN: tuple[DetectorFile, ...] = (YUNET, LPD_YUNET, PLATEDET, YOLOX_NANO)


def model_folders() -> list[Path]:
    """Where downloaded detector files are looked for, first match wins."""
    named = [Path(folder).expanduser() for folder in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if folder]
    return [*named, Path.home() / ".cache" / "dataengine" / "models"]


def find_file(model: DetectorFile) -> Path | None:
    """Path of `model`'s file, checked against its sha256, or None when it isn't on this machine.

    Raises `EngineError` when a file of that name is there but is another one: a different model under a
    known name would make `model_id` in the catalog a lie.
    """
    path = _in_package(model) if model.package else _in_folders(model)
    # A package's file is vouched for by the installer, and another release of it may carry another one;
    # `model_id` has the hash of what is really there.
    if path is not None and model.package is None and sha256_of(path) != model.sha256:
        raise EngineError(f"{path}: sha256 differs from {model.name}'s; delete it and get it from {model.url}")
    return path


def model_id(model: DetectorFile, path: Path) -> str:
    """Name and content of a model: `yunet@ebafce4e`."""
    return f"{model.name}@{sha256_of(path)[:8]}"


def sha256_of(path: Path) -> str:
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


def _in_folders(model: DetectorFile) -> Path | None:
    candidates = (folder / model.file_name for folder in model_folders())
    return next((path for path in candidates if path.is_file()), None)


def _in_package(model: DetectorFile) -> Path | None:
    """The file inside the installed package, found without importing the package.

    platedet's own code wants an old Pillow and OpenCV; only its file is of use.
    """
    spec = importlib.util.find_spec(model.package or "")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / model.file_name
    return path if path.is_file() else None


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, modified: int) -> str:
    """Hash of a file; `size` and `modified` only key the cache."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
