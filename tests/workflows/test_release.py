"""A release: what is in it, that it can be checked anywhere, that nothing half-written ever has its name."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, open_home
from dataengine.home.plan import write_segment
from dataengine.home.storage import Storage
from dataengine.release import releases
from dataengine.release.card import render_card
from dataengine.release.texts import parse_sums
from dataengine.shards.reader import read_samples
from dataengine.shards.verify import verify_tree
from schemas import CheckpointCard
from schemas.arrow import GENERATE_PLAN_SCHEMA
from schemas.release import ReleaseIndex
from tests.conftest import REPOSITORY
from tests.finished_homes import home_with_shards
from tests.workflows.conftest import run_cli
from workflows.cli import app
from workflows.release import release
from workflows.verify import verify

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_with_shards(str(tmp_path_factory.mktemp("released") / "home"))
    assert release(home, "v1", QUIET).is_new
    return home


@pytest.fixture
def copy(released: Home, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released.storage.url, tmp_path / "copy"))


def folder_of(home: Home, version: str = "v1") -> Path:
    return home.storage.local_path(f"releases/{version}")


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def index_of(home: Home, version: str = "v1") -> ReleaseIndex:
    return ReleaseIndex.model_validate_json((folder_of(home, version) / "index.json").read_bytes())


def called(*arguments: object, expect: int = 0) -> str:
    """The command in this process: a new one would spend its time on imports. Lines are joined."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == expect, done.output
    return done.stdout if "--json" in arguments else " ".join(done.output.split())


def problems(path: Path) -> str:
    return "\n".join(str(problem) for problem in verify(str(path)).problems)


