"""Reads shards: every sample of a tar in order, or one image by its id.

A shard also loads unchanged with `webdataset.WebDataset(path)`; this reader adds typed records, errors that
name the image, and reading from any fsspec URL.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO

from pydantic import ValidationError

from dataengine.errors import EngineError
from dataengine.home.storage import Storage
from dataengine.shards.names import image_id_of, key_of, split_url
from dataengine.shards.tar_stream import TarDamageError, iter_members, read_exactly, scan_members
from schemas import SampleRecord


class DamagedShardError(EngineError):
    """A shard can't be read; the message names the shard, the image where there is one, and the damage."""


def open_url(url: str) -> IO[bytes]:
    """A random-access reader of a local path or fsspec URL. `pipe:` and its kind are refused.

    Raises:
        EngineError: when it isn't there.
    """
    folder, name = split_url(url)
    try:
        return Storage(folder).open(name)
    except FileNotFoundError as error:
        raise EngineError(f"{url}: no such file") from error


def read_samples(url: str) -> Iterator[tuple[SampleRecord, bytes]]:
    """(record, JPEG bytes) of each sample of a tar, in its order. Holds one sample at a time.

    Raises:
        DamagedShardError: at the first damage.
    """
    with open_url(url) as stream:
        waiting: tuple[str, dict[str, bytes]] | None = None
        try:
            for member in iter_members(stream):
                key, _, extension = member.name.partition(".")
                if waiting is None or waiting[0] != key:
                    if waiting is not None:
                        raise DamagedShardError(f"{url}: {waiting[0]}: no pair of .jpg and .json")
                    waiting = key, {}
                waiting[1][extension] = member.data
                if waiting[1].keys() >= {"jpg", "json"}:
                    yield parse_sample(url, key, waiting[1]["json"]), waiting[1]["jpg"]
                    waiting = None
        except TarDamageError as error:
            raise DamagedShardError(f"{url}: {error}") from error
        if waiting is not None:
            raise DamagedShardError(f"{url}: {waiting[0]}: no pair of .jpg and .json")


def parse_sample(url: str, key: str, data: bytes) -> SampleRecord:
    """The record in a sample's JSON; a `DamagedShardError` names the sample."""
    try:
        return SampleRecord.model_validate_json(data)
    except ValidationError as error:
        raise DamagedShardError(f"{url}: {key}.json: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """The first fault of a record in one line, without the data itself."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where + ': ' if where else ''}{first['msg']}{more}"


class ShardReader:
    """Random access to one tar. Reads headers as far as it must, then only the sample that is asked for.

    >>> with ShardReader("home/shards/sa_000000.tar") as shard:
    ...     sample, jpeg = shard.get(17)

    Not for several threads at once: it has one file position.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._stream = open_url(url)
        self._scan: Iterator[tuple[tarfile.TarInfo, int]] = scan_members(self._stream)
        self._where: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()

    def image_ids(self) -> list[int]:
        """Ids of the images in the shard, in its order; reads all headers."""
        self._find(None)
        ids = (image_id_of(name[:-5]) for name in self._where if name.endswith(".json"))
        return [image_id for image_id in ids if image_id is not None]

    def get(self, image_id: int) -> tuple[SampleRecord, bytes]:
        """The record and the JPEG of one image.

        Raises:
            KeyError: when the shard doesn't hold it.
            DamagedShardError: when the shard can't be read.
        """
        key = key_of(image_id)
        names = f"{key}.json", f"{key}.jpg"
        if not all(self._find(name) for name in names):
            raise KeyError(image_id)
        record, jpeg = (self._read(name) for name in names)
        return parse_sample(self.url, key, record), jpeg

    def _find(self, name: str | None) -> bool:
        if name is not None and name in self._where:
            return True
        try:
            for info, offset in self._scan:
                found = info.name.removeprefix("./")
                self._where[found] = offset, info.size
                if found == name:
                    return True
        except TarDamageError as error:
            raise DamagedShardError(f"{self.url}: {error}") from error
        return False

    def _read(self, name: str) -> bytes:
        offset, size = self._where[name]
        self._stream.seek(offset)
        data = read_exactly(self._stream, size)
        if len(data) != size:
            raise DamagedShardError(f"{self.url}: cut short inside {name}")
        return data
