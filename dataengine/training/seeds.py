"""Random states by number instead of by history: what step 700 draws depends on 700, not on the 699 before it.

That is what makes a resumed run exact: there is no generator state to save, and none to lose.
"""

from __future__ import annotations

import hashlib

import torch


def seed_of(*numbers: int | str) -> int:
    """A seed of 63 bits from any numbers and words, e.g. ("step", seed, worker, step)."""
    text = "/".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator_of(*numbers: int | str) -> torch.Generator:
    """A fresh CPU generator with that seed."""
    return torch.Generator().manual_seed(seed_of(*numbers))
