"""What the C library does with memory that torch frees."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory, for the whole process, instead of returning it at once.

    Each step of the decoder frees megabytes that the next one asks for again; fetched anew, page by page, they
    take a third of its time. Threads share one arena, if they share it from the start: called before the first of
    them, this saves some ten megabytes more. Does nothing where the C library isn't glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the highest that glibc takes
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_ARENA_MAX, 1)  # what one thread freed, any other may take
