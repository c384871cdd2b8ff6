"""What a person waits for: encode a photo, then prompt, decode and post-process, for each model.

    python -m benchmarks.latency [--models nano mobile_sam sam_vit_b] [--size 1500x2250] [--repeats 20]
                                 [--seconds 60] [--device cpu] [--json FILE]

- encode: Pillow's resize, normalising, the image encoder; once a photo.
- prompt: the prompt encoder for one point, or one box.
- decode: the mask decoder, three masks of the point and one of the box.
- post: logits to the photo's size, threshold, copy to the host.

Steps are timed in turn, so a slow spell hits all of them; a model's turns end with `--repeats` or after
`--seconds`, but not before three. A model whose file isn't here gets random weights: the time is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Figures, Turns, alternate, machine, parser, report
from benchmarks.photos import photo
from dataengine.model import Sam, build_sam, load_model
from dataengine.model.checkpoints import known_checkpoints

ARCHITECTURES = {status.checkpoint.name: status.checkpoint.architecture for status in known_checkpoints()}
AT_LEAST = 3
PHOTO = "coffee.png"


def model_of(name: str, device: str) -> tuple[Sam, str]:
    """The model, and whether its weights are `real` or `random`."""
    here = {status.checkpoint.name: status.here for status in known_checkpoints()}
    if here[name]:
        return load_model(name, device)[0], "real"
    torch.manual_seed(0)
    return build_sam(ARCHITECTURES[name]).to(device), "random"


class Steps:
    """One photo and one prompt of each kind, cut into the steps that are timed."""

    def __init__(self, sam: Sam, pixels: np.ndarray) -> None:
        self.sam, self.pixels = sam, pixels
        self.size = pixels.shape[0], pixels.shape[1]
        side = float(sam.image_size)
        self.point = torch.tensor([[[0.4 * side, 0.3 * side]]], dtype=torch.float64, device=sam.device)
        self.label = torch.ones(1, 1, dtype=torch.int64, device=sam.device)
        self.box = torch.tensor([[0.2, 0.1, 0.6, 0.5]], dtype=torch.float64, device=sam.device) * side
        self.positions = sam.prompt_encoder.dense_positions()
        self.embedding = self.encode()
        self.prompted = {kind: self.prompt(kind) for kind in ("point", "box")}
        self.decoded = {kind: self.decode(kind) for kind in ("point", "box")}

    def encode(self) -> torch.Tensor:
        return self.sam.encode_images([self.pixels])

    def prompt(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        if kind == "point":
            return self.sam.prompt_encoder(self.point, self.label)
        return self.sam.prompt_encoder(boxes=self.box)

    def decode(self, kind: str) -> torch.Tensor:
        sparse, dense = self.prompted[kind]
        return self.sam.mask_decoder(self.embedding, self.positions, sparse, dense, kind == "point")[0]

    def post(self, kind: str) -> np.ndarray:
        full = self.sam.upsample(self.decoded[kind], self.sam.input_size(*self.size), self.size)
        return (full > self.sam.mask_threshold).cpu().numpy()

    def functions(self) -> dict[str, Callable[[], Any]]:
        """Each ends when its result is there, also on a GPU."""
        steps: dict[str, Callable[[], Any]] = {"encode": self.encode}
        for kind in ("point", "box"):
            steps[f"prompt, {kind}"] = partial(self.prompt, kind)
            steps[f"decode, {kind}"] = partial(self.decode, kind)
            steps[f"post, {kind}"] = partial(self.post, kind)
        if self.sam.device.type != "cuda":
            return steps

        def waited(step: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                step()
                torch.cuda.synchronize()

            return run

        return {name: waited(step) for name, step in steps.items()}


@torch.inference_mode()
def rows_of(name: str, size: tuple[int, int], repeats: int, seconds: float, device: str) -> list[Figures]:
    sam, weights = model_of(name, device)
    steps = Steps(sam, photo(PHOTO, *size)).functions()
    turns = Turns({step: [] for step in steps})
    began = time.perf_counter()
    while (done := len(turns.seconds["encode"])) < repeats:
        if done >= AT_LEAST and time.perf_counter() - began > seconds:
            break
        for step, took in alternate(steps, 1, warm_up=0 if done else 1).seconds.items():
            turns.seconds[step] += took
    return [
        {
            "model": name,
            "weights": weights,
            "step": step,
            "median ms": 1000 * turns.median(step),
            "p95 ms": 1000 * turns.quantile(step, 0.95),
            "turns": len(turns.seconds[step]),
        }
        for step in turns.seconds
    ]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=["nano", "mobile_sam", "sam_vit_b"], choices=ARCHITECTURES)
    arguments.add_argument("--size", default="1500x2250", help="height x width of the photo")
    arguments.add_argument("--repeats", type=int, default=20)
    arguments.add_argument("--seconds", type=float, default=60.0, help="of turns a model, about")
    arguments.add_argument("--device", default="cpu")
    chosen = arguments.parse_args()
    height, width = (int(side) for side in chosen.size.split("x"))
    rows = [
        row
        for name in chosen.models
        for row in rows_of(name, (height, width), chosen.repeats, chosen.seconds, chosen.device)
    ]
    report(machine(), rows, chosen.json, size=chosen.size, device=chosen.device)


if __name__ == "__main__":
    main()
