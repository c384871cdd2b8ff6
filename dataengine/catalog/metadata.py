"""Who made an image and under which licence: `metadata.csv` or `metadata.jsonl` beside the images.

Hugging Face's imagefolder convention: a column `file_name` with the path relative to the folder, and any of
licence (or license), author, source_url and caption; other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataengine.errors import EngineError

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
_NAMES = {
    "licence": "licence",
    "license": "licence",
    "author": "author",
    "source_url": "source_url",
    "caption": "caption",
}
_FIELDS = ("licence", "author", "source_url", "caption")


class Metadata:
    """Lookup from a path to its fields; on disk, so that 11 million rows cost no memory."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    def get(self, path: str) -> dict[str, str | None]:
        """The four fields of `path`, or {} when the file names nothing for it."""
        if self._connection is None:
            return {}
        row = self._connection.execute(f"SELECT {','.join(_FIELDS)} FROM rows WHERE path = ?", (path,)).fetchone()
        return dict(zip(_FIELDS, row, strict=True)) if row else {}


@contextmanager
def read_metadata(data: bytes | None, name: str) -> Iterator[Metadata]:
    """`Metadata` of one file's bytes; empty for None. Raises `EngineError` that names file and line."""
    if data is None:
        yield Metadata(None)
        return
    with tempfile.TemporaryDirectory(prefix="dataengine-metadata-") as folder:
        connection = sqlite3.connect(Path(folder) / "rows.db")
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("CREATE TABLE rows (path TEXT PRIMARY KEY, licence, author, source_url, caption)")
            rows = _jsonl_rows(data, name) if name.endswith(".jsonl") else _csv_rows(data, name)
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", rows)
            yield Metadata(connection)
        finally:
            connection.close()


_Row = tuple[str, str | None, str | None, str | None, str | None]


def _csv_rows(data: bytes, name: str) -> Iterator[_Row]:
    reader = csv.DictReader(_lines(data, name), strict=True)
    try:
        if "file_name" not in (reader.fieldnames or ()):
            raise EngineError(f"{name}, line 1: no column `file_name`")
        for row in reader:
            if None in row or None in row.values():
                raise EngineError(f"{name}, line {reader.line_num}: not as many values as the header has columns")
            yield _row(row, name, reader.line_num)
    except csv.Error as error:
        raise EngineError(f"{name}, line {reader.line_num}: {error}") from error


def _jsonl_rows(data: bytes, name: str) -> Iterator[_Row]:
    for number, line in enumerate(_lines(data, name), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise EngineError(f"{name}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise EngineError(f"{name}, line {number}: not a JSON object")
        yield _row(row, name, number)


def _lines(data: bytes, name: str) -> io.StringIO:
    try:
        return io.StringIO(data.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise EngineError(f"{name}, line {number}: not UTF-8") from error


def _row(row: dict[str, object], name: str, number: int) -> _Row:
    path = row.get("file_name")
    if not isinstance(path, str) or not path.strip():
        raise EngineError(f"{name}, line {number}: `file_name` is empty")
    fields: dict[str, str | None] = {}
    for column, ours in _NAMES.items():
        value = row.get(column)
        if value not in (None, ""):
            if not isinstance(value, str | int | float):
                raise EngineError(f"{name}, line {number}: `{column}` is not text")
            fields[ours] = str(value)
    clean = path.strip().replace("\\", "/").removeprefix("./")
    return clean, fields.get("licence"), fields.get("author"), fields.get("source_url"), fields.get("caption")
