"""What chromium's trace says about the page's main thread."""

from __future__ import annotations

import json

TRACED = ["toplevel", "disabled-by-default-devtools.timeline"]


def main_thread_ms(trace: bytes) -> list[float]:
    """CPU time of every task of the page's main thread, ascending: what a busy machine doesn't stretch."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [event for event in events if event.get("name", "").endswith("RunTask") and event.get("ph") == "X"]
    return sorted(task.get("tdur", task["dur"]) / 1000 for task in tasks if (task["pid"], task["tid"]) in mains)
