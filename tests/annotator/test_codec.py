"""The page's mask code against pycocotools and the engine's own: the page must agree to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco

from dataengine.masks import encode
from dataengine.model import load_model

WEB = Path(__file__).parents[2] / "dataengine" / "annotator" / "web"


def masks() -> list[np.ndarray]:
    """Empty, full, one pixel at each corner, holes and islands, noise, and a mask whose runs cross columns."""
    rng = np.random.default_rng(5)
    found = [np.zeros((7, 5), bool), np.ones((7, 5), bool), rng.random((64, 48)) < 0.5]
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        corner = np.zeros((6, 9), bool)
        corner[row, column] = True
        found.append(corner)
    y, x = np.mgrid[:300, :400]
    ring = (np.hypot(x - 150, y - 140) < 90) & (np.hypot(x - 160, y - 150) > 40)
    islands = ring | ((x // 7 + y // 5) % 11 == 0) & (x > 300)
    full_columns = np.zeros((50, 60), bool)
    full_columns[:, 20:30] = True
    full_columns[10:, 19] = True
    return [*found, islands, full_columns, rng.random((40, 900)) < 0.01]


def rle_case(mask: np.ndarray) -> dict[str, Any]:
    written = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "width": mask.shape[1],
        "height": mask.shape[0],
        "pixels": "".join(np.where(mask.T.reshape(-1), "1", "0")),
        "counts": written["counts"].decode("ascii"),
        "area": int(mask.sum()),
    }


def upscale_case(width: int, height: int, seed: int) -> dict[str, Any]:
    sam, _ = load_model("nano")
    side = 4 * sam.embedding_size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 9, 9, generator=generator)
    logits = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    full = sam.upsample(logits, sam.input_size(height, width), (height, width))[0, 0] > 0
    return {
        "width": width,
        "height": height,
        "input_size": sam.image_size,
        "side": sam.embedding_size,
        "logits": logits.reshape(-1).tolist(),
        "counts": encode(full.numpy())[0].counts,
    }


def test_the_page_encodes_and_enlarges_masks_as_the_engine_does(tmp_path: Path) -> None:
    npx = shutil.which("npx")
    assert npx is not None, "Node.js is missing: the page can't be tested"
    assert (WEB / "node_modules").is_dir(), "run `make web` first"
    sizes = [(600, 400), (337, 512), (1500, 1123), (90, 61)]
    cases = {
        "rle": [rle_case(mask) for mask in masks()],
        "upscale": [upscale_case(*size, seed) for seed, size in enumerate(sizes)],
    }
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(cases))
    run = subprocess.run(
        [npx, "vitest", "run", "test/fixtures.test.ts"],
        cwd=WEB,
        env=os.environ | {"CODEC_CASES": str(file)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert "2 passed" in run.stdout
