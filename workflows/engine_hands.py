"""Who annotates while the whole loop runs: people in the browser, or simulated ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

from dataengine.annotations import Store
from dataengine.annotator.crowd import IN_HAND, OPEN_STATES
from dataengine.annotator.outlining import Habits
from dataengine.home import Home
from dataengine.home.rounds import model_in_use, model_location
from dataengine.media.serving import HomeMedia
from workflows.annotate import annotating, open_annotations
from workflows.progress import Bar
from workflows.ready_ahead import preparing, ready_ahead
from workflows.simulate import simulate

LOOK_SECONDS = 2.0
Until = Callable[[Store], bool]


class Desk(Protocol):
    """A place where one stage's tasks are done."""

    def work(self, until: Until, total: int, done: Callable[[Store], int]) -> dict[str, float]:
        """Returns when `until` says so or no task is left for anybody; figures that only the workers know."""
        ...


class Hands(Protocol):
    """Opens desks."""

    @property
    def stays_open(self) -> bool:
        """Whether a desk stays open while the model is retrained: people go on."""
        ...

    def desk(self, home: Home, stage: str, console: Console) -> AbstractContextManager[Desk]: ...


@dataclass(frozen=True)
class People:
    """The annotation server, which stays up while rounds run; a promoted model reaches idle tasks by itself."""

    host: str = "127.0.0.1"
    port: int = 8080
    stays_open = True

    @contextmanager
    def desk(self, home: Home, stage: str, console: Console) -> Iterator[Desk]:
        with contextlib.closing(open_annotations(home, stage)) as store:
            storage, configured = home.storage, home.config.model
            ahead = ready_ahead(home, store, lambda: model_location(storage, model_in_use(storage, configured)))
            with annotating(
                home,
                store,
                HomeMedia(home, store.images),
                console,
                host=self.host,
                port=self.port,
                beside=preparing(home, ahead),
            ):
                yield _Waiting(store, stage, console)


@dataclass(frozen=True)
class _Waiting:
    store: Store
    stage: str
    console: Console

    def work(self, until: Until, total: int, done: Callable[[Store], int]) -> dict[str, float]:
        with Bar(self.console, self.stage, total, done=done(self.store), unit="accepted") as bar:
            while not until(self.store):
                counts = self.store.queue.counts()
                if not any(counts[state] for state in OPEN_STATES):
                    break
                bar.update(done(self.store), f"{counts['submitted'] + counts['in_review']} to review")
                time.sleep(LOOK_SECONDS)
        return {}


@dataclass(frozen=True)
class Simulated:
    """Annotators and reviewers who know the truth; `data`: labelled sets whose images are those of the home."""

    data: Sequence[str]
    annotators: int = 2
    reviewers: int = 1
    seed: int = 0
    habits: Habits | None = None
    max_masks: int = 30
    """Objects an image."""
    stays_open = False

    @contextmanager
    def desk(self, home: Home, stage: str, console: Console) -> Iterator[Desk]:
        yield _Simulating(self, home, stage, console)


@dataclass(frozen=True)
class _Simulating:
    who: Simulated
    home: Home
    stage: str
    console: Console

    def work(self, until: Until, total: int, done: Callable[[Store], int]) -> dict[str, float]:
        who, storage = self.who, self.home.storage
        with contextlib.closing(open_annotations(self.home, self.stage)) as store:
            counts = store.queue.counts()
            if until(store) and not any(counts[state] for state in IN_HAND):
                return {}
        config = self.home.config.model_copy(update={"model": model_in_use(storage, self.home.config.model)})
        summary = simulate(
            Home(storage, config),
            who.data,
            self.console,
            annotators=who.annotators,
            reviewers=who.reviewers,
            seed=who.seed,
            habits=who.habits,
            max_masks=who.max_masks,
            stage=self.stage,
            until=until,
        )
        if not any(outline.mask is not None for outline in summary.outlines):
            return {}
        figures = summary.figures()
        # A simulated person's seconds are those of a person, by prices of actions, not the server's clock.
        return {
            "seconds_per_mask": figures["person_seconds_per_mask"],
            "clicks_per_mask": figures["clicks_per_mask"],
        }
