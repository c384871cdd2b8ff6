"""Names inside and around a shard, in one place."""

from __future__ import annotations

import re

_KEY = re.compile(r"sa_(0|[1-9][0-9]*)")
_TAR = re.compile(r"sa_([0-9]{6,})\.tar")
_TABLE = re.compile(r"(?:masks|images)-([0-9]{6,})\.parquet")


def key_of(image_id: int) -> str:
    """The sample's key, `sa_<image_id>`, as in SA-1B."""
    return f"sa_{image_id}"


def image_id_of(key: str) -> int | None:
    """The inverse of `key_of`; None when `key` isn't one."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else None


def file_names(shard: int) -> tuple[str, str, str]:
    """The tar, the masks table and the images table of one shard."""
    return f"sa_{shard:06d}.tar", f"masks-{shard:06d}.parquet", f"images-{shard:06d}.parquet"


def shard_of(file_name: str) -> int | None:
    """The number of the shard that this file (no folder) belongs to; None for any other file."""
    match = _TAR.fullmatch(file_name) or _TABLE.fullmatch(file_name)
    return int(match[1]) if match else None


def split_url(url: str) -> tuple[str, str]:
    """A file's URL or path as (folder, name); the folder of a bare name is `.`."""
    folder, slash, name = url.rpartition("/")
    if not slash:
        return ".", url
    return folder or "/", name
