"""What the benchmark scripts share: the machine, fair timing, memory of a fresh process, tables.

Machines are shared and noisy. So what is compared is measured in turn (A B A B ...), a ratio is the median of
the ratios within each turn, and memory is that of a process which has done nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

CHECKOUT = Path(__file__).parent.parent

Figures = dict[str, Any]
"""Whatever `json` can write."""


# the machine -------------------------------------------------------------------------------------------


def machine() -> Figures:
    """CPU, cores this process may use, torch and its threads, the commit, the date: the conditions of a figure."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "openmp_waits": os.environ.get("OMP_WAIT_POLICY", "default").lower(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine_line(facts: Mapping[str, Any]) -> str:
    """The line above a table."""
    device = f", {facts['gpu']}" if facts["gpu"] else ""
    return (
        f"{facts['cpu']} ({facts['instructions']}), {facts['cores']} cores, {facts['memory_gb']} GB{device}; "
        f"torch {facts['torch']}, {facts['threads']} threads, {facts['openmp_waits']} waits; "
        f"commit {facts['commit']}; {facts['date']}"
    )


def commit() -> str:
    """The checkout's commit, with a `+` when tracked files differ from it; `unknown` outside of a checkout."""
    try:
        name = _git("rev-parse", "--short=9", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


# time --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turns:
    """Wall seconds of every function in every turn; the first function is the one that others are compared with."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def quantile(self, name: str, share: float) -> float:
        """The smallest time that at least `share` of the turns did not exceed."""
        ordered = sorted(self.seconds[name])
        return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]

    def ratio(self, name: str, to: str | None = None) -> float:
        """How many times longer `name` took than `to` (default: the first): the median over the turns."""
        base = self.seconds[to or next(iter(self.seconds))]
        return median(mine / other for mine, other in zip(self.seconds[name], base, strict=True))


def alternate(functions: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> Turns:
    """Times the functions in turn, A B A B ...: a slow spell of the machine hits all of them alike.

    `warm_up` untimed turns come first: caches, lazy imports, thread pools.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-warm_up, repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return Turns(seconds)


# memory ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Child:
    """What a function did in a process of its own."""

    result: Any
    seconds: float
    """Wall time of the whole process, imports included; time what matters inside the function."""
    cpu_seconds: float
    peak_rss: int
    """Bytes, the highest the process ever held, imports and weights included."""


def in_fresh_process(function: Callable[..., Any], /, **arguments: Any) -> Child:
    """Calls a module's function in a new Python process; arguments and result go through JSON.

    Raises CalledProcessError when the process fails; what it printed went to our stderr.
    """
    module = function.__module__
    if module == "__main__":  # of `python -m benchmarks.NAME`
        module = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        order = {"module": module, "function": function.__qualname__, "arguments": arguments, "answer": str(answer)}
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from benchmarks.measure import serve; serve()"],
            cwd=CHECKOUT,
            input=json.dumps(order),
            text=True,
            stdout=sys.stderr,
            check=True,
        )
        seconds = time.perf_counter() - started
        return Child(seconds=seconds, **json.loads(answer.read_text()))


def serve() -> None:
    """The other end of `in_fresh_process`."""
    order = json.load(sys.stdin)
    function = getattr(importlib.import_module(order["module"]), order["function"])
    result = function(**order["arguments"])
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer = {
        "result": result,
        "cpu_seconds": sum(part.ru_utime + part.ru_stime for part in usage),
        "peak_rss": peak_rss(),
    }
    Path(order["answer"]).write_text(json.dumps(answer))


def peak_rss() -> int:
    """Bytes: the most this process has held since it began, or since `extra_memory` last began.

    On Linux from /proc: getrusage's figure may be that of the process that forked this one.
    """
    kilobytes = _status("VmHWM")
    if kilobytes is not None:
        return kilobytes << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def extra_memory(function: Callable[[], Any]) -> tuple[Any, int]:
    """The function's result, and the bytes that the process held at its peak beyond what it held before.

    Where the system can't reset the peak (elsewhere than on Linux), only growth beyond an earlier one counts.
    """
    before = rss() if reset_peak() else peak_rss()
    result = function()
    return result, max(0, peak_rss() - before)


def reset_peak() -> bool:
    """From now on `peak_rss` tells the highest since now; False where the system can't do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def rss() -> int:
    """Bytes that this process holds now; 0 where the system doesn't say."""
    return (_status("VmRSS") or 0) << 10


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)


# tables ------------------------------------------------------------------------------------------------


def parser(text: str | None) -> argparse.ArgumentParser:
    """With the option that every script has: `--json FILE`."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return made


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Markdown, aligned: one line a row, the columns of the first one; None is printed as `-`."""
    if not rows:
        return
    columns = list(rows[0])
    lines = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def report(facts: Figures, rows: Sequence[Mapping[str, object]], json_file: Path | None, **more: object) -> None:
    """Prints machine and table; with a file also writes {"machine", "rows", and whatever else is given}."""
    print(machine_line(facts) + "\n")
    print_table(rows)
    if json_file:
        json_file.write_text(json.dumps({"machine": facts, "rows": rows, **more}, indent=2) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    # Three figures that mean something; more would be noise.
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
