"""Batches of prompts side by side on a CPU: one core a batch beats all cores on one batch.

The steps of a batch are many and small: shared out over cores one by one, half of the time goes into waiting
for each other. Here every thread takes whole batches, and torch uses one core inside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

from dataengine.model.memory import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchThreads:
    """As many threads as torch may use at the moment; `with BatchThreads(device) as threads: threads.map(...)`.

    On a GPU, or with a single thread, `map` is a plain loop. A function's result can't depend on the number
    of threads, because each call has one core, whatever it is.
    """

    def __init__(self, device: torch.device) -> None:
        threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        if device.type != "cpu":
            return
        keep_freed_memory()
        if threads == 1:
            return
        started = threading.Barrier(threads + 1)

        def begin() -> None:
            torch.get_num_threads()  # torch sets a new thread up when first asked, and would undo the next line
            torch.set_num_threads(1)  # of this thread, and of threads that begin after it
            started.wait()

        self._pool = ThreadPoolExecutor(threads, "batches", initializer=begin)
        for _ in range(threads):
            self._pool.submit(int)
        started.wait()
        torch.set_num_threads(threads)

    def __enter__(self) -> BatchThreads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Results in the order of the items. The first exception is raised; batches not yet begun are dropped."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))
