"""Our mask decoder against segment-anything's: the same weights, 1024 points of one image, on the CPU.

    python -m benchmarks.decoder [--models nano vit_b] [--points 1024] [--shares 0.1 0.4 1] [--repeats 3]
                                 [--json FILE]

Each side runs as its automatic generator runs it: prompts are embedded, then decoded, the public code 64 at a
time and all their masks, ours in the batches of `preset: auto` and logits only for the share of prompts of
which a mask passed the filter of predicted IoU (which is known before any mask exists). Nothing is upsampled.

GFLOP is the arithmetic that a side really does (torch's FLOP counter: products and convolutions). `of peak` is
its rate as a share of the best product of two 2048 x 2048 float32 matrices in the same run. `extra MB` is what
a fresh process holds at its peak beyond weights and embedding. `differs by`: logits and predicted IoU of the
same prompts, largest difference over largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import alternate, extra_memory, in_fresh_process, machine, parser, report
from benchmarks.public import public_sam
from dataengine.automask.grids import point_grid
from dataengine.automask.presets import resolve_settings
from dataengine.automask.threads import BatchThreads
from dataengine.model import Sam, load_model
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from schemas.config import GenerateConfig

SHARES = (0.1, 0.4, 1.0)
"""Of the prompts whose masks are wanted. The public code makes all masks whatever passes."""
PUBLIC_BATCH = 64
PEAK_SIDE, PEAK_PRODUCTS = 2048, 8

Step = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Of one batch: predicted IoU (B, 3), the prompts that have masks, as indices (M,), their logits (M, 3, 4e, 4e)."""

Pass = Callable[[torch.Tensor, torch.Tensor], Iterator[Step]]
"""Embedding (1, 256, e, e) and points (N, 1, 2) of the input frame -> a step for every batch."""


def build(model: str) -> Sam:
    """`nano` with its trained weights, or the official models' sizes with random ones; no image encoder."""
    if model == "nano":
        sam, _ = load_model("nano")
        return Sam(
            nn.Identity(), sam.prompt_encoder, sam.mask_decoder, architecture="nano", resample=sam.resample
        ).eval()
    torch.manual_seed(0)
    return Sam(nn.Identity(), PromptEncoder(), MaskDecoder(), architecture=model, resample="bilinear").eval()


