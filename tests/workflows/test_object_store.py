"""The main job with its home and its photos in an object store: moto's S3 server on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataengine.errors import EngineError
from dataengine.home import open_home
from dataengine.home.units import records
from tests.workflows.conftest import run_cli, sets, shard_hashes
from workflows.generate import require_room


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_shards_come_out_of_an_object_store(s3_url: str, photos: Path, finished_home: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().put([str(path) for path in photos.iterdir()], f"{s3_url}/photos/")
    home = f"{s3_url}/home [1]"
    run_cli("init", home, "--images", f"{s3_url}/photos", *sets())
    run_cli("ingest", home)
    run_cli("generate", home)
    assert "11 images" in run_cli("verify", home)
    made = {o.path: o.sha256 for record in records(open_home(home).storage, "generate") for o in record.objects}
    assert made == shard_hashes(finished_home)


def test_a_full_disk_is_told_before_anything_starts(finished_home: Path) -> None:
    home = open_home(str(finished_home))
    require_room(home, 11, 11, free=10**9)
    with pytest.raises(EngineError, match=r"GB are needed and 0\.00 GB are free"):
        require_room(home, 11, 11, free=1000)
