"""Where images come from: folders, single files, globs, on this disk or behind any fsspec URL.

A listing of 11 million files never lies in memory: folders are walked one at a time, in a stable sorted
order, and only one folder's names are held.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from dataengine.catalog.metadata import METADATA_FILES, Metadata, read_metadata
from dataengine.errors import ConfigError, EngineError, SourceGoneError

IMAGE_EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".avif", ".jp2"),
        *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
SCHEMES = frozenset({"", "file", "local", "memory", "s3", "s3a", "gs", "gcs", "az", "abfs"})
"""Everything else is refused: `pipe:` and `ssh` run commands, `http` hides what it fetches and can't list."""

RETRY_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between tries when a source doesn't answer."""


@dataclass(frozen=True)
class SourceInput:
    """One image file: `path` is relative to the root of `source`, with `/` on every system."""

    source: str
    path: str
    licence: str | None = None
    author: str | None = None
    source_url: str | None = None
    caption: str | None = None


@dataclass
class ListingCounts:
    """What a listing passed over; filled in while it runs."""

    images: int = 0
    hidden: int = 0
    other: int = 0
    by_source: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """A source opened: its file system, its root folder and, for a glob or one file, what must match."""

    fs: Any
    root: str
    local: bool
    pattern: str | None = None
    wanted: str = ""
    """What has to exist: the root, or the one file."""

    def disk_path(self, path: str) -> str:
        """Where `path` (catalog text, relative to the root, may be empty) lies on this disk."""
        return os.fsdecode(os.fsencode(self.root) + b"/" + _unescape(path)) if path else self.root


def list_inputs(sources: list[str], base: str, counts: ListingCounts | None = None) -> Iterator[SourceInput]:
    """Every image file of `sources`, source by source, folder by folder, sorted by name.

    `sources` are folders, files or globs: local paths (relative ones start at `base`, the home) or URLs.
    Hidden files, other extensions and links that lead back up are passed over and counted in `counts`. A
    `metadata.csv` or `metadata.jsonl` in a source's root gives licence, author, source_url and caption.
    Raises `ConfigError` for a source that doesn't exist or holds no image, and `EngineError` for one that
    is refused or whose metadata file is damaged.
    """
    counts = counts if counts is not None else ListingCounts()
    if not sources:
        raise ConfigError("images: names no source; give folders, files or URLs")
    for source in sources:
        place = _open(source, base)
        before = counts.images
        with read_metadata(*_metadata_file(place, source)) as metadata:
            for path in _walk(place, counts):
                counts.images += 1
                yield _described(source, path, metadata)
        counts.by_source[source] = counts.images - before
        if counts.images == before:
            raise ConfigError(f"images: {source} holds no image file ({', '.join(sorted(IMAGE_EXTENSIONS))})")


