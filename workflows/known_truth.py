"""Labelled sets for a loop without people: one side that simulated annotators know, one that only the gate sees."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataengine.annotator.ground_truth import GroundTruth
from dataengine.errors import ConfigError, RejectedImageError
from dataengine.evaluation.gate import MIN_IMAGES
from dataengine.labelled import CocoFolder, fixed_subset
from dataengine.labelled.coco_folder import ANNOTATIONS, IMAGES
from dataengine.labelled.held_out import is_held_out
from dataengine.masks import encode
from workflows.sample_scenes import Scene

LABELLED, HELD_OUT, UNLABELLED = "labelled", "held-out", "unlabelled"


@dataclass(frozen=True)
class KnownTruth:
    """Folders below one. The held-out images are no images of the home: nobody annotates them."""

    folder: Path

    @property
    def labelled(self) -> list[str]:
        """COCO folders whose images are the home's and whose masks the simulated annotators know."""
        return _folders(self.folder / LABELLED)

    @property
    def held_out(self) -> list[str]:
        """COCO folders for `retrain.data`: all of their images lie on the held-out side, so none is learnt from."""
        return _folders(self.folder / HELD_OUT)

    @property
    def photos(self) -> list[str]:
        """Image folders of the home, the unlabelled ones last."""
        more = self.folder / UNLABELLED
        return [f"{folder}/{IMAGES}" for folder in self.labelled] + ([str(more)] if more.is_dir() else [])


def divide(
    sources: Sequence[Path], target: Path, images: int, held_out: int, unlabelled: int = 0, *, most: int
) -> KnownTruth:
    """Copies parts of COCO folders to the folder `target`, equal shares of each where they are large enough.

    Which side an image is on follows from its file, as in every round; which of them are taken, from its name.
    `unlabelled` more images of the training side are copied without their masks. Of a held-out image the gate gets
    the `most` prominent objects, as people see them: each once, however many outlined it there. Raises ConfigError
    for a folder that isn't COCO and for too few held-out images.
    """
    if len({source.name for source in sources}) < len(sources):
        raise ConfigError(f"{', '.join(map(str, sources))}: two folders of one name; rename or link one of them")
    shutil.rmtree(target, ignore_errors=True)
    found = [_Divided.of(source) for source in sources]
    takes = _shares([len(one.training) for one in found], images + unlabelled)
    gates = _shares([len(one.held_out) for one in found], held_out)
    if sum(gates) < MIN_IMAGES:
        raise ConfigError(
            f"{', '.join(map(str, sources))}: {sum(len(one.held_out) for one in found)} of the images are held out (a "
            f"tenth, chosen by hash) and the gate needs {MIN_IMAGES}: name more or larger sets (about 60 hold out 6)"
        )
    total = sum(takes)
    for one, take, gate in zip(found, takes, gates, strict=True):
        chosen = fixed_subset(one.training, take)
        known = set(fixed_subset(chosen, round(take * min(1.0, images / max(1, total)))))
        _copy(one, [name for name in chosen if name in known], target / LABELLED / one.source.name)
        _copy(one, fixed_subset(one.held_out, gate), target / HELD_OUT / one.source.name)
        if gate:
            _keep_prominent(target / HELD_OUT / one.source.name, most)
        for name in chosen:
            if name not in known:
                (target / UNLABELLED).mkdir(parents=True, exist_ok=True)
                shutil.copy(one.source / IMAGES / name, target / UNLABELLED / Path(name).name)
    return KnownTruth(target)


def write_scenes(made: Iterable[Scene], target: Path, images: int, held_out: int) -> KnownTruth:
    """Takes scenes until both sides have as many as they shall."""
    shutil.rmtree(target, ignore_errors=True)
    wanted = {LABELLED: images, HELD_OUT: held_out}
    sides: dict[str, list[Scene]] = {LABELLED: [], HELD_OUT: []}
    for scene in made:
        side = HELD_OUT if is_held_out(hashlib.sha256(scene.jpeg).hexdigest()) else LABELLED
        if len(sides[side]) < wanted[side]:
            sides[side].append(scene)
        if all(len(sides[name]) == wanted[name] for name in wanted):
            break
    for name, taken in sides.items():
        _write(taken, target / name / "scenes", name)
    return KnownTruth(target)


@dataclass(frozen=True)
class _Divided:
    source: Path
    training: list[str]
    held_out: list[str]

    @classmethod
    def of(cls, source: Path) -> _Divided:
        opened = CocoFolder(str(source))
        sides: dict[bool, list[str]] = {False: [], True: []}
        for name in opened.names:
            try:
                sides[is_held_out(opened.content_hash(name))].append(name)
            except RejectedImageError:
                continue  # named in instances.json, but the file is gone
        return cls(source, sides[False], sides[True])


def _shares(sizes: Sequence[int], total: int) -> list[int]:
    """How many to take of each set so that it is `total`, or all there is: equal parts, small sets giving all."""
    takes = [0] * len(sizes)
    for place, index in enumerate(sorted(range(len(sizes)), key=lambda index: sizes[index])):
        takes[index] = min(sizes[index], (total - sum(takes)) // (len(sizes) - place))
    return takes


def _copy(one: _Divided, names: Sequence[str], target: Path) -> None:
    """The files as they are, so that their hashes stay; `instances.json` last."""
    if not names:
        return
    content, kept = json.loads((one.source / ANNOTATIONS).read_text(encoding="utf-8")), set(names)
    images = [image for image in content["images"] if image["file_name"] in kept]
    ids = {image["id"] for image in images}
    for name in names:
        copy = target / IMAGES / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.source / IMAGES / name, copy)
    annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    (target / ANNOTATIONS).write_text(
        json.dumps({**content, "images": images, "annotations": annotations}), encoding="utf-8"
    )


def _keep_prominent(folder: Path, most: int) -> None:
    truth = GroundTruth([str(folder)])
    content = json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8"))
    annotations: list[dict[str, Any]] = []
    for image in content["images"]:
        objects = truth.objects(image["file_name"], (image["height"], image["width"]))[:most]
        annotations += _annotations(objects, image["id"], len(annotations))
    (folder / ANNOTATIONS).write_text(json.dumps({**content, "annotations": annotations}), encoding="utf-8")


def _annotations(masks: np.ndarray, image_id: int, before: int) -> list[dict[str, Any]]:
    """COCO's, numbered from `before` + 1; `masks` bool (N, height, width)."""
    return [
        {"id": number, "image_id": image_id, "iscrowd": 0, "segmentation": rle.model_dump()}
        for number, rle in enumerate(encode(masks), start=before + 1)
    ]


def _write(scenes: Sequence[Scene], target: Path, prefix: str) -> None:
    (target / IMAGES).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes):
        name = f"{prefix}-{number:03d}.jpg"
        (target / IMAGES / name).write_bytes(scene.jpeg)
        height, width = scene.masks.shape[1:]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations += _annotations(scene.masks, number, len(annotations))
    (target / ANNOTATIONS).write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": []}), encoding="utf-8"
    )


def _folders(parent: Path) -> list[str]:
    return [str(path) for path in sorted(parent.iterdir())] if parent.is_dir() else []