def test_the_index_says_what_is_there(released: Home) -> None:
    index = index_of(released)
    assert (index.version, index.created) == ("v1", "2025-11-25T09:01:00Z")
    assert index.detectors == ["dlib-hog@3mp", "lpd-yunet@1"]
    (part,) = index.parts
    assert (part.counts["images"], part.counts["planned"]) == (6, 8) and part.licences == {"CC0": 6}
    assert part.model is not None and part.model.name == "nano"
    assert any("CC BY-NC" in line for line in part.model.non_commercial)
    masks: list[int] = []
    for shard in part.shards:
        found = [len(sample.annotations) for sample, _ in read_samples(released.storage.url_of(shard.tar.path))]
        assert (shard.images, shard.masks) == (len(found), sum(found))
        masks += found
        for stored in shard.files:
            data = released.storage.read(stored.path)
            assert (stored.bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    masks.sort()
    assert part.masks_per_image == {"mean": round(sum(masks) / 6, 3), "median": masks[2], "most": masks[-1]}


def test_sha256sum_checks_it_and_finds_a_flipped_byte(copy: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "releases/v1/SHA256SUMS"]
    done = subprocess.run(check, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 2 * 3 + 6, done.stdout + done.stderr
    table = copy / "shards" / "images-000001.parquet"
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    done = subprocess.run(check, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 1 and "shards/images-000001.parquet: FAILED" in done.stdout
    text = called("verify", copy / "releases" / "v1", expect=1)
    assert "shards/images-000001.parquet: differs from SHA256SUMS" in text and "1 problem(s)" in text


def test_links_have_sa_1bs_form(released: Home) -> None:
    assert (folder_of(released) / "links.tsv").read_text() == (
        "file_name\tcdn_link\nsa_000000.tar\tshards/sa_000000.tar\nsa_000001.tar\tshards/sa_000001.tar\n"
    )
    release(released, "v1-cdn", QUIET, base_url="https://data.example/sa/")
    lines = (folder_of(released, "v1-cdn") / "links.tsv").read_text().splitlines()
    assert lines[1] == "sa_000000.tar\thttps://data.example/sa/shards/sa_000000.tar"


def test_the_cards_front_matter_parses_and_its_code_runs(released: Home) -> None:
    card = (folder_of(released) / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "other" and facts["size_categories"] == ["n<1K"]
    assert facts["task_categories"] == ["image-segmentation", "mask-generation"]
    for config in facts["configs"]:
        assert list(Path(released.storage.url).glob(config["data_files"])), config
    assert "Not for commercial use" in body and "CC BY-NC 4.0" in body and "| images | 6 |" in body
    assert "dlib-hog@3mp" in body and "| CC0 | 6 |" in body
    code = body.split("```python\n")[1].split("```")[0] + "    print(sample['__key__'], len(masks), masks[0].shape)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=released.storage.url, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = [line.split()[0] for line in done.stdout.splitlines()]
    assert seen == ["sa_1", "sa_2", "sa_3", "sa_101", "sa_102", "sa_103"]


def test_what_others_wrote_stays_in_its_cell(released: Home) -> None:
    index = index_of(released)
    part = index.parts[0].model_copy(update={"licences": {"a | b\n\n# <script>[x](y)": 6}})
    card = render_card(index.model_copy(update={"parts": [part]}))
    assert r"| a \| b # &lt;script&gt;\[x\](y) | 6 |" in card and "\n# <script" not in card


def test_nothing_blurred_is_said_aloud(released: Home) -> None:
    index = index_of(released)
    assert "Nothing is blurred" in render_card(index.model_copy(update={"privacy": index.privacy | {"mode": "off"}}))
    unseen = render_card(index.model_copy(update={"privacy": index.privacy | {"plates": "off"}}))
    assert "Nobody looked for plates" in unseen and "Nobody looked for faces" not in unseen


def test_the_sample_is_a_shard_of_the_first_images(released: Home) -> None:
    sample = folder_of(released) / "sample"
    assert not verify_tree(str(sample)).problems
    first = list(read_samples(released.storage.url_of("shards/sa_000000.tar")))
    assert list(read_samples(str(sample / "sa_000000.tar"))) == first
    assert pq.read_table(sample / "images-000000.parquet")["licence"].to_pylist() == ["CC0"] * 3


def test_the_same_home_gives_the_same_bytes_and_the_same_version_is_no_news(released: Home, copy: Path) -> None:
    before, stamps = contents(folder_of(released)), [path.stat().st_mtime_ns for path in folder_of(released).iterdir()]
    assert not release(released, "v1", QUIET).is_new
    assert [path.stat().st_mtime_ns for path in folder_of(released).iterdir()] == stamps
    shutil.rmtree(copy / "releases")
    text = called("release", copy, "v1")
    assert "2 shards" in text and "commercial" in text
    assert contents(copy / "releases" / "v1") == before
    assert "is there already" in called("release", copy, "v1")
    assert json.loads(called("release", copy, "v1", "--json"))["version"] == "v1"


def test_other_content_asks_for_another_version(tmp_path: Path) -> None:
    home = home_with_shards(str(tmp_path / "home"), shards=1)
    release(home, "v1", QUIET)
    before = contents(folder_of(home))
    more = home_with_shards(str(tmp_path / "more"), shards=2)
    shutil.copytree(folder_of(home).parent, more.storage.local_path("releases"))
    with pytest.raises(EngineError, match=r"v1 exists with other content .*1 shards then, 2 now.*take another version"):
        release(more, "v1", QUIET)
    assert contents(folder_of(more)) == before
    assert release(more, "v2", QUIET).is_new and [index.version for index in releases(more.storage)] == ["v1", "v2"]
    assert verify(more.storage.url).ok


@pytest.mark.parametrize("version", ["", ".v1", "../v1", "v/1", "v 1", "v1\n", "-v1", "é", "a" * 101])
def test_only_safe_names_are_versions(released: Home, version: str) -> None:
    with pytest.raises(ConfigError, match="version"):
        release(released, version, QUIET)


@pytest.mark.parametrize("url", ["data.example", "pipe://x", "https://a b", "https://u:p@a/", "https://a/?x=1"])
def test_only_urls_are_base_urls(released: Home, url: str) -> None:
    with pytest.raises(ConfigError, match="--base-url"):
        release(released, "v9", QUIET, base_url=url)


def test_damaged_and_unfinished_shards_are_refused_in_one_line(copy: Path, tmp_path: Path) -> None:
    tar = copy / "shards" / "sa_000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 3] ^= 0x40
    tar.write_bytes(data)
    text = run_cli("release", copy, "v2", expect=1)
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    assert "can't be released: sa_000001.tar" in line and not (copy / "releases" / "v2").exists()
    unfinished = home_with_shards(str(tmp_path / "unfinished"), shards=1, planned=2)
    with pytest.raises(EngineError, match="1 of 2 units have no commit record"):
        release(unfinished, "v1", QUIET)


def test_an_unknown_model_is_refused_and_a_round_tells_what_not_where(tmp_path: Path) -> None:
    home = home_with_shards(str(tmp_path / "home"), shards=1)
    home.storage.remove("plans")
    rows = pa.Table.from_pylist([{"unit": 0, "image_id": 1, "part": 0}], schema=GENERATE_PLAN_SCHEMA)
    meta = {"facts": {"model_sha256": "0" * 64}, "parts": 1}
    write_segment(home.storage, "generate", GENERATE_PLAN_SCHEMA, [rows], meta)
    with pytest.raises(EngineError, match="the model that made the shards"):
        release(home, "v1", QUIET)
    card = CheckpointCard.model_validate_json((REPOSITORY / "dataengine/model/weights/nano.json").read_text())
    data = [
        "/home/alice/labelled: 12 images, sha256 ab",
        "before, in nano: ../secret place: 3 images, sha256 cd",
        "before, in nano: CamVid, part (CC BY-NC 4.0)",
    ]
    made = card.model_copy(update={"name": "round-001", "sha256": "0" * 64, "data": data})
    home.storage.write("models/round-001/card.json", made.model_dump_json().encode())
    home.storage.write("units/retrain/round-001.json", b"{}")
    release(home, "v1", QUIET)
    text = "".join(path.read_text() for path in folder_of(home).iterdir() if path.is_file())
    assert (
        "- labelled: 12 images" in text and "secret place: 3 images" in text and "> - before, in nano: CamVid" in text
    )
    assert "alice" not in text and "../secret" not in text


def test_a_home_of_the_main_job_is_released(finished_home: Path, tmp_path: Path) -> None:
    home = open_home(str(shutil.copytree(finished_home, tmp_path / "made home")))
    index = release(home, "2026.1", QUIET).index
    (part,) = index.parts
    assert (
        index.created is not None
        and part.counts["images"] == 11
        and len(part.shards) == 3
        and len(index.detectors) >= 2
    )
    assert part.model is not None and part.model.name == "nano" and part.facts["settings"]["points_per_side"] == 6
    check = subprocess.run(["sha256sum", "-c", "releases/2026.1/SHA256SUMS"], cwd=home.storage.url, capture_output=True)
    assert check.returncode == 0 and verify(home.storage.url).ok
    card = (folder_of(home, "2026.1") / "README.md").read_text()
    assert "6 points a side" in card and "sa_{000000..000002}.tar" in card and "not stated" in card


# verifying ---------------------------------------------------------------------------------------------------


def test_a_mirror_is_verified_without_the_home(copy: Path) -> None:
    for name in ("engine.yaml", "units", "plans"):
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = verify(str(copy / "releases" / "v1"))
    assert report.ok and (report.shards, report.images) == (2, 6)
    assert "all sound" in called("verify", copy / "releases" / "v1")


def test_whatever_is_wrong_with_a_release_is_named(copy: Path) -> None:
    v1 = copy / "releases" / "v1"
    (copy / "shards" / "sa_000000.tar").unlink()
    assert problems(v1) == "shards/sa_000000.tar: is missing"
    listed, _ = parse_sums((v1 / "SHA256SUMS").read_text())
    (v1 / "SHA256SUMS").write_text("".join(f"{sha}  {path}\n" for path, sha in listed.items() if "links" not in path))
    assert "releases/v1/links.tsv: SHA256SUMS doesn't name it" in problems(v1)
    (v1 / "links.tsv").write_text("file_name\tcdn_link\nsa_000000.tar\thttps://evil.example/sa_000000.tar\n")
    assert "releases/v1/links.tsv: doesn't follow from index.json" in problems(v1)
    with (v1 / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../../outside\nnonsense\n")
    found = problems(v1)
    assert "../../outside: is not a path inside" in found and "not a line of a checksum file: 'nonsense'" in found
    (v1 / "index.json").write_text('{"version": "v1"}')
    assert "releases/v1/index.json: can't be read" in problems(v1)
    (v1 / "index.json").unlink()
    assert "releases/v1/index.json: is missing" in problems(copy)
    assert "releases/v1/index.json: is missing" in problems(v1)


def test_a_home_verifies_its_releases_too(copy: Path) -> None:
    assert "releases" not in problems(copy)
    with (copy / "releases" / "v1" / "README.md").open("a") as card:
        card.write("edited\n")
    assert "releases/v1/README.md: differs from SHA256SUMS" in problems(copy)


def test_a_release_outside_of_its_layout_says_so(copy: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(copy / "releases" / "v1", tmp_path / "moved"))
    with pytest.raises(EngineError, match="keep that layout"):
        verify(str(moved))


# killed ------------------------------------------------------------------------------------------------------

KILLING = """
    import io, os, signal, sys
    from rich.console import Console
    from dataengine.home import open_home
    from dataengine.home.storage import Storage
    from workflows.release import release

    name, left = {name!r}, {call}
    whole = getattr(Storage, name)

    def killing(self, path, *more, **named):
        global left
        if "releases" in str(path):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, path, *more, **named)

    setattr(Storage, name, killing)
    release(open_home(sys.argv[1]), "v1", Console(file=io.StringIO()))
"""


@pytest.mark.parametrize(("name", "call"), [("write", 3), ("promote_folder", 0)])
def test_killed_between_files_nothing_has_a_final_name_and_the_rerun_has_the_same_bytes(
    released: Home, copy: Path, name: str, call: int
) -> None:
    shutil.rmtree(copy / "releases")
    code = textwrap.dedent(KILLING).format(name=name, call=call)
    done = subprocess.run([sys.executable, "-c", code, str(copy)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in (copy / "releases").iterdir()] == [".attempts"]
    assert list((copy / "releases" / ".attempts").rglob("*.*"))
    assert not releases(Storage(str(copy)))
    release(open_home(str(copy)), "v1", QUIET)
    assert contents(copy / "releases") == {f"v1/{name}": sha for name, sha in contents(folder_of(released)).items()}


def test_a_folder_that_is_no_release_is_left_alone(copy: Path) -> None:
    notes = copy / "releases" / "v2" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(EngineError, match="move it away"):
        release(open_home(str(copy)), "v2", QUIET)
    assert notes.read_text() == "mine"


# object store ------------------------------------------------------------------------------------------------


@pytest.fixture
def remote(s3_url: str, request: pytest.FixtureRequest) -> Iterator[Home]:
    yield home_with_shards(f"{s3_url}/{request.node.name}")


def test_in_an_object_store_the_index_comes_last_and_the_bytes_are_the_same(
    remote: Home, released: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    filesystem: Any = remote.storage._fs
    copied: list[str] = []
    whole = filesystem.cp_file

    def dying(source: str, target: str) -> None:
        copied.append(target.rpartition("/releases/v1/")[2])
        if len(copied) == 4:
            raise Killed
        whole(source, target)

    monkeypatch.setattr(filesystem, "cp_file", dying)
    with pytest.raises(Killed):
        release(remote, "v1", QUIET)
    assert remote.storage.exists("releases/v1/README.md") and not releases(remote.storage)
    copied.clear()
    copied += ["again"] * 9
    release(remote, "v1", QUIET)
    assert copied[-1] == "index.json" and remote.storage.list("releases") == ["v1"]
    for name, sha256 in contents(folder_of(released)).items():
        assert remote.storage.describe(f"releases/v1/{name}").sha256 == sha256
    assert verify(remote.storage.url_of("releases/v1")).ok
    assert not release(remote, "v1", QUIET).is_new
    remote.storage.write("shards/sa_000000.tar", b"not a tar")
    assert "shards/sa_000000.tar: differs" in str(verify(remote.storage.url_of("releases/v1")).problems[0])
