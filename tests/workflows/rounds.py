"""A home with a labelled set and a recipe of a few seconds, for the tests of retraining rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dataengine.home import create_home
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco

SIDE = 96
IMAGES, SEED = 30, 18
"""Of the drawn sets of 30, a seed whose files' hashes hold out seven; the gate needs six."""

TINY: dict[str, Any] = {
    "steps": 32, "image_size": 256, "images_per_step": 2, "images_at_once": 2, "masks_per_image": 3,
    "freeze": "trunk", "corrections": 0,
    "empty_iterations": 0, "first_prompt": {"point": 1.0, "box": 0.0, "centre": 1.0},
    "loss": {"focal": 0, "dice": 1, "balanced": 1, "supervise_all_iou": True}, "learning_rate": 1.0e-3,
    "warmup_steps": 3, "weight_decay": 0.0, "clip_norm": 1.0,
}  # fmt: skip


def write_objects(folder: Path, images: int = IMAGES, seed: int = SEED) -> Path:
    """COCO: coloured ellipses and rectangles on a real photo that is shifted about; the last drawn is in front."""
    rng = np.random.default_rng(seed)
    content = {}
    background = photo(SIDE, SIDE)
    for number in range(images):
        pixels = np.roll(background, tuple(rng.integers(0, SIDE, 2)), (0, 1)) // 2 + 64
        masks: list[np.ndarray] = []
        for _ in range(3):
            width, height = rng.integers(20, 50, 2)
            x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - height))
            shape = ["ellipse", "rectangle"][int(rng.integers(2))]
            mask = drawn_object((SIDE, SIDE), shape, (x, y, x + int(width), y + int(height)))
            pixels[mask] = rng.integers(0, 255, 3)
            for behind in masks:
                behind[mask] = False
            masks.append(mask)
        content[f"{number:03}.png"] = pixels, [compressed(mask) for mask in masks if mask.sum() > 30]
    return write_coco(folder, content)


def write_recipe(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({"name": path.stem, "description": "for tests", "phases": [TINY | changes]}))
    return path


def make_home(home: Path, objects: Path, recipe: Path, model: str = "latest") -> Path:
    data = f"retrain.data=[{objects}]"
    create_home(str(home), [str(objects / "images")], [f"model={model}", f"retrain.recipe={recipe}", data])
    return home
