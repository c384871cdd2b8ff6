"""One owner per (home, workflow). A second one is refused and told who holds it; a dead one is taken over.

Each take-over is a new epoch: a file `owners/<epoch>.json` that only one driver can create. The highest
epoch owns; whoever finds a higher one than its own stops before it touches a final name (the fence).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage

HEARTBEAT_SECONDS = 15.0
DEAD_AFTER_SECONDS = 90.0
"""Silence after which an owner on another machine counts as dead; on this machine the process itself is asked."""


class FencedError(EngineError):
    """Another driver has taken this workflow over."""


class Owner:
    """Holds a workflow of a home while the `with` block runs, with a heartbeat in a thread."""

    def __init__(self, storage: Storage, workflow: str) -> None:
        self._storage, self._workflow = storage, workflow
        self._stop = threading.Event()
        self.epoch = self._acquire()
        self._thread = threading.Thread(target=self._beat, name=f"owner-{workflow}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Owner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(OSError):
            self._write(released=True)

    def check(self) -> None:
        """Raises FencedError when this owner is no longer the newest."""
        newest = max(_epochs(self._storage, self._workflow), default=0)
        if newest != self.epoch:
            raise FencedError(
                f"{self._workflow} of {self._storage.url} was taken over by another run (epoch {newest}); "
                "this one stops"
            )

    def _acquire(self) -> int:
        epochs = _epochs(self._storage, self._workflow)
        newest = max(epochs, default=0)
        if newest:
            holder = _read(self._storage, self._workflow, newest)
            if _alive(holder):
                raise EngineError(
                    f"{self._workflow} of {self._storage.url} is already run by process {holder['pid']} on "
                    f"{holder['host']} since {holder['since']}; wait for it or stop it"
                )
        epoch = newest + 1
        self._since = time.strftime("%Y-%m-%d %H:%M:%S")
        if not self._storage.create(self._path(epoch), self._payload(released=False)):
            raise EngineError(f"{self._workflow} of {self._storage.url} was just started by another run; wait for it")
        for old in epochs:
            if old < newest:  # The previous epoch stays readable for whoever is fenced out.
                self._storage.remove(self._path(old))
        return epoch

    def _path(self, epoch: int) -> str:
        return f"{layout.owners(self._workflow)}/{epoch:06d}.json"

    def _payload(self, *, released: bool) -> bytes:
        owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _process_start(os.getpid()),
            "since": self._since,
            "heartbeat": time.time(),
            "released": released,
        }
        return json.dumps(owner).encode()

    def _write(self, *, released: bool) -> None:
        self._storage.write(self._path(self.epoch), self._payload(released=released))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            # A missed beat is not a failure: the next one, or the fence, decides.
            with contextlib.suppress(Exception):
                self._write(released=False)


def current_owner(storage: Storage, workflow: str) -> dict[str, Any] | None:
    """Who runs this workflow now, for `status`; None when nobody does."""
    newest = max(_epochs(storage, workflow), default=0)
    holder = _read(storage, workflow, newest) if newest else None
    return holder if holder and _alive(holder) else None


def _epochs(storage: Storage, workflow: str) -> list[int]:
    names = storage.list(layout.owners(workflow))
    return [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()]


def _read(storage: Storage, workflow: str, epoch: int) -> dict[str, Any]:
    holder: dict[str, Any] = json.loads(storage.read(f"{layout.owners(workflow)}/{epoch:06d}.json"))
    return holder


def _alive(holder: dict[str, Any]) -> bool:
    if holder["released"]:
        return False
    if holder["host"] == socket.gethostname():
        # A start time guards against the number having gone to another process.
        return _process_start(holder["pid"]) == holder["started"]
    return time.time() - float(holder["heartbeat"]) < DEAD_AFTER_SECONDS


def _process_start(pid: int) -> str | None:
    """Start time of a process as the kernel tells it; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        if os.path.isdir("/proc/self"):  # noqa: PTH112
            return None
        try:  # no /proc (macOS): existence is all that can be asked for
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "unknown"
    return None if fields[0] == "Z" else fields[19]
