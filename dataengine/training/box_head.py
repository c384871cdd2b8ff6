"""Trains the box head of stage 2 on the boxes of a labelled set's masks.

The encoder is frozen, so each image is embedded once and the loop runs over embeddings in memory (256 x e x e
float16: half a megabyte an image for nano): seconds to minutes on a CPU. FCOS's losses: focal for objectness, with
centre sampling, and GIoU for the sides. Every draw follows from seed and step (`seeds.py`), so that the same
set gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional

from dataengine.detection.box_head import BoxHead, cell_centres
from dataengine.labelled import LabelledImage
from dataengine.masks import box_of_mask, decode
from dataengine.media.encoder import embed
from dataengine.model.sam import Sam
from dataengine.training.seeds import generator_of, seed_of


@dataclass(frozen=True)
class BoxHeadSettings:
    """`centre`: radius, in cells, around an object's middle within which cells answer for it."""

    steps: int = 1000
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    centre: float = 1.5
    seed: int = 0
    width: int = 96
    """Channels of the head."""
    min_side: float = 0.02
    """Boxes with a side below this share of the square are not asked for: less than a cell."""

    def facts(self) -> dict[str, float]:
        return dict(asdict(self))


@dataclass(frozen=True)
class Example:
    """Embedding float16 (256, e, e), and its objects' boxes, float32 (N, 4) XYXY as shares of the square."""

    embedding: torch.Tensor
    boxes: torch.Tensor


def example_of(sam: Sam, image: LabelledImage) -> Example:
    """Embeds the image as stage 2 does; boxes enclose the masks' pixels."""
    height, width = image.pixels.shape[:2]
    side = sam.embedding_size
    data = np.frombuffer(embed(sam, image.pixels, (height, width)), "<f2").reshape(-1, side, side)
    outlines = (box_of_mask(decode(mask.rle)) for mask in image.masks)
    boxes = [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in (box for box in outlines if box is not None)]
    scaled = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) / max(height, width)
    return Example(torch.from_numpy(data.copy()), scaled)


def train_box_head(
    examples: Iterable[Example],
    settings: BoxHeadSettings | None = None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> BoxHead:
    """A head trained from fresh weights; `report` is told step and loss. ValueError without an example."""
    settings = settings or BoxHeadSettings()
    listed = list(examples)
    if not listed:
        raise ValueError("a box head needs at least one labelled image")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("box head", settings.seed))
        head = BoxHead(listed[0].embedding.shape[0], settings.width)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    answers = [_answers(one, settings) for one in listed]
    for step in range(settings.steps):
        draw = generator_of("box head", settings.seed, step)
        chosen = torch.randint(len(listed), (settings.batch,), generator=draw).tolist()
        flips = (torch.rand(settings.batch, generator=draw) < 0.5).tolist()
        batch = [
            _flipped(listed[i].embedding, *answers[i]) if flip else (listed[i].embedding, *answers[i])
            for i, flip in zip(chosen, flips, strict=True)
        ]
        loss = _loss(head, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        report(step, float(loss.detach()))
    return head.eval()


def _answers(example: Example, settings: BoxHeadSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Which cells lie in an object's middle, bool (e, e), and whose box each gives, (4, e, e).

    Of several objects the smallest has the cell (FCOS).
    """
    side = example.embedding.shape[-1]
    x, y = cell_centres(side)
    positive = torch.zeros(side, side, dtype=torch.bool)
    target = torch.zeros(4, side, side)
    sizes = example.boxes[:, 2:] - example.boxes[:, :2]
    order = sizes.prod(dim=1).argsort(descending=True, stable=True).tolist()
    for index in order:
        if float(sizes[index].min()) < settings.min_side:
            continue
        x0, y0, x1, y1 = example.boxes[index]
        middle_x, middle_y, reach = (x0 + x1) / 2, (y0 + y1) / 2, settings.centre / side
        near = ((x - middle_x).abs() <= reach) & ((y - middle_y).abs() <= reach)
        inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        own = near & inside
        if not own.any():
            # Smaller than a cell's spacing: the nearest cell answers.
            own.view(-1)[((x - middle_x) ** 2 + (y - middle_y) ** 2).argmin()] = True
        positive |= own
        target[:, own] = example.boxes[index][:, None]
    return positive, target


def _flipped(
    embedding: torch.Tensor, positive: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Left and right exchanged. An encoder's features are only nearly symmetric; nearly is what is wanted."""
    mirrored = target.flip(-1)
    turned = torch.stack([1 - mirrored[2], mirrored[1], 1 - mirrored[0], mirrored[3]])
    return embedding.flip(-1), positive.flip(-1), turned


def _loss(head: BoxHead, batch: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    embeddings = torch.stack([one[0] for one in batch]).float()
    positive = torch.stack([one[1] for one in batch])
    target = torch.stack([one[2] for one in batch])
    logits, boxes = head(embeddings)
    count = positive.sum().clamp(min=1)
    wanted = positive.float()
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    right = torch.exp(-cross)
    weight = torch.where(positive, 0.25, 0.75)
    focal = (weight * (1 - right) ** 2 * cross).sum() / count
    where = positive.nonzero(as_tuple=True)
    mine, theirs = (side.permute(0, 2, 3, 1)[where] for side in (boxes, target))
    return focal + (1 - giou(mine, theirs)).sum() / count


def giou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Generalised IoU (Rezatofighi et al. 2019) of paired boxes (N, 4) XYXY -> (N,)."""
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (first, second)]
    union = (areas[0] + areas[1] - common).clamp(min=1e-9)
    around = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    hull = around.prod(dim=1).clamp(min=1e-9)
    return common / union - (hull - union) / hull
