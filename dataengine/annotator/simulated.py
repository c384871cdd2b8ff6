"""People who aren't there: annotators and reviewers that use the public HTTP API, and nothing else.

With them stages 1 and 2 run without people: for tests, for demos, and to measure clicks per mask. They know the
truth as a person does, by looking: nothing of it reaches the server but masks. The same seed draws the same masks,
whoever of them gets a task.
"""

from __future__ import annotations

import base64
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dataengine.annotator.client import AnnotatorClient, RefusedError
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.annotator.outlining import Decode, Habits, Outline, iou, outline
from dataengine.masks import decode, encode
from dataengine.media.decoding import DecoderSession
from schemas import RLE

COVERED = 0.6
"""IoU from which an object counts as done by a mask that is already there."""
ACCEPTABLE = 0.75
"""IoU with some true object from which a reviewer accepts a mask."""
ACCEPTABLE_SHARE = 0.8
"""Share of acceptable masks from which he accepts the image, without the others."""
JUDGE = 1.0
"""Seconds to look at a suggestion and to leave or delete it: a guess, as the prices in `outlining`."""
LOST = ("lease_lost", "stale_fence", "fence_old", "no_lease")
WRONG_BOUNDARY, NO_TRUTH = "wrong boundary", "other"


@dataclass
class Work:
    """What one simulated person did."""

    name: str
    images: int = 0
    skipped: int = 0
    lost: int = 0
    """Tasks whose lease had gone to somebody else."""
    accepted: int = 0
    rejected: int = 0
    kept: int = 0
    """Suggestions of stage 2 that he left as they are."""
    deleted: int = 0
    outlines: list[Outline] = field(default_factory=list)
    """One an object, the given-up ones too; their masks are dropped, only the figures stay."""


class _Person:
    def __init__(self, connect: Callable[[Callable[[], str]], AnnotatorClient], name: str, truth: GroundTruth) -> None:
        self._ids = random.Random(time.time_ns())
        self.client = connect(self._uuid)
        self.truth = truth
        self.work = Work(name)
        self._beat_at = time.monotonic()
        self.state: dict[str, Any] = {}
        self.holding = False
        """Whether he works on a task at this moment."""

    def start(self) -> None:
        """Logs in and gives back what an earlier run of this person still holds."""
        self.client.log_in()
        self.state = self.client.state()
        for task in self.client.mine():
            self.client.release(task)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    def _number(self, task: dict[str, Any]) -> None:
        """Ids follow from the lease: new ones under a new lease, whatever was sent under an older one."""
        self._ids = random.Random(f"{self.work.name} {task['id']} {task['lease']}")

    def _stay_alive(self, task: dict[str, Any]) -> None:
        if time.monotonic() - self._beat_at > float(self.state.get("heartbeat_seconds", 60)):
            self.client.heartbeat(task)
            self._beat_at = time.monotonic()


