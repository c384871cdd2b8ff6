"""What the C library does with memory that torch frees."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import cast

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT_BYTES, _LARGE_BYTES = 32 << 20, 5 << 20


def keep_freed_memory() -> None:
    """Let glibc keep up to 32 MB of freed memory, for the whole process, instead of returning it at once.

    Each step of the decoder frees megabytes that the next one asks for again; fetched anew, page by page, they
    take a third of its time. Larger pieces are an image encoder's: beside its work fetching them is nothing, and
    kept they would lie there in fragments. Threads share one arena, if they share it from the start: called
    before the first of them, this saves some ten megabytes more. Does nothing where the C library isn't glibc.
    """
    mallopt = _from_c("mallopt")
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_ARENA_MAX, 1)  # what one thread freed, any other may take


def return_freed_memory() -> None:
    """Give back what is free by now, holes between what is in use included: some milliseconds' work.

    After large steps that small ones follow; and now and then while threads decode, whose pieces never quite fit
    into the holes that they left, so that a process would grow by a megabyte every ten prompts of a ViT.
    """
    trim = _from_c("malloc_trim")
    if trim is not None:
        trim(0)


def _from_c(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it is another one than glibc."""
    try:
        return cast(Callable[..., int], getattr(ctypes.CDLL(None), name))
    except (OSError, AttributeError, TypeError):
        return None
