"""The held-out side: which images measure models and are never trained on, decided once and for ever.

An image's side follows from a hash of its identity: the sha256 of its file, or the video sequence it is part of,
since frames of one video are near-copies. The same photo therefore lies on the same side in every set and in
the home's own shards, whatever it is called and whenever it arrives; a set that grows never moves an image.
On top of that, what earlier rounds held out or trained on keeps its side even when a set's `sequence` changes.

Barred from training are exact copies (sha256). The catalog has no perceptual hash, so a resized or recompressed
copy of a held-out image isn't recognised.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SHARE = 0.1
"""Of every set. A constant, not a setting: another share would move images from one side to the other."""


@dataclass
class Ledger:
    """sha256s of images that were on one side in an earlier round."""

    held_out: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)


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

    A copy of a held-out image in another sequence, which is trained on, is still in `training`: the
    caller bars it when the held-out sides of all sets are known.
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
