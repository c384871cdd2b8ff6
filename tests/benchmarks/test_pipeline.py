"""What `benchmarks.pipeline` books where."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.pipeline import CpuSamples

BUSY = "for ((i = 0; i < 400000; i++)); do :; done; exec -a ray::IDLE sleep 60"
"""A second's work, however long a crowded machine takes over it."""


@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("bash"), reason="/proc, and bash")
def test_an_actors_seconds_stay_its_own_when_its_process_is_called_something_else() -> None:
    samples = CpuSamples()
    samples.take()
    began = time.time()
    actor = subprocess.Popen(["ray::MaskGenerator", "-c", BUSY], executable=shutil.which("bash"))
    try:
        while not _title(actor.pid).startswith("ray::MaskGenerator"):
            time.sleep(0.01)
        samples.take()
        while not _title(actor.pid).startswith("ray::IDLE"):
            time.sleep(0.01)
        samples.take()
    finally:
        actor.kill()
        actor.wait()
    spent = samples.between(began - 1, time.time())
    assert spent["generator"] > 0.1 and spent["rest"] < spent["generator"]


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
