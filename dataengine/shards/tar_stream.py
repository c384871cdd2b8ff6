"""A strict, sequential tar reader.

The standard library ends quietly at a damaged header or a missing end of archive, which turns a damaged
shard into a shorter one. This one says what is wrong, and where, and looks at every byte: headers,
contents, padding and the end.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

BLOCK = 512
RECORD = 20 * BLOCK
"""Archives are padded with zeros to whole records; losing some of that loses no data, but is damage."""
_READ = 1 << 20


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class TarDamageError(Exception):
    """The archive can't be read on from here; the message says what and at which byte."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive. `offset` is where its contents begin."""

    info: tarfile.TarInfo
    offset: int
    data: bytes
    clean_padding: bool

    @property
    def name(self) -> str:
        return self.info.name.removeprefix("./")


def iter_members(stream: Readable) -> Iterator[Member]:
    """The regular files of an archive from its first to its last byte, contents included.

    Directories and extension headers are skipped. Reads forward only.

    Raises:
        TarDamageError: at a damaged header, at a short member, without an end of archive, or when
            anything but zeros follows the end.
    """
    position = 0
    while True:
        header = read_exactly(stream, BLOCK)
        info = parse_header(header, position)
        if info is None:
            _check_end(stream, position)
            return
        position += BLOCK
        offset, padding = position, -info.size % BLOCK
        data = read_exactly(stream, info.size)
        tail = read_exactly(stream, padding)
        if len(data) != info.size or len(tail) != padding:
            raise TarDamageError(f"cut short inside {info.name} (byte {offset + len(data)})")
        position += info.size + padding
        if info.isreg():
            yield Member(info, offset, data, not any(tail))


def scan_members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """(header, offset of the contents) of each regular file; seeks over the contents.

    Raises:
        TarDamageError: at a damaged header or without an end of archive.
    """
    position = 0
    while True:
        stream.seek(position)
        info = parse_header(read_exactly(stream, BLOCK), position)
        if info is None:
            return
        if info.isreg():
            yield info, position + BLOCK
        position += BLOCK + info.size + -info.size % BLOCK


def parse_header(block: bytes, position: int) -> tarfile.TarInfo | None:
    """The header in this block; None at the end of the archive."""
    if len(block) < BLOCK:
        raise TarDamageError(f"cut short: no end of archive (byte {position + len(block)})")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return None
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise TarDamageError(f"damaged tar header at byte {position}: {error}") from error
    if info.size < 0:
        raise TarDamageError(f"damaged tar header at byte {position}: negative size")
    return info


def read_exactly(stream: Readable, size: int) -> bytes:
    """`size` bytes, or fewer only at the end of the stream."""
    data = stream.read(size) if size else b""
    if len(data) == size:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and parts[-1]:
        parts.append(stream.read(missing))
        missing -= len(parts[-1])
    return b"".join(parts)


def _check_end(stream: Readable, position: int) -> None:
    position += BLOCK
    # An archive ends with two zero blocks; writers pad further, always with zeros.
    second = read_exactly(stream, BLOCK)
    if len(second) < BLOCK:
        raise TarDamageError(f"cut short: half an end of archive (byte {position + len(second)})")
    rest = second
    while rest:
        if any(rest):
            raise TarDamageError(f"data after the end of the archive (near byte {position})")
        position += len(rest)
        rest = stream.read(_READ)
