"""A pool of replaceable Ray actors with bounded flight, which knows whose fault a death was.

An actor runs its calls one after another, so when it dies the first unanswered call is the one that it
was running. The item of that call is blamed, the ones behind it are innocent and go back to the front of
the queue. A dead actor is replaced, never reused (`reference/ray.md`, defects of the trial).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from dataengine.errors import EngineError
from dataengine.runtime.cluster import node_is_alive

T = TypeVar("T")

SETUP_SECONDS = 600.0
SETUP_FAILURES = 3
INFRASTRUCTURE_DEATHS = 5
TICK_SECONDS = 0.5


@dataclass
class Outcome(Generic[T]):
    """How one item ended: a value, or the reason why there is none.

    `died` tells apart an item that kills its worker from one that only raised an exception.
    """

    item: T
    value: Any = None
    error: str | None = None
    died: bool = False


@dataclass
class _Job(Generic[T]):
    item: T
    deaths: int = 0
    infrastructure_deaths: int = 0
    exceptions: int = 0

    @property
    def alone(self) -> bool:
        return self.deaths >= 2


@dataclass
class _Member(Generic[T]):
    handle: Any
    ready: Any
    created: float = field(default_factory=time.monotonic)
    node: str | None = None
    calls: deque[tuple[Any, _Job[T]]] = field(default_factory=deque)

    @property
    def taken_alone(self) -> bool:
        return any(job.alone for _, job in self.calls)


class ActorPool(Generic[T]):
    """`size` actors made by `create`, each with at most `depth` calls in flight.

    An actor class must have `ready() -> str`, which answers with its node id once it can work.
    `max_deaths`: an item whose worker dies this often on a live node is given up (the last try is alone
    on its actor). `max_exceptions`: an item that raises this often is given up.
    """

    def __init__(
        self,
        create: Callable[[], Any],
        size: int,
        *,
        depth: int = 2,
        max_deaths: int = 3,
        max_exceptions: int = 2,
        needs: str = "an actor",
    ) -> None:
        self._create, self.size, self.depth = create, size, depth
        self._max_deaths, self._max_exceptions, self._needs = max_deaths, max_exceptions, needs
        self._members: list[_Member[T]] = []
        self._setup_failures = 0
        self.replaced = 0

    def handles(self) -> list[Any]:
        """Handles of the members that work now."""
        return [member.handle for member in self._members if member.node]

    def close(self) -> None:
        for member in self._members:
            ray.kill(member.handle)
        self._members.clear()

    def run(
        self,
        items: Iterable[T],
        call: Callable[[Any, T, int], Any],
        on_tick: Callable[[], None] = lambda: None,
    ) -> Iterator[Outcome[T]]:
        """Calls `call(handle, item, deaths so far) -> ObjectRef` for every item; yields outcomes as they end.

        `items` is pulled only when a call is free to go, so it can be a stream. `on_tick` runs between
        waits, at least every half second while the pool is waiting. Raises EngineError when the actors
        can't be started at all.
        """
        source = iter(items)
        waiting: deque[_Job[T]] = deque()
        exhausted = False
        while True:
            self._fill_members()
            for member in self._by_load():
                while (job := self._next_for(member, waiting)) is not None or not exhausted:
                    if job is None:
                        if not self._has_room(member):
                            break
                        item = next(source, _END)
                        if item is _END:
                            exhausted = True
                            break
                        job = _Job(item)
                    member.calls.append((call(member.handle, job.item, job.deaths), job))
            if exhausted and not waiting and not any(member.calls for member in self._members):
                return
            yield from self._collect(waiting)
            on_tick()

    # members -----------------------------------------------------------------------------------------

    def _fill_members(self) -> None:
        while len(self._members) < self.size:
            handle = self._create()
            self._members.append(_Member(handle, handle.ready.remote()))

    def _by_load(self) -> list[_Member[T]]:
        return sorted((m for m in self._members if m.node), key=lambda member: len(member.calls))

    def _has_room(self, member: _Member[T]) -> bool:
        return len(member.calls) < self.depth and not member.taken_alone

    def _next_for(self, member: _Member[T], waiting: deque[_Job[T]]) -> _Job[T] | None:
        for index, job in enumerate(waiting):
            if (not member.calls) if job.alone else self._has_room(member):
                del waiting[index]
                return job
        return None

    def _collect(self, waiting: deque[_Job[T]]) -> Iterator[Outcome[T]]:
        refs = [m.ready for m in self._members if not m.node] + [r for m in self._members for r, _ in m.calls]
        done, _ = ray.wait(refs, num_returns=1, timeout=TICK_SECONDS)
        for member in list(self._members):
            if not member.node:
                self._check_setup(member, done)
            elif any(ref in done for ref, _ in member.calls):
                yield from self._answers(member, waiting)

    def _check_setup(self, member: _Member[T], done: list[Any]) -> None:
        if member.ready in done:
            try:
                member.node = ray.get(member.ready)
                self._setup_failures = 0
            except RayError as error:
                self._members.remove(member)
                self._setup_failures += 1
                if self._setup_failures >= SETUP_FAILURES:
                    raise EngineError(f"{self._needs} can't start: {_one_line(error)}") from error
        elif time.monotonic() - member.created > SETUP_SECONDS and not self.handles():
            offered = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU", "memory")}
            raise EngineError(
                f"waited {SETUP_SECONDS:.0f} s for {self._needs}; the cluster offers {offered}: "
                "free some, or ask for fewer with --set ray.generators=N"
            )

    # answers -----------------------------------------------------------------------------------------

    def _answers(self, member: _Member[T], waiting: deque[_Job[T]]) -> Iterator[Outcome[T]]:
        """Takes what is answered from the front of one actor's queue; handles its death."""
        while member.calls:
            ref, job = member.calls[0]
            ready, _ = ray.wait([ref], timeout=0)
            if not ready:
                return
            try:
                value = ray.get(ref)
            except (RayActorError, ActorUnavailableError, ActorDiedError, OutOfMemoryError) as error:
                yield from self._bury(member, error, waiting)
                return
            except (RayTaskError, ObjectLostError) as error:
                member.calls.popleft()
                yield from self._excuse(job, error, waiting)
            else:
                member.calls.popleft()
                yield Outcome(job.item, value)

    def _excuse(self, job: _Job[T], error: RayError, waiting: deque[_Job[T]]) -> Iterator[Outcome[T]]:
        cause = getattr(error, "cause", None)
        job.exceptions += 1
        if job.exceptions < self._max_exceptions and not isinstance(cause, EngineError):
            waiting.appendleft(job)
        else:
            yield Outcome(job.item, error=_one_line(cause or error))

    def _bury(self, member: _Member[T], error: RayError, waiting: deque[_Job[T]]) -> Iterator[Outcome[T]]:
        self._members.remove(member)
        self.replaced += 1
        # An unreachable actor may still run: it must not go on beside its successor.
        ray.kill(member.handle)
        blamed, innocent = member.calls[0][1], [job for _, job in list(member.calls)[1:]]
        out_of_memory = isinstance(error, OutOfMemoryError) or _LOW_MEMORY in str(error)
        if out_of_memory or not node_is_alive(member.node or ""):
            blamed.infrastructure_deaths += 1
        else:
            blamed.deaths += 1
        waiting.extendleft(reversed(innocent))
        if blamed.deaths >= self._max_deaths:
            reason = f"its worker died {blamed.deaths} times, the last time with nothing else in hand"
            yield Outcome(blamed.item, error=reason, died=True)
        elif blamed.infrastructure_deaths >= INFRASTRUCTURE_DEATHS:
            what = "ran out of memory" if out_of_memory else "was lost with its node"
            reason = f"its worker {what} {blamed.infrastructure_deaths} times"
            yield Outcome(blamed.item, error=reason, died=True)
        else:
            waiting.appendleft(blamed)


_END: Any = object()
_LOW_MEMORY = "running low on memory"
"""Ray's memory monitor in a death's message; every other death's message also speaks of memory, as a guess."""


def _one_line(error: BaseException) -> str:
    """The last line that says something: Ray's messages carry a whole traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if isinstance(error, EngineError | RayError) else f"{type(error).__name__}: {text}"
