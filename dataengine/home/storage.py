"""One folder or object-store prefix, through fsspec. Every path is relative to it and uses `/`.

Two promises hold on every backend: an object under its final name is whole, and `create` lets exactly one
caller win. On a POSIX folder they rest on fsync + rename and on hard links; on an object store on atomic
and conditional puts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec

from dataengine.errors import ConfigError, EngineError
from schemas import StoredObject

CHUNK = 1 << 20
_SHELLS = ("pipe", "shell", "ssh")


class Storage:
    """Objects below `url` (a local folder, `file://`, `s3://`, `gs://`, ...). Cheap to make and to pickle."""

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme if "://" in url or url.startswith("pipe:") else ""
        if scheme in _SHELLS:
            raise ConfigError(f"{url}: {scheme}: URLs are refused everywhere; give a folder or an fsspec URL")
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{url}: {error}") from error
        self._fs: Any = fs
        self.is_local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
        self._root = str(Path(root).absolute()) if self.is_local else root.rstrip("/")
        self.url = self._root if self.is_local else url.rstrip("/")

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def full(self, path: str) -> str:
        """The backend's own name of `path`; refuses to leave the home."""
        if path.startswith("/") or ".." in path.split("/"):
            raise EngineError(f"{path}: not a path inside {self.url}")
        return f"{self._root}/{path}" if path else self._root

    def url_of(self, path: str) -> str:
        """`path` as a URL (or absolute local path) that any fsspec reader opens."""
        return f"{self.url}/{path}"

    def local_path(self, path: str) -> Path:
        """`path` on the local disk; only where `is_local`."""
        if not self.is_local:
            raise EngineError(f"{self.url} is not on a local disk")
        return Path(self.full(path))

    # reading -----------------------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self.full(path)))

    def size(self, path: str) -> int:
        return int(self._fs.size(self.full(path)))

    def read(self, path: str) -> bytes:
        return bytes(self._fs.cat_file(self.full(path)))

    def open(self, path: str) -> IO[bytes]:
        """Random-access reader."""
        return self._fs.open(self.full(path), "rb")

    def list(self, folder: str) -> list[str]:
        """Names (not paths) in `folder`, sorted; empty when it doesn't exist. Never served from a cache."""
        full = self.full(folder)
        self._fs.invalidate_cache(full)
        try:
            entries = self._fs.ls(full, detail=False)
        except FileNotFoundError:
            return []
        names = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        # An object store may list the folder's own marker.
        return sorted(names - {full.rsplit("/", 1)[-1], ""})

    def describe(self, path: str) -> StoredObject:
        """Reads the object back from storage and hashes what is really there."""
        digest, total = hashlib.sha256(), 0
        with self.open(path) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                total += len(chunk)
        return StoredObject(path=path, bytes=total, sha256=digest.hexdigest())

    # writing -----------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes) -> None:
        """Replaces `path` at once: a reader sees the old object or the new one, never a part."""
        if self.is_local:
            target = self._prepare(path)
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
            _write_durably(part, data)
            part.replace(target)
            sync(target.parent)
        else:
            self._fs.pipe_file(self.full(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Writes `path` only if it doesn't exist; False when somebody else was first."""
        if self.is_local:
            target = self._prepare(path)
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
            _write_durably(part, data)
            try:
                os.link(part, target)
            except FileExistsError:
                return False
            finally:
                part.unlink()
            sync(target.parent)
            return True
        if self.exists(path):
            return False
        try:
            self._fs.pipe_file(self.full(path), data, mode="create")
        except (FileExistsError, OSError) as error:
            if isinstance(error, FileExistsError) or "PreconditionFailed" in str(error) or self.exists(path):
                return False
            raise
        return True

    @contextmanager
    def attempt_folder(self, paths: Sequence[str]) -> Iterator[Path]:
        """A local folder to write several files into; they lie at `paths` (one folder, an attempt's) afterwards.

        On a local home it is that folder itself, so a shard's bytes are written once; the writer fsyncs.
        """
        if self.is_local:
            folder = self._prepare(paths[0]).parent
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="dataengine-") as name:
            yield Path(name)
            for path in paths:
                self._fs.put_file(f"{name}/{path.rpartition('/')[2]}", self.full(path))

    @contextmanager
    def staged(self, path: str) -> Iterator[Path]:
        """A local file to write at leisure; it takes the name `path` at once when the block ends well."""
        if self.is_local:
            target = self._prepare(path)
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
            try:
                yield part
                sync(part)
                part.replace(target)
                sync(target.parent)
            finally:
                part.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="dataengine-") as folder:
                part = Path(folder) / "object"
                yield part
                self._fs.put_file(str(part), self.full(path))

    def promote(self, attempt: str, final: str) -> None:
        """Gives a finished attempt its final name: rename on POSIX, server-side copy elsewhere."""
        if self.is_local:
            target = self._prepare(final)
            Path(self.full(attempt)).replace(target)
            sync(target.parent)
        else:
            self._fs.cp_file(self.full(attempt), self.full(final))
            self._fs.rm_file(self.full(attempt))

    def promote_folder(self, attempt: str, final: str, last: str) -> None:
        """Gives a whole finished folder its final name: on POSIX at once. Elsewhere object by object, `last` (a path
        in the folder) after all others, so that it is there only when they are; what a killed run had copied goes.

        Raises EngineError when `final` is there already.
        """
        if self.is_local:
            source, target = Path(self.full(attempt)), self._prepare(final)
            for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
                sync(folder)
            try:
                source.replace(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise EngineError(f"{self.url_of(final)} is there already; move it away") from error
            sync(target.parent)
            return
        if self.exists(f"{final}/{last}"):
            raise EngineError(f"{self.url_of(final)} is there already; move it away")
        self.remove(final)
        prefix = f"{self.full(attempt)}/"
        self._fs.invalidate_cache()
        names = sorted(found[len(prefix) :] for found in self._fs.find(self.full(attempt)))
        for name in [*(name for name in names if name != last), last]:
            self._fs.cp_file(prefix + name, f"{self.full(final)}/{name}")
        self.remove(attempt)

    def remove(self, path: str) -> None:
        """Deletes an object or a whole folder; no error when it is already gone."""
        full = self.full(path)
        if self.is_local:
            if Path(full).is_dir():
                shutil.rmtree(full, ignore_errors=True)
            else:
                Path(full).unlink(missing_ok=True)
            return
        self._fs.invalidate_cache()
        # One by one: fsspec's recursive remove takes a `[` in a name for a pattern.
        for name in self._fs.find(full):
            self._fs.rm_file(name)

    def _prepare(self, path: str) -> Path:
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())


def sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's names, durable: a rename is only once its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
