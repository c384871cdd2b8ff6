"""A small world to try the store in: people, images, a clock that only moves when told."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np

from dataengine.annotations import Store
from dataengine.masks import encode
from schemas import RLE, Box, ImageRecord
from schemas.annotations import AnnotationModel, Claim, Held, LeaseKind, MaskDraft, Prompts, Review, User

WIDTH, HEIGHT = 60, 40
MODEL = AnnotationModel(id="nano-1", name="nano", encoder="enc-1", input_size=512, embedding_size=32, source="nano")
START = 1_790_000_000_000


class Clock:
    """The server's clock, in ms."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def new_id() -> str:
    return str(uuid.uuid4())


def catalog_rows(count: int, first: int = 1) -> list[ImageRecord]:
    face = Box(x0=10, y0=5, x1=20, y1=15, score=0.9, detector="test")
    return [
        ImageRecord(
            image_id=number,
            source="photos",
            path=f"folder/{number}.jpg",
            status="ok",
            sha256=f"{number:064x}",
            bytes=1,
            format="JPEG",
            width=WIDTH,
            height=HEIGHT,
            faces=[face] if number % 2 else [],
        )
        for number in range(first, first + count)
    ]


def square(x: int, y: int, side: int) -> RLE:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[y : y + side, x : x + side] = True
    return encode(pixels)[0]


def draft(x: int = 5, y: int = 5, side: int = 10, **changes: object) -> MaskDraft:
    values: dict[str, object] = {
        "rle": square(x, y, side),
        "source": "assisted",
        "prompts": Prompts(points=[(x + 1.0, y + 1.0, 1)], clicks=2),
        "predicted_iou": 0.9,
        "model": MODEL.id,
        "active_ms": 4000,
        "prominence": 0,
    }
    return MaskDraft.model_validate(values | changes)


@dataclass
class Hand:
    """A task in somebody's hand."""

    user: User
    task_id: int
    lease: str
    fence: int

    def held(self, mutation: str | None = None) -> Held:
        return Held(lease=self.lease, fence=self.fence, mutation=mutation or new_id())


@dataclass
class World:
    store: Store
    clock: Clock
    anna: User
    ben: User
    rita: User
    adam: User
    robot: User

    @classmethod
    def peopled(cls, store: Store, clock: Clock, images: int) -> World:
        people = store.people
        world = cls(
            store,
            clock,
            anna=people.add("anna", "annotator"),
            ben=people.add("ben", "annotator"),
            rita=people.add("rita", "reviewer"),
            adam=people.add("adam", "admin"),
            robot=people.add("robot", "service"),
        )
        store.images.promote(MODEL)
        store.images.fill(catalog_rows(images), short_side=1500)
        for number in range(1, images + 1):
            store.images.embedding_ready(number, MODEL.encoder)
        return world

    def try_claim(self, user: User, kind: LeaseKind = "annotate") -> Claim:
        return self.store.queue.claim(user, kind, new_id())

    def claim(self, user: User, kind: LeaseKind = "annotate") -> Hand:
        found = self.try_claim(user, kind)
        assert found.task_id is not None and found.lease is not None, found.empty
        return Hand(user, found.task_id, found.lease, found.fence)

    def save(self, hand: Hand, mask_id: str | None = None, base: int = 0, **changes: object) -> str:
        mask_id = mask_id or new_id()
        self.store.work.save_mask(hand.user, hand.task_id, mask_id, hand.held(), base, draft(**changes))  # type: ignore[arg-type]
        return mask_id

    def finish(self, hand: Hand) -> None:
        self.store.work.finish(hand.user, hand.task_id, hand.held(), exhaustive=True)

    def submitted(self, user: User, masks: int = 1) -> int:
        """A task that `user` has finished with this many masks."""
        hand = self.claim(user)
        for number in range(masks):
            self.save(hand, x=2 + 12 * number, prominence=number)
        self.finish(hand)
        return hand.task_id

    def review(self, hand: Hand, verdict: str, reason: str | None = None, **masks: str) -> dict[str, object]:
        judged = [{"id": mask_id, "verdict": one} for mask_id, one in masks.items()]
        content = Review.model_validate({"verdict": verdict, "reason": reason, "masks": judged})
        return self.store.reviews.give(hand.user, hand.task_id, hand.held(), content)