def image_and_points(sam: Sam, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An embedding (1, 256, e, e) and `count` grid points (count, 1, 2) of the input frame."""
    side = sam.embedding_size
    embedding = torch.randn(1, 256, side, side, generator=torch.Generator().manual_seed(1))
    per_side = int(count**0.5)
    if per_side**2 != count:
        raise SystemExit(f"--points {count}: a grid has a square number of points")
    return embedding, torch.from_numpy(point_grid(per_side) * sam.image_size)[:, None]


def our_pass(sam: Sam, share: float) -> Pass:
    """What the generator does between encoder and upsampling."""
    _, card = load_model("nano")
    batch = resolve_settings(GenerateConfig(), card, "cpu").points_per_batch

    def run(embedding: torch.Tensor, points: torch.Tensor) -> Iterator[Step]:
        dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        image = sam.mask_decoder.image_side(embedding, sam.prompt_encoder.dense_positions(), dense)

        @torch.inference_mode()
        def step(start: int) -> Step:
            part = points[start : start + batch]
            sparse, _ = sam.prompt_encoder(part, torch.ones(len(part), 1, dtype=torch.int64))
            decoded = sam.mask_decoder.decode_tokens(image, sparse)
            prompts = torch.arange(round(share * len(part)))
            chosen = torch.zeros(len(part), 4, dtype=torch.bool)
            chosen[prompts, 1:] = True
            logits = sam.mask_decoder.chosen_logits(decoded, chosen).unflatten(0, (-1, 3))
            return decoded.predicted_iou[:, 1:], start + prompts, logits

        with BatchThreads(embedding.device) as threads:
            yield from threads.map(step, range(0, len(points), batch))

    return run


def public_pass(public: Any) -> Pass:
    """What `SamPredictor.predict_torch` does before it upsamples."""

    def run(embedding: torch.Tensor, points: torch.Tensor) -> Iterator[Step]:
        for start in range(0, len(points), PUBLIC_BATCH):
            part = points[start : start + PUBLIC_BATCH]
            labels = torch.ones(len(part), 1, dtype=torch.int64)
            sparse, dense = public.prompt_encoder(points=(part, labels), boxes=None, masks=None)
            logits, iou = public.mask_decoder(
                image_embeddings=embedding,
                image_pe=public.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            yield iou, start + torch.arange(len(part)), logits

    return run


def the_pass(sam: Sam, side: str, share: float) -> Pass:
    if side != "public":
        return our_pass(sam, share)
    # Without gradients: torch's FLOP counter stumbles over them.
    return public_pass(public_sam(sam, nn.Identity()).requires_grad_(False))


def complete(run: Pass, embedding: torch.Tensor, prompts: torch.Tensor) -> None:
    """Runs a pass to its end and keeps nothing."""
    for _ in run(embedding, prompts):
        pass


@torch.inference_mode()
def memory(model: str, side: str, share: float, points: int, threads: int) -> int:
    """Bytes beyond weights and embedding at the peak of a pass; runs in a process of its own.

    Of two batches of the public code: more of them need no more.
    """
    torch.set_num_threads(threads)
    sam = build(model)
    run = the_pass(sam, side, share)
    embedding, prompts = image_and_points(sam, points)
    return extra_memory(lambda: complete(run, embedding, prompts[: 2 * PUBLIC_BATCH]))[1]


@torch.no_grad()
def gflop(run: Pass, embedding: torch.Tensor, prompts: torch.Tensor) -> float:
    """Of all prompts; counted for one and for two batches of the public code, since the rest is more of the same."""

    def counted(some: torch.Tensor) -> float:
        with FlopCounterMode(display=False) as counter:
            complete(run, embedding, some)
        return counter.get_total_flops() / 1e9

    if len(prompts) <= 2 * PUBLIC_BATCH:
        return counted(prompts)
    one, two = counted(prompts[:PUBLIC_BATCH]), counted(prompts[: 2 * PUBLIC_BATCH])
    return one + (two - one) * (len(prompts) / PUBLIC_BATCH - 1)


def difference(ours: Pass, public: Pass, embedding: torch.Tensor, prompts: torch.Tensor) -> float:
    """Of the first public batch's prompts: predicted IoU, and logits of those that have them on our side."""
    some = prompts[:PUBLIC_BATCH]
    mine, theirs = ([torch.cat(parts) for parts in zip(*run(embedding, some), strict=True)] for run in (ours, public))
    pairs = [(mine[0], theirs[0]), (mine[2], theirs[2][mine[1]])]
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def rows_of(model: str, points: int, wanted: list[float], repeats: int) -> list[dict[str, Any]]:
    """One row for the public code and one for each share."""
    sam = build(model).requires_grad_(False)
    embedding, prompts = image_and_points(sam, points)
    shares = {"public": 1.0} | {f"ours, masks of {share:.0%}": share for share in wanted}
    runs = {name: the_pass(sam, name, share) for name, share in shares.items()}
    square = torch.randn(PEAK_SIDE, PEAK_SIDE)
    functions: dict[str, Callable[[], object]] = {
        name: partial(complete, run, embedding, prompts) for name, run in runs.items()
    }
    functions["peak"] = lambda: [square @ square for _ in range(PEAK_PRODUCTS)]
    with torch.inference_mode():
        for run in runs.values():
            complete(run, embedding, prompts[:PUBLIC_BATCH])
        turns = alternate(functions, repeats, warm_up=0)
    peak = PEAK_PRODUCTS * 2 * PEAK_SIDE**3 / 1e9 / min(turns.seconds["peak"])
    rows = []
    for name, run in runs.items():
        work, seconds = gflop(run, embedding, prompts), turns.median(name)
        extra = in_fresh_process(
            memory, model=model, side=name, share=shares[name], points=points, threads=torch.get_num_threads()
        ).result
        with torch.inference_mode():
            differs = None if name == "public" else difference(run, runs["public"], embedding, prompts)
        rows.append(
            {
                "model": model,
                "decoder": name,
                "s": seconds,
                "times faster": 1 / turns.ratio(name),
                "GFLOP": work,
                "GFLOP/s": work / seconds,
                "of peak": work / seconds / peak,
                "peak GFLOP/s": peak,
                "extra MB": extra / 1e6,
                "differs by": differs,
            }
        )
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=["nano", "vit_b"], choices=("nano", "vit_b"))
    arguments.add_argument("--points", type=int, default=1024)
    arguments.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of prompts whose masks are made")
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()
    rows = [row for model in chosen.models for row in rows_of(model, chosen.points, chosen.shares, chosen.repeats)]
    report(machine(), rows, chosen.json, points=chosen.points)


if __name__ == "__main__":
    main()
