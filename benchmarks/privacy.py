"""Recall by size, false boxes and time of the face and plate detectors.

    python -m benchmarks.privacy faces  DIR [DIR ...] [--json FILE]
    python -m benchmarks.privacy plates DIR [DIR ...] [--json FILE]

DIR holds `images/` and `instances.json` in COCO form (boxes are enough). An annotated box counts as found
when one box overlaps it with an IoU of at least 0.3, and as hidden when at least 80 % of it lies inside what
would be blurred (the boxes, grown as the privacy policy grows them). A box is false when less than a tenth
of it lies on annotated boxes; where a picture shows things that nobody annotated, that figure is too high.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dataengine.detection import default_detectors, fuse
from dataengine.privacy import grow
from schemas import Box

SIZES = ((0, 14), (14, 32), (32, 80), (80, 100_000))
FOUND_IOU = 0.3
HIDDEN_SHARE = 0.8
FALSE_SHARE = 0.1


def load(folder: Path) -> list[tuple[Path, np.ndarray]]:
    """(image file, annotated boxes (N, 4) XYXY) of one data set."""
    data = json.loads((folder / "instances.json").read_text())
    boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        boxes[annotation["image_id"]].append([x, y, x + w, y + h])
    return [
        (folder / "images" / image["file_name"], np.array(boxes[image["id"]], dtype=float).reshape(-1, 4))
        for image in data["images"]
    ]


def overlaps(truth: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Common area of every annotated box with every box: (N, M)."""
    width = np.minimum(truth[:, None, 2], boxes[None, :, 2]) - np.maximum(truth[:, None, 0], boxes[None, :, 0])
    height = np.minimum(truth[:, None, 3], boxes[None, :, 3]) - np.maximum(truth[:, None, 1], boxes[None, :, 1])
    return width.clip(0) * height.clip(0)


def areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def hidden_shares(truth: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share of every annotated box that lies in the union of `boxes`: (N,)."""
    covered = np.zeros((height, width), dtype=bool)
    for x0, y0, x1, y1 in boxes.round().astype(int):
        covered[max(0, y0) : y1, max(0, x0) : x1] = True
    shares = []
    for x0, y0, x1, y1 in truth.round().astype(int):
        inside = covered[max(0, y0) : max(y1, y0 + 1), max(0, x0) : max(x1, x0 + 1)]
        shares.append(float(inside.mean()) if inside.size else 1.0)
    return np.array(shares)


class Tally:
    """Counts of one detector over all pictures."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, bool, bool]] = []
        self.false, self.images, self.seconds = 0, 0, 0.0

    def add(self, truth: np.ndarray, found: list[Box], shape: tuple[int, int], seconds: float) -> None:
        boxes = np.array([[b.x0, b.y0, b.x1, b.y1] for b in found]).reshape(-1, 4)
        grown = np.array([[b.x0, b.y0, b.x1, b.y1] for b in grow(found, *shape)]).reshape(-1, 4)
        common = overlaps(truth, boxes)
        iou = common / np.maximum(areas(truth)[:, None] + areas(boxes)[None] - common, 1e-9)
        hit = iou.max(axis=1, initial=0.0) >= FOUND_IOU
        hidden = hidden_shares(truth, grown, *shape) >= HIDDEN_SHARE
        sides = np.sqrt(areas(truth))
        self.rows += [(float(s), bool(f), bool(h)) for s, f, h in zip(sides, hit, hidden, strict=True)]
        on_truth = common.sum(axis=0) / np.maximum(areas(boxes), 1e-9)
        self.false += int((on_truth < FALSE_SHARE).sum())
        self.images += 1
        self.seconds += seconds

    def record(self) -> dict[str, object]:
        """The figures as plain JSON; a share is None where nothing has that size."""

        def share(column: int, low: float, high: float) -> float | None:
            values = [row[column] for row in self.rows if low <= row[0] < high]
            return round(float(np.mean(values)), 3) if values else None

        name = {(low, high): f"{low}-{high}" if high < 100_000 else f"{low}+" for low, high in SIZES}
        return {
            "annotated": len(self.rows),
            "images": self.images,
            "found": share(1, 0, np.inf),
            "recall": share(2, 0, np.inf),
            "recall_by_size": {name[size]: share(2, *size) for size in SIZES},
            "false_boxes_per_image": round(self.false / max(1, self.images), 3),
            "seconds_per_image": round(self.seconds / max(1, self.images), 3),
        }


def measure(kind: str, folder: Path) -> dict[str, dict[str, object]]:
    """Figures of each detector of `kind` and of all of them fused (`default`)."""
    off = {"faces": "off", "plates": "off", kind: "default"}
    detectors = default_detectors(off["faces"], off["plates"])
    tallies = {detector.model_id: Tally() for detector in detectors} | {"default": Tally()}
    for path, truth in load(folder):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        shape = (pixels.shape[0], pixels.shape[1])
        found: list[Box] = []
        total = 0.0
        for detector in detectors:
            start = time.perf_counter()
            boxes = detector.detect(pixels)
            seconds = time.perf_counter() - start
            tallies[detector.model_id].add(truth, boxes, shape, seconds)
            found += boxes
            total += seconds
        tallies["default"].add(truth, fuse(found), shape, total)
    return {name: tally.record() for name, tally in tallies.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("faces", "plates"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {folder.name: measure(arguments.kind, folder) for folder in arguments.folders}
    sizes = [f"{low}-{high}" if high < 100_000 else f"{low}+" for low, high in SIZES]
    print(
        f"{'data':12} {'detector':24} {'found':>6} {'hidden':>6} " + " ".join(f"{s:>6}" for s in sizes),
        end="",
    )
    print(f" {'false/im':>8} {'s/im':>6}")
    for folder, detectors in results.items():
        for detector, row in detectors.items():
            by_size = row["recall_by_size"]
            assert isinstance(by_size, dict)
            cells = [row["found"], row["recall"], *by_size.values()]
            text = " ".join("     -" if cell is None else f"{cell:6.3f}" for cell in cells)
            print(
                f"{folder:12} {detector:24} {text} {row['false_boxes_per_image']:8}",
                f"{row['seconds_per_image']:5}",
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