def read_source(source: str, path: str, base: str) -> bytes:
    """The bytes of one listed input.

    Raises SourceGoneError when this input is gone or unreadable, EngineError when the source's storage
    didn't answer after several tries with growing pauses: that is no input's fault.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise EngineError(f"{path}: not a path inside {source}")
    place = _root_of(source, base)
    for pause in (*RETRY_PAUSES, None):
        try:
            if place.local:
                return Path(place.disk_path(path)).read_bytes()
            return bytes(place.fs.cat_file(posixpath.join(place.root, path)))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
            if place.local and not Path(place.root).is_dir():
                # An unmounted disk must stop the run, not turn every image of it into a rejected row.
                raise EngineError(f"{source} can't be reached; mount it or put it back, then run again") from error
            reason = "is gone" if isinstance(error, FileNotFoundError) else "can't be read"
            raise SourceGoneError(f"{path} {reason}; put it back or run ingest again") from error
        except OSError as error:
            if pause is None:
                raise EngineError(f"{source} can't be reached ({error.strerror or error}); run again later") from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def _described(source: str, path: str, metadata: Metadata) -> SourceInput:
    known = metadata.get(path)
    return SourceInput(source, path, **known) if known else SourceInput(source, path)


# opening ---------------------------------------------------------------------------------------------


def check_source(source: str) -> str:
    """The URL scheme, or "" for a plain path; `c:` or a colon in a file name is no scheme.

    Raises ConfigError for a URL that no command opens.
    """
    match = re.match(r"^([A-Za-z][A-Za-z0-9+.\-]*)(://|::|:)", source)
    scheme = match.group(1).lower() if match else ""
    if match and match.group(2) == ":" and scheme not in ("pipe", "shell", "exec", "cmd"):
        scheme = ""
    if scheme not in SCHEMES or "::" in source:
        raise ConfigError(f"images: {source} is refused: give a folder, file://, s3:// or gs://")
    return scheme


def _filesystem(source: str, base: str) -> tuple[Any, str, bool]:
    """(fsspec file system, full path, is it on this disk) of a source; relative paths start at `base`."""
    scheme = check_source(source)
    if scheme in ("", "file", "local"):
        local = source if not scheme else urlsplit(source.replace("local:", "file:", 1)).path
        if not Path(local).expanduser().is_absolute() and check_source(base) not in ("", "file", "local"):
            return _filesystem(f"{base.rstrip('/')}/{local}", base)
        root = urlsplit(base).path if base.startswith("file:") else base
        full = Path(root).expanduser() / Path(local).expanduser()
        return fsspec.filesystem("file"), os.path.abspath(full), True  # noqa: PTH100 - keeps links in the path
    try:
        fs, full = fsspec.core.url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"images: {source}: {error}") from error
    return fs, full.rstrip("/"), False


def _root_of(source: str, base: str) -> _Place:
    """The place whose root a source's paths are relative to, without asking the store what exists."""
    fs, full, local = _filesystem(source, base)
    # A folder may be called `a[1]`: what exists under the very name is no glob.
    if _is_glob(full) and not (local and os.path.lexists(full)):
        parts = full.split("/")
        first = next(i for i, part in enumerate(parts) if _is_glob(part))
        root = "/".join(parts[:first]) or "/"
        return _Place(fs, root, local, "/".join(parts[first:]), wanted=root)
    is_file = posixpath.splitext(full)[1].lower() in IMAGE_EXTENSIONS
    if is_file and not (local and Path(full).is_dir()):
        name = re.sub(r"([*?[])", r"[\1]", _escape(posixpath.basename(full)))
        return _Place(fs, posixpath.dirname(full), local, name, wanted=full)
    return _Place(fs, full, local, wanted=full)


def _open(source: str, base: str) -> _Place:
    """`_root_of`, and the source exists."""
    place = _root_of(source, base)
    try:
        exists = Path(place.wanted).exists() if place.local else _exists(place)
    except Exception as error:
        raise EngineError(f"images: {source} can't be reached ({type(error).__name__}: {error})") from error
    if not exists:
        raise ConfigError(f"images: {source} doesn't exist (looked at {_printable(place.wanted)})")
    if place.local and not Path(place.root).is_dir():
        raise ConfigError(f"images: {source} is neither a folder nor an image file")
    return place


def _exists(place: _Place) -> bool:
    """An object-store folder exists when something lies in it, or as a marker."""
    place.fs.invalidate_cache()
    return bool(place.fs.exists(place.wanted))


