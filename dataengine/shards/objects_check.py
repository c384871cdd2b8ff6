"""Files against what commit records say of them: there, of the right size, with the right sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from dataengine.home.storage import Storage
from dataengine.shards.names import shard_of
from schemas import CommitRecord, StoredObject

_READ = 1 << 20


class HashingReader:
    """Reads forward and hashes what it hands out, so that a tar is read once and checked twice."""

    def __init__(self, stream: IO[bytes], *, hashing: bool) -> None:
        self._stream = stream
        self._digest = hashlib.sha256() if hashing else None
        self.bytes_read = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.bytes_read += len(data)
        if self._digest is not None:
            self._digest.update(data)
        return data

    def drain(self) -> int:
        """Reads to the end; returns the stream's length."""
        while self.read(_READ):
            pass
        return self.bytes_read

    def sha256(self) -> str | None:
        return self._digest.hexdigest() if self._digest is not None else None


class ObjectsCheck:
    """Keeps count of which recorded objects were met. They go by file name, wherever the tree lies."""

    def __init__(self, records: Iterable[CommitRecord], *, only: str | None = None) -> None:
        self._expected: dict[str, StoredObject] = {}
        for record in records:
            for stored in record.objects:
                name = stored.path.rpartition("/")[2]
                if shard_of(name) is not None and (only is None or shard_of(name) == shard_of(only)):
                    self._expected[name] = stored
        self._only = only
        self._tars: set[str] = set()

    def tar(self, name: str, size: int, sha256: str | None, complain: Callable[[str], None]) -> None:
        """A tar that was read to its end."""
        self._tars.add(name)
        expected = self._expected.get(name)
        what = "no commit record names it" if expected is None else _difference(expected, size, sha256)
        if what:
            complain(what)

    def close(self, storage: Storage) -> Iterator[tuple[str, str]]:
        """Checks everything else: the Parquet files, what is missing, what nobody recorded."""
        here = {name for name in storage.list("") if shard_of(name) is not None}
        if self._only is not None:
            here = {name for name in here if shard_of(name) == shard_of(self._only)}
        for name, expected in sorted(self._expected.items()):
            if name in self._tars:
                continue
            if name not in here:
                yield name, "is missing: its commit record names it"
                continue
            stored = storage.describe(name)
            what = _difference(expected, stored.bytes, stored.sha256)
            if what:
                yield name, what
        for name in sorted(here - self._expected.keys() - self._tars):
            yield name, "no commit record names it"


def _difference(expected: StoredObject, size: int, sha256: str | None) -> str | None:
    if size != expected.bytes:
        return f"has {size} bytes, its commit record says {expected.bytes}"
    if sha256 != expected.sha256:
        return "differs from its commit record (sha256)"
    return None
