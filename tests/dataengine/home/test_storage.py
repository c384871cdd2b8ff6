"""Storage promises on a local folder and on a real S3 protocol (moto's server on loopback)."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from dataengine.errors import ConfigError, EngineError
from dataengine.home.storage import Storage


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path) -> Storage:
    if request.param == "local":
        return Storage(str(tmp_path / "a home"))
    return Storage(f"{request.getfixturevalue('s3_url')}/{request.node.name}")


def test_write_read_list_remove(storage: Storage) -> None:
    storage.write("units/a.json", b"1")
    storage.write("units/b.json", b"2")
    storage.write("units/deep/c.json", b"3")
    assert storage.read("units/a.json") == b"1"
    assert storage.list("units") == ["a.json", "b.json", "deep"]
    storage.write("units/a.json", b"changed")
    assert storage.read("units/a.json") == b"changed"
    storage.remove("units/deep")
    storage.remove("units/never-was")
    assert storage.list("units") == ["a.json", "b.json"]
    assert storage.list("nothing") == []


def test_only_one_create_wins(storage: Storage) -> None:
    assert storage.create("owners/000001.json", b"first")
    assert not storage.create("owners/000001.json", b"second")
    assert storage.read("owners/000001.json") == b"first"


def test_promote_moves_an_attempt_over_the_final_name(storage: Storage, tmp_path) -> None:
    with storage.attempt_folder(["shards/.attempts/x/sa_000000.tar"]) as folder:
        (folder / "sa_000000.tar").write_bytes(b"tar bytes")
    storage.write("shards/sa_000000.tar", b"older")
    storage.promote("shards/.attempts/x/sa_000000.tar", "shards/sa_000000.tar")
    described = storage.describe("shards/sa_000000.tar")
    assert (described.bytes, described.sha256) == (9, hashlib.sha256(b"tar bytes").hexdigest())
    assert not storage.exists("shards/.attempts/x/sa_000000.tar")


def test_a_folder_gets_its_name_when_all_is_in_it_and_only_once(storage: Storage) -> None:
    for name in ("index.json", "a.txt", "sample/b.txt"):
        storage.write(f"releases/.attempts/1/v1/{name}", name.encode())
    storage.promote_folder("releases/.attempts/1/v1", "releases/v1", last="index.json")
    assert storage.list("releases/v1") == ["a.txt", "index.json", "sample"]
    assert storage.read("releases/v1/sample/b.txt") == b"sample/b.txt"
    assert storage.list("releases/.attempts/1/v1") == []
    storage.write("releases/.attempts/2/v1/index.json", b"other")
    with pytest.raises(EngineError, match="is there already"):
        storage.promote_folder("releases/.attempts/2/v1", "releases/v1", last="index.json")
    assert storage.read("releases/v1/index.json") == b"index.json"


def test_a_staged_file_that_fails_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(RuntimeError), storage.staged("plans/x.parquet") as part:
        part.write_bytes(b"half")
        raise RuntimeError("killed")
    assert storage.list("plans") == []
    with storage.staged("plans/x.parquet") as part:
        part.write_bytes(b"whole")
    assert storage.list("plans") == ["x.parquet"]
    assert storage.read("plans/x.parquet") == b"whole"


def test_storage_travels_to_workers(storage: Storage) -> None:
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"


@pytest.mark.parametrize("path", ["../outside", "a/../../b", "/etc/passwd"])
def test_no_path_leaves_the_home(tmp_path, path: str) -> None:
    with pytest.raises(EngineError, match="not a path inside"):
        Storage(str(tmp_path)).write(path, b"")


@pytest.mark.parametrize("url", ["pipe:cat /etc/passwd", "pipe://x", "shell://x", "ssh://host/x"])
def test_shell_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="refused"):
        Storage(url)
