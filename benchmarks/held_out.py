"""The images of a labelled folder that no round trains on."""

from __future__ import annotations

from pathlib import Path

from dataengine.labelled import LabelledImage, fixed_subset, open_labelled
from dataengine.labelled.held_out import Ledger, split


def held_out(folder: Path, images: int | None) -> list[LabelledImage]:
    """Of a new home's first round; at most so many of them, always the same ones."""
    source = open_labelled(str(folder))
    contents = {name: source.content_hash(name) for name in source.names}
    return [source.read(name) for name in fixed_subset(list(split(contents, None, Ledger()).held_out), images)]
