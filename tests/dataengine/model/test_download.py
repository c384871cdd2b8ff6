"""`models pull` against a real server on this machine: resume, dropped connections, wrong files."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dataengine.errors import EngineError
from dataengine.model import download
from dataengine.model.download import Source, pull, pull_source

CONTENT = np.random.default_rng(5).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `drop_after` bytes into a response the connection ends, `ranges` = honours Range."""

    drop_after: int | None = None
    ranges = True
    status = 200
    redirect: str | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = len(CONTENT) if self.server.drop_after is None else start + self.server.drop_after
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def source(server: Server, **changes: object) -> Source:
    facts = {"name": "weights", "file_name": "weights.bin", "url": server.url, "bytes": len(CONTENT)}
    return Source(**(facts | {"sha256": hashlib.sha256(CONTENT).hexdigest()} | changes))


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull_source(source(server), tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "new" / "weights.bin" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["weights.bin"]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert pull_source(source(server), tmp_path / "new") == path
    assert server.asked == [None]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_it_goes_on_where_the_last_attempt_stopped(server: Server, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT[:1_234_567])
    seen: list[int] = []
    path = pull_source(source(server, bytes=size), tmp_path, lambda done, total: seen.append(done))
    assert path.read_bytes() == CONTENT and server.asked == ["bytes=1234567-"] and seen[0] == 1_234_567


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_that_is_already_whole(server: Server, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT)
    assert pull_source(source(server, bytes=size), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_longer_than_the_file_starts_again(server: Server, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT + b"more")
    assert pull_source(source(server, bytes=size), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] is None


def test_a_connection_that_drops_again_and_again(server: Server, tmp_path: Path) -> None:
    server.drop_after = 700_000
    assert pull_source(source(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=700000-", "bytes=1400000-", "bytes=2100000-", "bytes=2800000-"]


def test_a_server_without_ranges_that_drops_gives_up_in_one_line(server: Server, tmp_path: Path) -> None:
    server.drop_after, server.ranges = 700_000, False
    with pytest.raises(EngineError, match=r"700,000 bytes are kept in .*\.part, pull again") as error:
        pull_source(source(server), tmp_path)
    assert "\n" not in str(error.value) and len(server.asked) == 1 + download.ATTEMPTS
    server.drop_after = None
    assert pull_source(source(server), tmp_path).read_bytes() == CONTENT


def test_a_wrong_sha256_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"sha256 is [0-9a-f]{64}, expected 0000"):
        pull_source(source(server, sha256="0" * 64), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_wrong_size_is_seen_before_the_download(server: Server, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has 3,000,000 bytes, expected 2,999,999"):
        pull_source(source(server, bytes=len(CONTENT) - 1), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_that_name_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"mine")
    with pytest.raises(EngineError, match="delete it"):
        pull_source(source(server), tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == b"mine" and not server.asked


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (503, download.ATTEMPTS)])
def test_what_the_server_says(server: Server, tmp_path: Path, status: int, asked: int) -> None:
    server.status = status
    with pytest.raises(EngineError, match=f"the server says {status}"):
        pull_source(source(server), tmp_path)
    assert len(server.asked) == asked


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://127.0.0.1/x", "pipe:cat"])
def test_only_http(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(EngineError, match="not an http"):
        pull_source(source(server, url=url), tmp_path)
    server.redirect = url
    with pytest.raises(EngineError):
        pull_source(source(server), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_server_and_no_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match="can't be written to"):
        pull_source(source(server), tmp_path / "file")
    with pytest.raises(EngineError, match="pull again"):
        pull_source(source(server, url="http://127.0.0.1:9/weights.bin"), tmp_path)


def test_names_of_the_registry(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"knows mobile_sam, sam_vit_b.*yunet, lpd-yunet, yolox-nano$"):
        pull("sam_vit_z")
    with pytest.raises(EngineError, match="ships with the package"):
        pull("nano")
    with pytest.raises(EngineError, match="pip install --no-deps platedet"):
        pull("platedet")
    assert download._source("yunet").url.endswith(".onnx")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(download, "_source", lambda name: source(server, name=name))
    assert pull("sam_vit_b") == tmp_path / ".cache" / "dataengine" / "models" / "weights.bin"
