"""Starting a local Ray or joining a cluster, and saying what it offers."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from dataengine.errors import EngineError
from dataengine.runtime import reaper

PASSIVE_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""OpenMP's threads spin at every barrier by default; one busy neighbour on a core made that ten times slower.
On a cluster, `ray start` sets the same (cluster.yaml)."""
GPU_SECONDS = 600.0
LOCAL_STORE_BYTES = 1 << 30
"""Object store of a local Ray: a few decoded images in flight (6000x8000 is 144 MB), not a dataset."""


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Joins the cluster at `address`, or starts a Ray on this machine that ends with the block (and with us).

    A session that is already running in this process is used and left running.
    Raises EngineError when the cluster can't be reached.
    """
    if ray.is_initialized():
        yield
        return
    # By inheritance and not as a runtime_env, which every worker would wait for.
    os.environ.update(PASSIVE_THREADS | os.environ)
    # Ray's own lines would tear the progress bar; errors still come through our outcomes.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    # Started first, so that a driver that is killed while Ray comes up leaves nothing either.
    farewell = _start_reaper() if not address else None
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_local_store_bytes(),
                runtime_env=quoted_python(),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        raise EngineError(f"can't {what}: {str(error).strip().splitlines()[0]}") from error
    try:
        yield
    finally:
        ray.shutdown()
        if farewell:
            farewell()


def _start_reaper() -> Callable[[], None]:
    """Starts `reaper.py` beside us; returns what says goodbye to it."""
    process = subprocess.Popen([sys.executable, reaper.__file__], stdin=subprocess.PIPE, start_new_session=True)

    def farewell() -> None:
        with contextlib.suppress(OSError):
            process.communicate(reaper.FAREWELL, timeout=10)

    return farewell


def gpu_count() -> int:
    """GPUs that the running Ray session knows."""
    return int(ray.cluster_resources().get("GPU", 0))


def gpu_kind() -> str:
    """Compute capability of the cluster's GPUs, such as `sm_90`, asked on a node that has one.

    Raises EngineError when no GPU gets free in time.
    """

    def ask() -> str:
        import torch

        major, minor = torch.cuda.get_device_capability()
        return f"sm_{major}{minor}"

    try:
        return str(ray.get(ray.remote(num_cpus=0, num_gpus=1)(ask).remote(), timeout=GPU_SECONDS))
    except ray.exceptions.GetTimeoutError as error:
        raise EngineError(f"waited {GPU_SECONDS:.0f} s for a free GPU; other work on the cluster holds them") from error


def cores() -> int:
    """CPU cores this process may use (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def node_is_alive(node_id: str) -> bool:
    """Whether the cluster counts this node (hex id) as alive; a dead one may be listed as alive for seconds."""
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


def quoted_python() -> dict[str, str] | None:
    """For a Python whose path has a space: Ray 2.60 hands it to a shell, unquoted, wherever there is a runtime_env.

    Ray Train always has one.
    """
    quoted = shlex.quote(sys.executable)
    return {"py_executable": quoted} if quoted != sys.executable else None


def _local_store_bytes() -> int:
    try:
        shm = os.statvfs("/dev/shm")
        free = shm.f_bavail * shm.f_frsize
    except OSError:
        return LOCAL_STORE_BYTES
    # Above what /dev/shm holds, Ray would fall back to the disk with a warning.
    return max(200 << 20, min(LOCAL_STORE_BYTES, int(free * 0.8)))