def _is_glob(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _metadata_file(place: _Place, source: str) -> tuple[bytes | None, str]:
    """(bytes of the metadata file in the source's root or None, its name for error messages)."""
    for name in METADATA_FILES:
        full = posixpath.join(place.root, name)
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            data = Path(full).read_bytes() if place.local else bytes(place.fs.cat_file(full))
            return data, f"{source.rstrip('/')}/{name}"
    return None, source


# walking ---------------------------------------------------------------------------------------------


def _walk(place: _Place, counts: ListingCounts) -> Iterator[str]:
    """Paths of image files below the root, relative to it; one folder's names in memory at a time."""
    matches = _matcher(place.pattern)
    pending: list[tuple[str, tuple[str, ...]]] = [("", ())]
    deep = place.pattern is None or "/" in place.pattern or "**" in place.pattern
    while pending:
        folder, above = pending.pop()
        folders, files = _entries(place, folder)
        here = (*above, _identity(place, folder))
        for name in sorted(files):
            path = f"{folder}/{name}" if folder else name
            if name.startswith("."):
                counts.hidden += 1
            elif posixpath.splitext(name)[1].lower() not in IMAGE_EXTENSIONS:
                counts.other += name not in METADATA_FILES
            elif matches is None or matches.match(path):
                yield path
        if not deep:
            return
        for name in sorted(folders, reverse=True):
            path = f"{folder}/{name}" if folder else name
            # A link back to a folder that this one lies in would be walked for ever.
            if name.startswith(".") or _identity(place, path) in here:
                counts.hidden += 1
            else:
                pending.append((path, here))


def _entries(place: _Place, folder: str) -> tuple[list[str], list[str]]:
    """(folder names, file names) directly in `folder`; broken links and sockets are left out."""
    folders: list[str] = []
    files: list[str] = []
    if place.local:
        try:
            with os.scandir(place.disk_path(folder)) as entries:
                for entry in entries:
                    name = _escape(entry.name)
                    if entry.is_dir():
                        folders.append(name)
                    elif entry.is_file():
                        files.append(name)
        except OSError as error:
            raise EngineError(
                f"images: {_printable(folder or place.root)} can't be listed ({error.strerror})"
            ) from error
        return folders, files
    full = posixpath.join(place.root, folder) if folder else place.root
    for entry in place.fs.ls(full, detail=True):
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if entry["name"].rstrip("/") == full.rstrip("/") or not name:
            continue
        (folders if entry["type"] == "directory" else files).append(name)
    return folders, files


def _identity(place: _Place, folder: str) -> str:
    """What tells a folder reached through a link from another one; the path itself on an object store."""
    if not place.local:
        return folder
    return os.path.realpath(place.disk_path(folder))


def _matcher(pattern: str | None) -> re.Pattern[str] | None:
    """A glob over paths: `*` stays inside one folder, `**` crosses folders."""
    if pattern is None:
        return None
    out = ""
    for part in re.split(r"(\*\*/|\*\*)", pattern):
        if part == "**/":
            out += "(?:[^/]+/)*"
        elif part == "**":
            out += ".*"
        elif part:
            out += (
                fnmatch.translate(part)
                .removeprefix("(?s:")
                .removesuffix(r")\Z")
                .removesuffix(r")\z")
                .replace(".*", "[^/]*")
            )
    return re.compile(out + r"\Z", re.DOTALL)


# names that aren't UTF-8 -----------------------------------------------------------------------------
# Linux file names are bytes. Python shows the odd ones as lone surrogates, which neither Arrow nor SQLite
# can store; in the catalog such a byte is written as `%FF`, a percent sign before two hex digits as `%25`.

_ESCAPED = re.compile("%([0-9A-F]{2})")


def _escape(name: str) -> str:
    """A directory entry's name as catalog text; plain names stay as they are."""
    name = re.sub("%(?=[0-9A-F]{2})", "%25", name)
    return re.sub("[\udc80-\udcff]", lambda match: f"%{ord(match.group()) - 0xDC00:02X}", name)


def _unescape(path: str) -> bytes:
    """Bytes of a path on disk from its catalog text."""
    out, last = b"", 0
    for match in _ESCAPED.finditer(path):
        value = int(match.group(1), 16)
        if value != 0x25 and value < 0x80:
            continue
        out += os.fsencode(path[last : match.start()]) + bytes([value])
        last = match.end()
    return out + os.fsencode(path[last:])


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
