"""Finished work inside a unit that isn't done yet: on a CPU one shard is hours, so it is kept in chunks.

A chunk is one tar of named blobs, written at once under an attempt's name. After a death the next attempt
reads them all; a blob that two attempts made counts once (they are equal: a shard is a pure function of
its plan). The journal goes when the unit's commit record exists.
"""

from __future__ import annotations

import io
import tarfile
import time
import uuid
from collections.abc import Iterator

from dataengine.home import layout
from dataengine.home.storage import Storage

CHUNK_BYTES = 32 << 20
CHUNK_SECONDS = 20.0


class Journal:
    """Append-only blobs of one unit. Keeps an index in memory, and the bytes in storage."""

    def __init__(self, storage: Storage, workflow: str, unit: str) -> None:
        self._storage, self._folder = storage, layout.journal(workflow, unit)
        self._attempt = uuid.uuid4().hex[:12]
        self._pending: dict[str, bytes] = {}
        self._pending_bytes = 0
        self._flushed_at = time.monotonic()
        self._chunks = 0
        self._where: dict[str, tuple[str, int, int]] = {}
        for name in storage.list(self._folder):
            if name.endswith(".tar"):
                self._index(f"{self._folder}/{name}")

    def __contains__(self, name: str) -> bool:
        return name in self._where or name in self._pending

    def __len__(self) -> int:
        return len(self._where.keys() | self._pending.keys())

    def add(self, name: str, blob: bytes) -> None:
        """Keeps a blob; it survives a death once its chunk is full or `CHUNK_SECONDS` old."""
        self._pending[name] = blob
        self._pending_bytes += len(blob)
        if self._pending_bytes >= CHUNK_BYTES or time.monotonic() - self._flushed_at >= CHUNK_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what is pending as one chunk."""
        self._flushed_at = time.monotonic()
        if not self._pending:
            return
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, blob in self._pending.items():
                info = tarfile.TarInfo(name)
                info.size = len(blob)
                tar.addfile(info, io.BytesIO(blob))
        path = f"{self._folder}/{self._attempt}-{self._chunks:05d}.tar"
        self._storage.write(path, buffer.getvalue())
        self._chunks += 1
        self._pending.clear()
        self._pending_bytes = 0
        self._index(path)

    def read(self, names: list[str]) -> Iterator[bytes]:
        """The blobs of these names, in this order; flushes first. Opens a chunk once per run of names in it."""
        self.flush()
        opened, stream = "", None
        try:
            for name in names:
                path, offset, size = self._where[name]
                if path != opened:
                    if stream is not None:
                        stream.close()
                    opened, stream = path, self._storage.open(path)
                assert stream is not None
                stream.seek(offset)
                yield stream.read(size)
        finally:
            if stream is not None:
                stream.close()

    def _index(self, path: str) -> None:
        with self._storage.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                self._where.setdefault(member.name, (path, member.offset_data, member.size))


def remove_journal(storage: Storage, workflow: str, unit: str) -> None:
    """Called by the owner after the unit's commit record was written."""
    storage.remove(layout.journal(workflow, unit))
