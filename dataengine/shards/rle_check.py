"""Run lengths of many COCO RLEs at once, checked.

pycocotools believes what it is given: counts that don't add up make `decode` read and write past its
buffers. So a file that may be damaged is taken apart here first, in numpy, and only well-formed masks go
on to C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_FIRST, _LAST = 48, 111
"""COCO writes six bits a character, from `0` (48) to `o` (111): five of the number, one that says "more"."""
_MORE, _SIGN, _BITS = 0x20, 0x10, 5
_LONGEST = 7
"""Characters of one number: 35 bits hold any 32-bit difference."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Run lengths of N masks, one after another.

    Attributes:
        lengths: int64 [R], background and foreground in turn, background first in each mask.
        first: int64 [N + 1]; mask i owns `lengths[first[i]:first[i + 1]]`. Empty for a faulty one.
        faults: what is wrong with a mask's counts; None for a well-formed mask.
    """

    lengths: Ints
    first: Ints
    faults: list[str | None]


def parse_runs(counts: Sequence[str], pixels: int) -> Runs:
    """Takes apart the `counts` strings of masks that all have `pixels` = height * width pixels.

    A mask is well formed when its characters are COCO's, its numbers end, no run is negative and the runs
    add up to `pixels`.
    """
    raw = [text.encode("utf-8") for text in counts]
    parsed = [_differences(data) for data in raw]
    faults: list[str | None] = [fault for _, fault in parsed]
    lengths: list[Ints] = []
    for index, (differences, fault) in enumerate(parsed):
        runs = _undo_differences(differences)
        if fault is None:
            faults[index] = _fault_of(runs, pixels)
        lengths.append(runs if faults[index] is None else runs[:0])
    first = np.zeros(len(raw) + 1, np.int64)
    np.cumsum([len(runs) for runs in lengths], out=first[1:])
    return Runs(np.concatenate(lengths) if lengths else np.zeros(0, np.int64), first, faults)


def _fault_of(runs: Ints, pixels: int) -> str | None:
    if (runs < 0).any():
        return "RLE has a negative run"
    total = int(runs.sum())
    if total != pixels:
        return f"RLE covers {total} of {pixels} pixels"
    return None


def _differences(data: bytes) -> tuple[Ints, str | None]:
    """The numbers of one string, as stored; with the reason when they can't be read."""
    nothing = np.zeros(0, np.int64)
    if not data:
        return nothing, "RLE is empty"
    codes = np.frombuffer(data, np.uint8).astype(np.int64)
    if codes.min() < _FIRST or codes.max() > _LAST:
        return nothing, "RLE has characters that COCO's code doesn't"
    codes -= _FIRST
    last = np.flatnonzero(codes & _MORE == 0)
    if len(last) == 0 or last[-1] != len(codes) - 1:
        return nothing, "RLE ends inside a number"
    start = np.concatenate([[0], last[:-1] + 1])
    sizes = last - start + 1
    if sizes.max() > _LONGEST:
        return nothing, "RLE has a number that is too long"
    place = np.arange(len(codes)) - np.repeat(start, sizes)
    values = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), start)
    # The sign bit of the last character extends over all higher bits.
    values -= np.where(codes[last] & _SIGN, np.int64(1) << (_BITS * sizes), 0)
    return values, None


def _undo_differences(values: Ints) -> Ints:
    """From the fourth number on, COCO stores the difference to the run two before."""
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    if len(runs) > 2:
        # The first run (background) takes no part: run 2 is the first of its kind that is stored whole.
        runs[2::2] = np.cumsum(values[2::2])
    return runs
