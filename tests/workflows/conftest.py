"""A folder of small real photos, and the command line as a person runs it: in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from tests.conftest import package_file
from workflows.cli import main

FAST = [
    "generate.points_per_side=6",
    "shards.images_per_shard=4",
    "ingest.images_per_part=5",
    "generate.threads=1",
]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "workflows.cli", *map(str, arguments)]


def run_cli(*arguments: object, expect: int = 0, extra_env: dict[str, str] | None = None, timeout: float = 400) -> str:
    """Runs the command in a process of its own; fails the test unless it exits with `expect`: stdout and stderr."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(extra_env or {})},
    )
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"exit {done.returncode}:\n{text}"
    return text


def run_here(*arguments: object, expect: int = 0) -> str:
    """`run_cli` in this process, which spares the seconds of its start: for commands without Ray."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["dataengine", *map(str, arguments)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert ended.value.code == expect, f"exit {ended.value.code}:\n{said.getvalue()}"
    return said.getvalue()


def sets(overrides: Sequence[str] = FAST) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def shard_hashes(home: Path) -> dict[str, str]:
    """Object -> sha256 as the commit records state them."""
    found = {}
    for path in sorted((home / "units" / "generate").glob("*.json")):
        for stored in json.loads(path.read_text())["objects"]:
            found[stored["path"]] = stored["sha256"]
    return found


def write_photos(folder: Path) -> list[Path]:
    """Eleven usable photos of about 250 px, cut from the photos inside scikit-image and scikit-learn."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        "astronaut": package_file("skimage", "data", "astronaut.png"),
        "coffee": package_file("skimage", "data", "coffee.png"),
        "chelsea": package_file("skimage", "data", "chelsea.png"),
        "china": package_file("sklearn", "datasets", "images", "china.jpg"),
        "flower": package_file("sklearn", "datasets", "images", "flower.jpg"),
        "rocket": package_file("skimage", "data", "rocket.jpg"),
    }
    paths = []
    for name, source in sources.items():
        image = Image.open(source).convert("RGB")
        half = image.width // 2
        for side, left in (("left", 0), ("right", half)):
            if (name, side) == ("rocket", "right"):
                continue
            path = folder / f"{name}_{side}.jpg"
            part = image.crop((left, 0, left + half, image.height))
            part.thumbnail((250, 250))
            part.save(path, quality=92)
            paths.append(path)
    return paths


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.open(package_file("skimage", "data", "coffee.png")).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with trouble among them: a duplicate, a truncated JPEG, an animation, and a text file."""
    folder = tmp_path_factory.mktemp("my photos")
    paths = write_photos(folder)
    (folder / "zz_copy.jpg").write_bytes(paths[0].read_bytes())
    (folder / "truncated.jpg").write_bytes(truncated_jpeg())
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def ingested_home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that knows its photos and has made nothing of them yet; tests work on copies of it."""
    home = tmp_path_factory.mktemp("ingested") / "home"
    run_cli("init", home, "--images", photos, *sets())
    run_cli("ingest", home)
    return home


@pytest.fixture(scope="session")
def finished_home(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose main job ran undisturbed with one generator: what every disturbed run must equal."""
    home = tmp_path_factory.mktemp("homes") / "undisturbed home"
    shutil.copytree(ingested_home, home)
    run_cli("generate", home)
    return home
