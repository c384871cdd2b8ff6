"""`dataengine simulate HOME`: stages 1 and 2 without people. Server, embedders, and annotators who know the truth."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import uvicorn
from rich.console import Console

from dataengine.annotations import ASSISTED_MANUAL, Store
from dataengine.annotator import ServerSettings, create_app
from dataengine.annotator.client import AnnotatorClient
from dataengine.annotator.crowd import Crowd
from dataengine.annotator.decoding import SamDecoder
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.annotator.outlining import Habits, Outline
from dataengine.annotator.simulated import JUDGE, SimulatedAnnotator, SimulatedReviewer, Work
from dataengine.errors import EngineError
from dataengine.home import Home
from dataengine.home.owner import Owner
from dataengine.home.units import committed
from dataengine.media.serving import HomeMedia
from schemas.annotations import Role
from stages.assisted_manual import ActorQueue
from workflows.annotate import WORKFLOW as ANNOTATE
from workflows.annotate import open_annotations
from workflows.ingest import WORKFLOW as INGEST
from workflows.ingest import rows_of
from workflows.progress import Bar
from workflows.ready_ahead import preparing, ready_ahead

START_SECONDS = 30.0


@dataclass
class SimulationSummary:
    """What the simulated people did, and what the store holds now."""

    people: list[Work] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Tasks by state."""
    left: int = 0
    kept: int = 0
    """Suggestions of stage 2 that were left as they are; `deleted` were not."""
    deleted: int = 0
    prepared: int = 0
    replaced: int = 0
    seconds: float = 0.0

    @property
    def outlines(self) -> list[Outline]:
        return [outline for work in self.people for outline in work.outlines]

    @property
    def images(self) -> int:
        return sum(work.images for work in self.people if not work.accepted and not work.rejected)

    def figures(self) -> dict[str, float]:
        """Means over objects that got a mask, unless the name says otherwise. Raises EngineError without any."""
        all_of_them = self.outlines
        made = [outline for outline in all_of_them if outline.mask is not None]
        if not made:
            raise EngineError("no mask was made")
        annotated = sum(work.images for work in self.people if work.outlines)
        judged = JUDGE * (self.kept + self.deleted)
        return {
            "images": annotated,
            "objects": len(all_of_them),
            "masks": len(made),
            "masks_per_image": (len(made) + self.kept) / annotated,
            "suggestions_kept": self.kept,
            "suggestions_deleted": self.deleted,
            "clicks_per_image": (sum(outline.clicks for outline in all_of_them) + self.deleted) / annotated,
            "person_seconds_per_image": (sum(outline.seconds for outline in all_of_them) + judged) / annotated,
            "given_up_share": 1 - len(made) / len(all_of_them),
            "clicks_per_mask": float(np.mean([outline.clicks for outline in made])),
            "strokes_per_mask": float(np.mean([outline.strokes for outline in made])),
            "unbrushed_share": float(np.mean([not outline.strokes for outline in made])),
            "person_seconds_per_mask": float(np.mean([outline.seconds for outline in made])),
            "reached_85_by_clicks": float(np.mean([outline.iou_clicked >= 0.85 for outline in all_of_them])),
            "reached_85": float(np.mean([outline.iou >= 0.85 for outline in all_of_them])),
            "iou": float(np.mean([outline.iou for outline in made])),
        }


def simulate(
    home: Home,
    data: Sequence[str],
    console: Console,
    *,
    annotators: int = 2,
    reviewers: int = 1,
    seed: int = 0,
    habits: Habits | None = None,
    decode_on: str = "page",
    max_masks: int = 30,
    stage: str = ASSISTED_MANUAL,
    until: Callable[[Store], bool] | None = None,
) -> SimulationSummary:
    """Fills the store from the catalog, serves it on this machine, and lets simulated people do all its tasks.

    `data`: labelled sources (COCO folders, shards) whose images' file names are those of the home. Once `until` says
    so they go home: annotators after the task in hand, reviewers when all that was submitted is reviewed. Until
    then annotators wait for reviewers who are behind: else they would do the next stage's images too. Raises
    EngineError when ingest has not run, ConfigError for a source that isn't one and for a stage that there isn't.
    """
    started = time.monotonic()
    truth = GroundTruth(data)
    if not committed(home.storage, INGEST):
        raise EngineError(f"ingest has not run yet; run it first: dataengine ingest {home.storage.url}")
    # As a server of the home, of which there is one: people and simulated people don't mix in one queue.
    with Owner(home.storage, ANNOTATE), contextlib.closing(open_annotations(home, stage)) as store:
        store.images.fill(rows_of(home), home.config.shards.short_side, home.config.annotate.overlap)
        ahead = ready_ahead(home, store)
        with serving(home, store) as url, preparing(home, ahead):
            make = _people(store, url, seed)
            people: list[SimulatedAnnotator | SimulatedReviewer] = [
                SimulatedAnnotator(
                    make(name, "annotator"), name, truth, habits, seed=seed, decode_on=decode_on, max_masks=max_masks
                )
                for name in (f"simulated-annotator-{number}" for number in range(1, annotators + 1))
            ]
            people += [
                SimulatedReviewer(make(name, "reviewer"), name, truth)
                for name in (f"simulated-reviewer-{number}" for number in range(1, reviewers + 1))
            ]

            def may_begin() -> bool:
                if until is None or not reviewers:
                    return True
                return not until(store) and store.queue.counts()["submitted"] < reviewers

            crowd = Crowd(people, may_begin=may_begin)
            total = sum(store.queue.counts().values())
            with Bar(console, "annotate", total) as bar:

                def look() -> None:
                    bar.update(_done(store.queue.counts()), _note(people))
                    if until is not None and until(store):
                        crowd.stop()

                crowd.run(look)
        return SimulationSummary(
            people=[person.work for person in people],
            counts=store.queue.counts(),
            left=crowd.left,
            kept=sum(person.work.kept for person in people),
            deleted=sum(person.work.deleted for person in people),
            prepared=ahead.prepared,
            replaced=ahead.replaced,
            seconds=time.monotonic() - started,
        )


@contextmanager
def serving(home: Home, store: Store) -> Iterator[str]:
    """The annotator's API on a free port of this machine, in a thread; yields its URL."""
    settings = ServerSettings(home=home.storage.url)
    media = HomeMedia(home, store.images)
    app = create_app(store, media, settings, queue=ActorQueue(store), decoder=SamDecoder())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, name="annotator", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise EngineError("the annotator's server didn't start")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _people(store: Store, url: str, seed: int) -> Callable[[str, Role], Callable[[Callable[[], str]], AnnotatorClient]]:
    known = {row["name"]: row["id"] for row in store.people.all()}

    def make(name: str, role: Role) -> Callable[[Callable[[], str]], AnnotatorClient]:
        # Nobody else can log in as them: the password is made anew for each run and never leaves this process.
        password = secrets.token_urlsafe(24)
        if name in known:
            store.people.change(known[name], by=known[name], password=password)
        else:
            store.people.add(name, role, password)
        return lambda mutation: AnnotatorClient(url, name, password, mutation)

    return make


def _done(counts: dict[str, int]) -> int:
    return counts["accepted"] + counts["skipped"] + counts["rejected"]


def _note(people: Sequence[SimulatedAnnotator | SimulatedReviewer]) -> str:
    outlines = [outline for person in people for outline in person.work.outlines]
    made = [outline for outline in outlines if outline.mask is not None]
    return f"{len(made)} masks, {sum(o.clicks for o in made) / len(made):.1f} clicks each" if made else ""
