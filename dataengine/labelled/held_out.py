"""The held-out side: which images measure models and are never trained on, decided once and for ever.

An image's side follows from a hash of its identity: the sha256 of its file, or the video sequence it is part of,
since frames of one video are near-copies. The same photo therefore lies on the same side in every set and in
the home's own shards, whatever it is called and whenever it arrives; a set that grows never moves an image.
On top of that, what earlier rounds held out or trained on keeps its side even when a set's `sequence` changes.

Barred from training are also near-copies of held-out images: resized, recompressed, mirrored, a little cropped
(`dataengine.catalog.likeness`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dataengine.catalog.likeness import Likenesses, perceptual_hash
from dataengine.errors import RejectedImageError
from dataengine.labelled.source import LabelledSource

SHARE = 0.1
"""Of every set. A constant, not a setting: another share would move images from one side to the other."""


@dataclass
class Ledger:
    """sha256s of images that were on one side in an earlier round, and the perceptual hashes of both, by sha256."""

    held_out: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)
    looks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Image name -> sha256 of its file."""

    training: dict[str, str]
    held_out: dict[str, str]


def is_held_out(identity: str) -> bool:
    """The side of an identity: the first 64 bits of its hash as a fraction, below `SHARE`."""
    digest = hashlib.sha256(f"held-out/{identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < SHARE * 2**64


def split(images: Mapping[str, str], sequence: str | None, ledger: Ledger) -> Split:
    """Divides a set. `images`: name -> sha256 of the file; `sequence`: see `schemas.config.TrainingSet`.

    Copies and near-copies of held-out images that hash to the other side are still in `training`: the
    caller bars them when the held-out sides of all sets are known.
    """
    sides: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for name, content in images.items():
        if content in ledger.held_out or content in ledger.trained:
            held_out = content in ledger.held_out
        else:
            held_out = is_held_out(_identity(name, content, sequence))
        sides[held_out][name] = content
    return Split(training=sides[False], held_out=sides[True])


def _identity(name: str, content: str, sequence: str | None) -> str:
    found = re.search(sequence, name) if sequence else None
    if found is None:
        return content
    return f"sequence/{found[1] if found.re.groups else found[0]}"


def strangers(images: Mapping[str, str], looks: Mapping[str, str], others: Likenesses) -> dict[str, str]:
    """The images, name -> sha256, that look like none of the others; `looks`: sha256 -> perceptual hash."""
    near = others.near([looks.get(content) for content in images.values()])
    return {name: content for (name, content), copy in zip(images.items(), near, strict=True) if not copy}


def look_of(source: LabelledSource, name: str) -> str:
    """An image's perceptual hash; empty when the image can't be used, and so is neither learnt from nor measured."""
    try:
        return perceptual_hash(source.read(name).pixels)
    except RejectedImageError:
        return ""
