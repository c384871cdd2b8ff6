"""Every script still runs, at tiny sizes, compares what it should, and writes the figures it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from tests.parity.public import segment_anything

CONDITIONS = {"cpu", "cores", "threads", "torch", "commit", "date"}


def run(script: str, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON that `python -m benchmarks.SCRIPT` wrote, and what it printed."""
    file = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", *arguments, "--json", str(file)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert figures["machine"].keys() >= CONDITIONS
    assert figures["rows"]
    return figures, done.stdout


def test_decoder(tmp_path: Path) -> None:
    segment_anything()  # skips without it
    figures, _ = run("decoder", tmp_path, "--models", "nano", "--points", "16", "--repeats", "1")
    public, *ours = figures["rows"]
    assert (public["decoder"], len(ours)) == ("public", 3)
    assert all(row["s"] > 0 and 0 < row["of peak"] < 1 and row["differs by"] < 1e-4 for row in ours)
    assert all(row["extra MB"] > 0 and row["GFLOP"] < public["GFLOP"] for row in ours)


def test_rle(tmp_path: Path) -> None:
    segment_anything()  # skips without it
    figures, out = run(
        "rle", tmp_path, "--images", "1", "--size", "200x300", "--points-per-side", "6", "--repeats", "1"
    )
    assert figures["masks"] > 0
    assert [(row["what"], row["code"]) for row in figures["rows"]] == [
        *(("encode", code) for code in ("ours, boxed", "ours, whole frame", "pycocotools", "public")),
        *(("decode", code) for code in ("ours", "pycocotools", "public")),
    ]
    assert all(row["same result"] and row["ms/mask"] > 0 for row in figures["rows"]), out


def test_nms(tmp_path: Path) -> None:
    figures, out = run("nms", tmp_path, "--sizes", "20", "100", "--points-per-side", "6", "--repeats", "1")
    assert [row["boxes"] for row in figures["rows"]] == [20, 100]
    assert all(row["same boxes"] and 0 < row["kept"] < row["boxes"] for row in figures["rows"]), out


def test_latency(tmp_path: Path) -> None:
    figures, _ = run("latency", tmp_path, "--models", "nano", "mobile_sam", "--size", "200x300", "--repeats", "2")
    steps = ["encode", *(f"{step}, {kind}" for kind in ("point", "box") for step in ("prompt", "decode", "post"))]
    assert [(row["model"], row["step"]) for row in figures["rows"]] == [
        (model, step) for model in ("nano", "mobile_sam") for step in steps
    ]
    assert all(0 < row["median ms"] <= row["p95 ms"] and row["turns"] == 2 for row in figures["rows"])
    assert figures["rows"][0]["weights"] == "real"


@pytest.mark.slow
def test_gpu_on_a_small_scale(tmp_path: Path) -> None:
    """All variants; what is measured means nothing here, what is found does."""
    segment_anything()  # skips without it
    figures, out = run(
        "gpu", tmp_path, "--device", "cpu", "--tiny", "--model", "nano", "--size", "150x225", "--repeats", "1",
        "--drift", "1", "--recipes", "view",
    )  # fmt: skip
    ours = [f"ours, {precision}{how}" for how in ("", ", compiled") for precision in ("exact", "bf16")]
    sides = [*ours, "segment-anything"]
    assert [(row["recipe"], row["side"]) for row in figures["rows"]] == [("view", side) for side in sides], out
    assert all(row["images/s"] > 0 and row["masks"] > 0 for row in figures["rows"])
    for row in figures["rows"]:
        if row["side"] in ours:
            assert all(row[f"{part} ms"] > 0 for part in ("encode", "decode", "measure", "host", "records"))
            assert row["TFLOP"] > 0 and row["MFU"] is None
    by_side = {row["side"]: row["masks"] for row in figures["rows"]}
    assert by_side["ours, exact"] == by_side["ours, exact, compiled"]
    [drift] = figures["drift"]
    assert drift["images"] == 1 and 0 <= drift["images whose count changes"] <= 1


def test_drift(tmp_path: Path) -> None:
    figures, _ = run("drift", tmp_path, "--images", "1", "--size", "150x225")
    [drift] = figures["rows"]
    assert drift["images"] == 1 and drift["masks, exact"] > 0
    assert 0.5 < drift["masks with a partner"] <= 1 and 0.5 < drift["mean IoU with it"] < 1


def test_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    figures, _ = run("exported", tmp_path, "--prompts", "2")
    exact, rounded = figures["rows"]
    assert rounded["MB"] < exact["MB"] / 2 and exact["masks"] is None
    assert rounded["masks"] > 30 and rounded["least"] <= rounded["1 % below"] <= rounded["mean IoU"] < 1
    assert rounded["mean IoU"] > 0.98


def test_likeness(tmp_path: Path) -> None:
    """Two photos, one of them twice: the second time mirrored, and under a name that says nothing."""
    coffee, cat = photo(120, 160), photo(120, 160, "chelsea.png")
    whole = [compressed(np.ones((120, 160), bool))]
    images = {"a.png": (coffee, whole), "b.png": (cat, whole), "c.png": (coffee[:, ::-1], whole)}
    figures, text = run("likeness", tmp_path, str(write_coco(tmp_path / "set", images)), "--every", "2")
    copies, (nearest,) = figures["rows"][:-1], figures["rows"][-1:]
    assert [row["photos"] for row in copies] == [2] * len(copies)
    assert {row["what"]: row["near"] for row in copies}["half the size, JPEG 50"] == 1
    assert nearest["photos"] == 3 and nearest["near"] == pytest.approx(2 / 3)
    assert [pair[1:] for pair in figures["pairs"]] == [["set/a.png", "set/c.png"]] and "set/c.png" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_gpu_without_one_ends_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=REPOSITORY, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["benchmarks.gpu needs a CUDA device; here is none"]


@pytest.mark.slow
def test_pipeline(tmp_path: Path) -> None:
    """Starts a real Ray; what is equal here are the records of both sides, not the times."""
    tiny = ["generate.points_per_side=4", "generate.crop_layers=0"]
    overrides = [part for override in tiny for part in ("--set", override)]
    figures, out = run(
        "pipeline", tmp_path, "--images", "3", "--per-shard", "1", "--turns", "1", "--size", "150x225", *overrides
    )
    assert "records of both sides equal: True" in out
    turn, middle = figures["rows"]
    assert (turn["turn"], middle["turn"]) == ("1", "median")
    assert all(turn[name] > 0 for name in ("bare s/image", "stage s/image", "of bare", "by shards' seconds"))
    # CPU time is sampled: of a generator this quick there may be nothing in the window.
    assert turn["outside share"] is None or 0 < turn["outside share"] <= 1
    assert figures["turns"][0]["images"] == 2


@pytest.mark.slow
def test_annotation(tmp_path: Path) -> None:
    size = (90, 120)
    objects = [compressed(drawn_object(size, "ellipse", box)) for box in ((8, 10, 70, 80), (75, 20, 115, 60))]
    images = {f"{name}.jpg": (photo(*size, f"{name}.png"), objects) for name in ("coffee", "chelsea")}
    folder = write_coco(tmp_path / "drawn", images)
    figures, out = run("annotation", tmp_path, str(folder), "--images", "2", "--objects", "2")
    (row,) = figures["rows"]
    assert (row["images"], row["objects"]) == (2, 4) and row["clicks/mask"] >= 1
    facts = figures["assisted-manual"]
    assert facts["tasks"]["accepted"] == 2 and facts["snapshot"]["masks"] == row["masks"], out
    assert figures["effort"][0]["clicks/image"] >= 2, out
