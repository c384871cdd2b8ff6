"""Kills at real moments with real signals: the rerun gives the sha256s of an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataengine.runtime import reaper
from tests.workflows.conftest import command, run_cli, sets, shard_hashes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLOW_ENOUGH = 240.0


@pytest.fixture
def ingested(ingested_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ingested_home, tmp_path / "home"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SLOW_ENOUGH
    while not condition():
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    return list(reaper.descendants(pid, reaper.processes()))


def named(pids: list[int], name: str) -> list[int]:
    """Those of these processes whose title (Ray sets it to the actor's class) holds `name`."""
    found = []
    for pid in pids:
        try:
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def committed(home: Path) -> int:
    return len(list((home / "units" / "generate").glob("*.json")))


def test_one_and_two_generators_give_the_same_shards(ingested: Path, finished_home: Path) -> None:
    run_cli("generate", ingested, "--set", "ray.generators=2")
    assert shard_hashes(ingested) == shard_hashes(finished_home)


def test_several_generators_on_one_shard_give_the_same_shards(ingested_home: Path, tmp_path: Path) -> None:
    hashes = []
    for generators in (1, 2):
        home = shutil.copytree(ingested_home, tmp_path / f"home {generators}")
        small = ["generate.points_per_side=4", "shards.images_per_shard=1000", f"ray.generators={generators}"]
        run_cli("generate", home, *sets(small))
        hashes.append(shard_hashes(home))
    assert hashes[0] == hashes[1] and len(hashes[0]) == 3


def test_a_killed_driver_loses_nothing(ingested: Path, finished_home: Path) -> None:
    process = subprocess.Popen(command("generate", ingested), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: committed(ingested) >= 1, process)
    below = descendants(process.pid)
    process.kill()
    process.wait()
    assert 1 <= committed(ingested) < 3
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in below) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in below if alive(pid)], "Ray processes outlived their driver"
    run_cli("generate", ingested)
    assert shard_hashes(ingested) == shard_hashes(finished_home)
    run_cli("verify", ingested)


def test_a_killed_ingest_gives_the_same_catalog(photos: Path, finished_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run_cli("init", home, "--images", photos, *sets())
    process = subprocess.Popen(command("ingest", home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: bool(list((home / "units" / "ingest").glob("part-*.json"))), process)
    process.kill()
    process.wait()
    run_cli("ingest", home)
    for part in sorted((finished_home / "catalog").glob("*.parquet")):
        assert pq.read_table(home / "catalog" / part.name).equals(pq.read_table(part))


@pytest.mark.parametrize("actor", ["MaskGenerator", "ShardBuilder"])
def test_a_killed_actor_is_replaced(ingested: Path, finished_home: Path, actor: str) -> None:
    process = subprocess.Popen(command("generate", ingested), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(lambda: committed(ingested) >= 1, process)
    victims = named(descendants(process.pid), actor)
    assert victims, f"no process of {actor}"
    os.kill(victims[0], signal.SIGKILL)
    text = process.communicate(timeout=SLOW_ENOUGH)[0].decode()
    assert process.returncode == 0, text
    assert shard_hashes(ingested) == shard_hashes(finished_home)


POISON = """
    import ctypes, importlib.abc, importlib.machinery, sys

    class Loader(importlib.abc.Loader):
        def __init__(self, inner): self.inner = inner
        def create_module(self, spec): return self.inner.create_module(spec)
        def exec_module(self, module):
            self.inner.exec_module(module)
            poison(module)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != MODULE: return None
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            spec.loader = Loader(spec.loader)
            return spec

    sys.meta_path.insert(0, Finder())
"""

KILL_GENERATOR = """
    MODULE = "dataengine.automask.generator"
    def poison(module):
        honest = module.MaskGenerator.find
        def find(self, pixels, **keywords):
            if keywords["image_id"] == POISONED: ctypes.string_at(0)
            return honest(self, pixels, **keywords)
        module.MaskGenerator.find = find
"""

KILL_BUILDER = """
    MODULE = "dataengine.shards.finish"
    def poison(module):
        honest = module.finish_image
        def finish_image(record, *rest):
            if record.image_id == POISONED: ctypes.string_at(0)
            return honest(record, *rest)
        module.finish_image = finish_image
"""


@pytest.mark.parametrize("where", [KILL_GENERATOR, KILL_BUILDER], ids=["generator", "builder"])
def test_an_image_that_kills_its_worker_is_quarantined_by_name(
    ingested: Path, finished_home: Path, tmp_path: Path, where: str
) -> None:
    rows = pq.read_table(ingested / "catalog" / "part-000001.parquet").to_pylist()
    poisoned = next(row["image_id"] for row in rows if row["status"] == "ok")
    folder = tmp_path / "poison"
    folder.mkdir()
    code = textwrap.dedent(POISON) + f"\nPOISONED = {poisoned}\n" + textwrap.dedent(where)
    (folder / "sitecustomize.py").write_text(code)
    run_cli("generate", ingested, extra_env={"PYTHONPATH": str(folder)})
    released = [
        row for p in sorted((ingested / "shards").glob("images-*.parquet")) for row in pq.read_table(p).to_pylist()
    ]
    quarantined = [row for row in released if row["status"] != "ok"]
    assert [(row["image_id"], row["status"]) for row in quarantined] == [(poisoned, "quarantined")]
    assert len(released) == 11
    run_cli("verify", ingested)
    # Only the shard with the poisoned image differs.
    mine, theirs = shard_hashes(ingested), shard_hashes(finished_home)
    assert len({path[-13:] for path in mine if mine[path] != theirs[path]}) <= 3
    assert sum(mine[path] == theirs[path] for path in mine) == 6


def test_a_virtual_environment_in_a_path_with_a_space(ingested: Path, finished_home: Path, tmp_path: Path) -> None:
    # Ray builds its workers' command lines from the interpreter's path.
    link = tmp_path / "with a space"
    link.symlink_to(sys.prefix)
    subprocess.run([link / "bin" / "python", *command("generate", ingested)[1:]], check=True, timeout=SLOW_ENOUGH)
    assert shard_hashes(ingested) == shard_hashes(finished_home)
