"""What has been seen already: disk-backed, so that ingest holds at eleven million rows.

Lives in a temporary folder of the driver and is rebuilt from plan and catalog at every start: it is an
index, never the truth.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType


class SeenIndex:
    """Inputs by (source, path), and file contents by sha256."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dataengine-seen-")
        self._db = sqlite3.connect(Path(self._folder.name) / "seen.sqlite", isolation_level=None)
        # Losing the index costs a rebuild, so it is never synced.
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;"
            "CREATE TABLE inputs (key BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE hashes (sha256 BLOB PRIMARY KEY, image_id INTEGER) WITHOUT ROWID;"
        )

    def __enter__(self) -> SeenIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add_input(self, source: str, path: str) -> bool:
        """True when (source, path) is new."""
        return self._db.execute("INSERT OR IGNORE INTO inputs VALUES (?)", (_key(source, path),)).rowcount == 1

    def add_inputs(self, inputs: Iterable[tuple[str, str]]) -> None:
        """Many (source, path) at once."""
        self._db.executemany("INSERT OR IGNORE INTO inputs VALUES (?)", ((_key(s, p),) for s, p in inputs))

    def add_hash(self, sha256: str, image_id: int) -> int:
        """The id of the first image with this content: `image_id` itself when it is new."""
        digest = bytes.fromhex(sha256)
        self._db.execute("INSERT OR IGNORE INTO hashes VALUES (?, ?)", (digest, image_id))
        row = self._db.execute("SELECT image_id FROM hashes WHERE sha256 = ?", (digest,)).fetchone()
        return int(row[0])


def _key(source: str, path: str) -> bytes:
    return hashlib.blake2b(f"{source}\0{path}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
