"""The browser's decoder in onnxruntime, as float32 and as uint8: size, time of a prompt, and what rounding changes.

    python -m benchmarks.exported [--prompts 25] [--json FILE]

`nano`, one thread; on each photo that many prompts, points and boxes at random. Of each prompt's four masks the IoU
with float32's, and the largest change of a predicted IoU.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.measure import Figures, machine, parser, report
from benchmarks.photos import PHOTOS, photo
from dataengine.model import Sam, load_model
from dataengine.model.onnx import INPUTS, export_decoder


def opened(sam: Sam, path: Path, quantised: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    export_decoder(sam, path, quantised=quantised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def prompt(sam: Sam, embedding: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A point or a box somewhere in a square image."""
    corner = rng.uniform(0, 0.6 * sam.image_size, 2)
    if rng.random() < 0.5:
        points, labels = [rng.uniform(0, sam.image_size, 2), np.zeros(2)], [1, -1]
    else:
        points, labels = [corner, corner + rng.uniform(0.08, 0.4, 2) * sam.image_size], [2, 3]
    side = 4 * sam.embedding_size
    no_mask = np.zeros((1, 1, side, side), np.float32), np.zeros(1, np.float32)
    given = embedding, np.array([points], np.float32), np.array([labels], np.float32), *no_mask
    return dict(zip(INPUTS, given, strict=True))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--prompts", type=int, default=25)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    sam, _ = load_model("nano")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("float32", "uint8")}
        sides = {name: opened(sam, path, name == "uint8") for name, path in files.items()}
        rows: dict[str, Figures] = {name: {"decoder": name, "MB": files[name].stat().st_size / 1e6} for name in sides}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    overlaps, changes = list[float](), list[float]()
    for name in PHOTOS:
        with torch.inference_mode():
            embedding = sam.encode_images([photo(name, sam.image_size, sam.image_size)]).numpy()
        for _ in range(given.prompts):
            asked, answers = prompt(sam, embedding, rng), []
            for side, session in sides.items():
                started = time.perf_counter()
                answers.append(session.run(None, asked))
                seconds[side].append(time.perf_counter() - started)
            exact, rounded = (logits > 0 for logits, _ in answers)
            union = (exact | rounded).sum(axis=(2, 3))
            overlaps += ((exact & rounded).sum(axis=(2, 3))[union > 0] / union[union > 0]).tolist()
            changes.append(float(np.abs(answers[0][1] - answers[1][1]).max()))
    for side, row in rows.items():
        row["ms a prompt"] = 1e3 * float(np.median(seconds[side]))
    rows["uint8"] |= {
        "masks": len(overlaps),
        "mean IoU": float(np.mean(overlaps)),
        "1 % below": float(np.percentile(overlaps, 1)),
        "least": min(overlaps),
        "predicted IoU off by": max(changes),
    }
    report(machine(), [rows["float32"] | dict.fromkeys(list(rows["uint8"])[3:]), rows["uint8"]], given.json)


if __name__ == "__main__":
    main()
