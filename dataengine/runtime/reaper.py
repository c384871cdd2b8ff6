"""Ends what a killed driver leaves behind. Run as a script beside the driver; imports nothing of ours.

Ray's raylet dies with its driver, but its agents live on (tried on 2.60: for minutes). This process
remembers the driver's descendants and, when its standard input closes without a farewell, kills those
that are still there. Linux only (`/proc`); elsewhere it does nothing.
"""

from __future__ import annotations

import os
import select
import signal
import time

SNAPSHOT_SECONDS = 1.0
GRACE_SECONDS = 3.0
FAREWELL = b"q"


def processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent's pid, start time) of every living process."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:  # noqa: PTH123
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                found[int(name)] = (int(fields[1]), fields[19])
    return found


def descendants(root: int, table: dict[int, tuple[int, str]]) -> dict[int, str]:
    """pid -> start time of everything below `root`."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, queue = {}, [root]
    while queue:
        for child in children.get(queue.pop(), []):
            found[child] = table[child][1]
            queue.append(child)
    return found


def main() -> None:
    driver, me = os.getppid(), os.getpid()
    known: dict[int, str] = {}
    while True:
        readable, _, _ = select.select([0], [], [], SNAPSHOT_SECONDS)
        if readable:
            if os.read(0, 1) == FAREWELL:
                return
            break
        known.update(descendants(driver, processes()))
    time.sleep(GRACE_SECONDS)
    table = processes()
    for pid, started in known.items():
        if pid != me and pid in table and table[pid][1] == started:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__" and os.path.isdir("/proc/self"):  # noqa: PTH112
    main()
