"""Where images come from: folders, globs and single files, local or behind any fsspec URL, as one stream.

Metadata beside the images follows the Hugging Face imagefolder convention: `metadata.csv` or
`metadata.jsonl` in the source's root, with `file_name` and any of `licence`, `author`, `source_url`,
`caption`.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec

from dataengine.errors import ConfigError, EngineError

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .pnm .jp2 .j2k .tga .avif".split()
)
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
_REFUSED = ("pipe", "shell", "ssh")
_FIELDS = ("licence", "author", "source_url", "caption")
_GLOB = "*?["


@dataclass(frozen=True)
class SourceInput:
    """One file of a source: `path` is relative to `source`, with `/`."""

    source: str
    path: str
    licence: str | None = None
    author: str | None = None
    source_url: str | None = None
    caption: str | None = None


def absolute_source(source: str) -> str:
    """What `init` writes into `engine.yaml` for a path that a person typed in some folder.

    Raises ConfigError for shell URLs and for a local path that doesn't exist.
    """
    if _scheme(source):
        return source
    path = str(Path(source).expanduser().absolute())
    if not os.path.exists(path) and not any(sign in path for sign in _GLOB):  # noqa: PTH110
        raise ConfigError(f"--images {source}: no such file or folder")
    return path


class SourceListing:
    """Streams the inputs of all sources in a stable order; counts the files that are not images by name.

    Memory: the names of one folder at a time. Iterate once.

    Raises (while iterating) ConfigError for a source that doesn't exist or holds no image, EngineError for
    malformed metadata.
    """

    def __init__(self, sources: Iterable[str], base: str) -> None:
        self._sources, self._base = list(sources), base
        self.ignored = 0

    def __iter__(self) -> Iterator[SourceInput]:
        for source in self._sources:
            found = False
            for item in self._list(source):
                found = True
                yield item
            if not found:
                raise ConfigError(f"images: {source}: no image in it ({', '.join(sorted(EXTENSIONS))})")

    def _list(self, source: str) -> Iterator[SourceInput]:
        url = _resolve(source, self._base)
        fs, root = fsspec.core.url_to_fs(url)
        if not _is_remote(url) and os.path.isfile(root) or _is_remote(url) and fs.isfile(root):  # noqa: PTH113
            folder, _, name = source.rstrip("/").rpartition("/")
            if self._is_image(name):
                yield SourceInput(folder or ("/" if source.startswith("/") else "."), name)
        elif any(sign in root for sign in _GLOB) and not fs.isdir(root):
            for name in sorted(fs.glob(root)):
                folder, _, file = name.rpartition("/")
                if self._is_image(file) and fs.isfile(name):
                    yield SourceInput(str(fs.unstrip_protocol(folder)) if _is_remote(url) else folder, file)
        elif fs.isdir(root):
            with _Metadata(fs, root) as metadata:
                for path in self._walk(fs, root):
                    yield SourceInput(source, path, **metadata.of(path))
        else:
            raise ConfigError(f"images: {source}: no such file or folder")

    def _walk(self, fs: Any, root: str) -> Iterator[str]:
        """Relative paths of the images below `root`, depth first, each folder sorted; no symlink is entered."""
        stack = [""]
        while stack:
            folder = stack.pop()
            files, folders = [], []
            for entry in fs.ls(f"{root}/{folder}" if folder else root, detail=True):
                name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
                if name.startswith(".") or not name:
                    continue
                path = f"{folder}/{name}" if folder else name
                if entry["type"] == "directory":
                    if not entry.get("islink"):
                        folders.append(path)
                elif self._is_image(name):
                    files.append(path)
            yield from sorted(files)
            stack.extend(sorted(folders, reverse=True))

    def _is_image(self, name: str) -> bool:
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix in EXTENSIONS:
            try:
                name.encode("utf-8")
                return True
            except UnicodeEncodeError:
                pass  # such a name fits no Parquet column; it is counted, and the person told
        self.ignored += name not in METADATA_FILES
        return False


def read_source(source: str, path: str, base: str) -> bytes:
    """The bytes of one input. Raises FileNotFoundError when it is gone, OSError when storage fails."""
    url = _resolve(source, base)
    fs, root = fsspec.core.url_to_fs(url)
    return bytes(fs.cat_file(f"{root}/{path}"))


class _Metadata:
    """The rows of a source's metadata file, on disk rather than in memory."""

    def __init__(self, fs: Any, root: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dataengine-metadata-")
        self._db: sqlite3.Connection | None = None
        for name in METADATA_FILES:
            if fs.isfile(f"{root}/{name}"):
                self._db = sqlite3.connect(Path(self._folder.name) / "rows.sqlite")
                self._db.execute("CREATE TABLE rows (file TEXT PRIMARY KEY, fields TEXT) WITHOUT ROWID")
                with fs.open(f"{root}/{name}", "r", encoding="utf-8-sig", newline="") as stream:
                    rows = _csv_rows(stream, name) if name.endswith(".csv") else _json_rows(stream, name)
                    self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", rows)
                break

    def __enter__(self) -> _Metadata:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()
        self._folder.cleanup()

    def of(self, path: str) -> dict[str, str]:
        """The metadata fields of one file; empty when there are none."""
        if self._db is None:
            return {}
        row = self._db.execute("SELECT fields FROM rows WHERE file = ?", (path,)).fetchone()
        return json.loads(row[0]) if row else {}


def _csv_rows(stream: IO[str], name: str) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(stream, strict=True)
    if "file_name" not in (reader.fieldnames or []):
        raise EngineError(f"{name}: line 1: no column `file_name`")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise EngineError(f"{name}: line {reader.line_num}: {len(reader.fieldnames or [])} fields expected")
            yield row["file_name"], _fields(row)
    except csv.Error as error:
        raise EngineError(f"{name}: line {reader.line_num}: {error}") from error


def _json_rows(stream: IO[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield row["file_name"], _fields(row)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineError(f"{name}: line {number}: expected a JSON object with `file_name`") from None


def _fields(row: dict[str, Any]) -> str:
    given = {**row, "licence": row.get("licence") or row.get("license")}
    return json.dumps({field: str(given[field]) for field in _FIELDS if given.get(field)})


def _scheme(source: str) -> str:
    scheme = urlsplit(source).scheme if "://" in source or source.split(":")[0] in _REFUSED else ""
    if scheme in _REFUSED or source.split(":")[0] in _REFUSED:
        raise ConfigError(f"images: {source}: {source.split(':')[0]}: URLs are refused everywhere")
    if "::" in source:
        raise ConfigError(f"images: {source}: chained URLs are refused; give the folder itself")
    return scheme


def _is_remote(url: str) -> bool:
    return _scheme(url) not in ("", "file", "local")


def _resolve(source: str, base: str) -> str:
    """`source` as a URL or absolute path; a relative one lies below the home."""
    if _scheme(source) or source.startswith("/"):
        return source
    return f"{base.rstrip('/')}/{source.rstrip('/')}"

