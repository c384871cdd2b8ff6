"""Freed memory stays for the next step, and goes when told to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PIECES = r'''
import ctypes, json
from pathlib import Path
from dataengine.model import load_model
from dataengine.model.memory import return_freed_memory

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8  # pages of 4 KiB -> MB

def freed(size, count):
    """MB held with all pieces, and with all but the last freed: that one keeps the heap's end in use."""
    before = held()
    pieces = [libc.malloc(size) for _ in range(count)]
    for piece in pieces:
        ctypes.memset(piece, 1, size)
    full = held()
    for piece in pieces[:-1]:
        libc.free(piece)
    return full - before, held() - before

load_model("nano")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
return_freed_memory()
libc.free(libc.malloc(24 << 20))  # left alone, the library would from now on keep pieces of that size too
large = freed(12 << 20, 20)
before = held()
small = freed(1 << 20, 200)
return_freed_memory()
print(json.dumps([*small, held() - before, *large]))
'''
"""In a process of its own: what the settings of earlier tests left would decide."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator, and /proc")
def test_a_decoders_pieces_stay_after_loading_a_model_until_they_are_returned() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    full, kept, returned, large, large_kept = json.loads(done.stdout)
    assert full > 190 and kept > 190 and returned < 30, (full, kept, returned)
    # An image encoder's go at once.
    assert large > 190 and large_kept < 30, (large, large_kept)
