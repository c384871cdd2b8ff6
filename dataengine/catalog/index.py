"""Which inputs and which bytes are known already: two sets on disk, for catalogs larger than memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

_BATCH = 20_000


class SeenIndex:
    """Known (source, path) pairs and sha256 -> image id. A cache made from the catalog, deleted on close.

    Use as a context manager. Not for several threads.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dataengine-seen-", dir=folder)
        self._db = sqlite3.connect(Path(self._folder.name) / "seen.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.execute("CREATE TABLE inputs (source TEXT, path TEXT, PRIMARY KEY (source, path)) WITHOUT ROWID")
        self._db.execute("CREATE TABLE content (sha256 BLOB PRIMARY KEY, image_id INTEGER) WITHOUT ROWID")
        self._db.execute("CREATE TEMP TABLE asked (n INTEGER PRIMARY KEY, a, b)")

    def __enter__(self) -> SeenIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes and deletes the index."""
        self._db.close()
        self._folder.cleanup()

    # inputs ------------------------------------------------------------------------------------------

    def add_inputs(self, inputs: Iterable[tuple[str, str]]) -> None:
        """Marks (source, path) pairs as known; knowing one already is no error."""
        self._insert("INSERT OR IGNORE INTO inputs VALUES (?, ?)", inputs)

    def contains_inputs(self, inputs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (source, path): is it known?"""
        rows = self._ask(
            inputs,
            "SELECT n, inputs.path IS NOT NULL FROM asked "
            "LEFT JOIN inputs ON inputs.source = asked.a AND inputs.path = asked.b",
        )
        return [bool(rows[n]) for n in range(len(inputs))]

    # content -----------------------------------------------------------------------------------------

    def add_content(self, content: Iterable[tuple[str, int]]) -> None:
        """Remembers (sha256, image id); the first id of a hash stays.

        The caller adds in the order of image ids, so "first" means the lowest id.
        """
        packed = ((bytes.fromhex(digest), image_id) for digest, image_id in content)
        self._insert("INSERT OR IGNORE INTO content VALUES (?, ?)", packed)

    def find_content(self, digests: Sequence[str]) -> list[int | None]:
        """For each sha256 (hex): the image id of the first image with these bytes, or None."""
        asked = [(bytes.fromhex(digest), None) for digest in digests]
        rows = self._ask(asked, "SELECT n, image_id FROM asked LEFT JOIN content ON content.sha256 = asked.a")
        return [rows[n] for n in range(len(digests))]

    def first_of(self, content: Sequence[tuple[str, int]]) -> list[int]:
        """Adds (sha256, image id) rows and says, for each, the id of the first image with these bytes.

        That is the row's own id when it is the first; otherwise the row is `duplicate of` the answer.
        """
        self.add_content(content)
        found = self.find_content([digest for digest, _ in content])
        return [image_id for image_id in found if image_id is not None]

    def _insert(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        iterator = iter(rows)
        while batch := list(islice(iterator, _BATCH)):
            self._db.execute("BEGIN")
            self._db.executemany(statement, batch)
            self._db.execute("COMMIT")

    def _ask(self, rows: Sequence[tuple[object, object]], question: str) -> dict[int, int | None]:
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM asked")
        self._db.executemany("INSERT INTO asked VALUES (?, ?, ?)", ((n, *row) for n, row in enumerate(rows)))
        answer = dict(self._db.execute(question).fetchall())
        self._db.execute("COMMIT")
        return answer