class SimulatedAnnotator(_Person):
    """Takes tasks of kind `annotate`, outlines what it sees, finishes.

    Args:
        connect: makes a client, given a source of mutation ids.
        decode_on: `page` decodes here, on the downloaded embedding and `decoder.onnx`, as the page does;
            `server` asks the server's fallback.
        max_masks: masks an image, with those that are there already; whoever leaves some objects says that the
            image isn't exhaustive.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[], str]], AnnotatorClient],
        name: str,
        truth: GroundTruth,
        habits: Habits | None = None,
        *,
        seed: int = 0,
        decode_on: str = "page",
        max_masks: int = 30,
    ) -> None:
        super().__init__(connect, name, truth)
        self._habits, self._seed, self._decode_on = habits or Habits(), seed, decode_on
        self._max_masks = max_masks
        self._decoder: tuple[str, DecoderSession] | None = None

    def one_task(self) -> dict[str, Any] | None:
        """Does one task; returns why there was none, or None when there was."""
        answer = self.client.claim("annotate")
        task = answer["task"]
        if task is None:
            return dict(answer["empty"])
        self._number(task)
        self._beat_at, self.holding = time.monotonic(), True
        try:
            self._annotate(task)
        except RefusedError as error:
            if error.status != 409:
                raise
            # Somebody else has the task now, or it is of another model: what was saved stays saved.
            self.work.lost += 1
            self._let_go(task)
        finally:
            self.holding = False
        return None

    def _annotate(self, task: dict[str, Any]) -> None:
        image = task["image"]
        frame = int(image["height"]), int(image["width"])
        objects = self.truth.objects(image["name"], frame)
        if not len(objects):
            reasons = list(self.state.get("skip_reasons", [])) or [NO_TRUTH]
            self.client.skip(task, NO_TRUTH if NO_TRUTH in reasons else reasons[-1], "nobody labelled this picture")
            self.work.skipped += 1
            return
        look = self._decoding(task, frame)
        if look is None:
            self._let_go(task)
            return
        there = self._look_at_masks(task, objects)
        given_up = 0
        todo, others = still_to_outline(objects, there, self._max_masks)
        for place, mask in enumerate(todo, start=len(there)):
            # Who draws it and when has no say: the same seed draws the same outlines.
            made = outline(mask, look, self._habits, random.Random(f"{self._seed} {image['name']} {place}"))
            if made.mask is None:
                given_up += 1
            else:
                self.client.save_mask(task, self._uuid(), 0, self._draft(made, place))
            self._remember(made)
            self._stay_alive(task)
        self.client.finish(task, exhaustive=not given_up and not others)
        self.work.images += 1

    def _look_at_masks(self, task: dict[str, Any], objects: np.ndarray) -> list[np.ndarray]:
        """Masks that are there already. Suggestions that he would not have saved himself are deleted.

        Locked or not: a suggestion is kept or deleted, never corrected. A careless person waves some through.
        """
        kept = []
        for mask in task["masks"]:
            pixels = decode(RLE.model_validate(mask["rle"]))
            if mask["source"] in ("prefill", "automatic"):
                good = max(iou(pixels, other) for other in objects) >= self._habits.keep_from
                draw = random.Random(f"{self._seed} {task['image']['name']} {mask['rle']['counts']}")
                if not good and draw.random() >= self._habits.careless:
                    self.client.delete_mask(task, mask["id"], mask["revision"], WRONG_BOUNDARY)
                    self.work.deleted += 1
                    continue
                self.work.kept += 1
            kept.append(pixels)
        return kept

    def _draft(self, made: Outline, place: int) -> dict[str, Any]:
        assert made.mask is not None and made.suggestion is not None
        suggested = made.suggestion.any()
        return {
            "rle": encode(made.mask)[0].model_dump(),
            "source": "assisted" if suggested else "brushed",
            "prompts": {"points": _points(made.points), "box": None, "clicks": made.clicks},
            "suggestion": encode(made.suggestion)[0].model_dump() if suggested else None,
            "predicted_iou": min(2.0, max(-1.0, made.predicted_iou)) if suggested else None,
            "model": self.state["model"]["id"],
            "active_ms": round(1000 * made.seconds),
            "prominence": place,
            "group": False,
        }

    def _remember(self, made: Outline) -> None:
        saved = made.mask is not None
        made.mask = np.ones((1, 1), bool) if saved else None
        made.suggestion = None
        self.work.outlines.append(made)

    def _let_go(self, task: dict[str, Any]) -> None:
        try:
            self.client.release(task)
        except RefusedError as error:
            if error.status != 409:
                raise

    # the model ---------------------------------------------------------------------------------------

    def _decoding(self, task: dict[str, Any], frame: tuple[int, int]) -> Decode | None:
        """What a click gives on this image; None when the model has changed since the task was made ready."""
        image = task["image"]
        model = self.state["model"]
        if model is None or model["encoder"] != image["encoder"]:
            self.state = self.client.state()
            model = self.state["model"]
        if model is None or model["encoder"] != image["encoder"]:
            return None
        if self._decoder is None or self._decoder[0] != model["id"]:
            self._decoder = model["id"], DecoderSession(self.client.download(model["decoder_url"]))
        session = self._decoder[1]
        embedding = self.client.download(image["embedding_url"]) if self._decode_on == "page" else b""

        def look(points: list[list[float]], logits: np.ndarray | None) -> Any:
            if self._decode_on == "page":
                answers, predicted = session.decode(embedding, frame, points, mask_input=logits)
            else:
                answers, predicted = self._ask_server(image["id"], session.side, points, logits)
            masks = [session.upsample(one, frame) > model["mask_threshold"] for one in answers]
            return masks, predicted, answers

        return look

    def _ask_server(
        self, image_id: int, side: int, points: list[list[float]], logits: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        before = None if logits is None else base64.b64encode(logits.astype("<f2").tobytes()).decode()
        answer = self.client.decode(image_id, {"points": _points(points), "box": None, "mask_input": before})
        values = np.frombuffer(base64.b64decode(answer["low_res_logits"]), "<f2").astype(np.float32)
        return values.reshape(4, side, side), np.asarray(answer["predicted_iou"], np.float32)


class SimulatedReviewer(_Person):
    """Takes tasks of kind `review` and compares their masks with the truth."""

    def one_task(self) -> dict[str, Any] | None:
        """Reviews one task; returns why there was none, or None when there was."""
        answer = self.client.claim("review")
        task = answer["task"]
        if task is None:
            return dict(answer["empty"])
        self._number(task)
        self.holding = True
        try:
            self._review(task)
        except RefusedError as error:
            if error.status != 409:
                raise
            self.work.lost += 1
        finally:
            self.holding = False
        return None

    def _review(self, task: dict[str, Any]) -> None:
        image = task["image"]
        objects = self.truth.objects(image["name"], (int(image["height"]), int(image["width"])))
        verdicts = []
        for mask in task["masks"]:
            pixels = decode(RLE.model_validate(mask["rle"]))
            good = max((iou(pixels, other) for other in objects), default=0.0) >= ACCEPTABLE
            verdicts.append(
                {
                    "id": mask["id"],
                    "verdict": "accept" if good else "reject",
                    "reason": None if good else WRONG_BOUNDARY,
                }
            )
        good_ones = sum(one["verdict"] == "accept" for one in verdicts)
        accept = good_ones >= ACCEPTABLE_SHARE * len(verdicts)
        self.client.review(
            task,
            {
                "verdict": "accept" if accept else "reject",
                "reason": None if accept else WRONG_BOUNDARY,
                "masks": verdicts,
            },
        )
        self.work.images += 1
        self.work.accepted += good_ones if accept else 0
        self.work.rejected += len(verdicts) - good_ones if accept else len(verdicts)


def still_to_outline(
    objects: np.ndarray, there: Sequence[np.ndarray], most: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Objects without a mask: those that get one, and those that are left because the image has `most` by then."""
    bare = [mask for mask in objects if not any(iou(mask, other) >= COVERED for other in there)]
    room = max(0, most - len(there))
    return bare[:room], bare[room:]


def _points(points: list[list[float]]) -> list[list[float]]:
    """Labels as whole numbers: they are a kind, not a quantity."""
    return [[x, y, int(label)] for x, y, label in points]
