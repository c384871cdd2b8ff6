"""Where a release's files lie, what a version may be called, and which releases there are."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import ValidationError

from dataengine.errors import ConfigError, EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage
from dataengine.shards.names import file_names
from schemas.release import ReleaseIndex
from schemas.schedule import VERSION

INDEX = "index.json"
SUMS = "SHA256SUMS"
LINKS = "links.tsv"
CARD = "README.md"
SAMPLE = "sample"
_SHELLS = ("pipe", "shell", "ssh")


def check_version(version: str) -> str:
    """The version itself. ConfigError unless it can be a folder's name and a part of a URL everywhere."""
    if not re.fullmatch(VERSION, version):
        raise ConfigError(f"version {version!r}: letters, digits, dot, - and _ only, the first a letter or a digit")
    return version


def check_base_url(base_url: str | None) -> str | None:
    """The URL without a slash at its end. ConfigError unless it is one that a line of links.tsv can hold."""
    if base_url is None:
        return None
    parts = urlsplit(base_url)
    if not parts.scheme or not parts.netloc or parts.scheme in _SHELLS or re.search(r"\s", base_url):
        raise ConfigError(f"--base-url {base_url}: expected a URL such as https://data.example/sa")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ConfigError("--base-url: without user, ? and #, since the files' paths are put behind it")
    return base_url.rstrip("/")


def own_paths(version: str) -> list[str]:
    """Every file of a release's own, relative to the home: all but the shards that it names."""
    names = [CARD, INDEX, LINKS, SUMS, *(f"{SAMPLE}/{name}" for name in file_names(0))]
    return [f"{layout.release_folder(version)}/{name}" for name in names]


def read_index(storage: Storage, version: str) -> ReleaseIndex | None:
    """The index of a finished release; None when there is none. EngineError when it is damaged."""
    path = f"{layout.release_folder(version)}/{INDEX}"
    if not storage.exists(path):
        return None
    try:
        return ReleaseIndex.model_validate_json(storage.read(path))
    except ValidationError as error:
        raise EngineError(f"{storage.url_of(path)}: damaged, or not an index of this engine") from error


def releases(storage: Storage) -> list[ReleaseIndex]:
    """Every finished release, by name."""
    names = [name for name in storage.list(layout.RELEASES) if re.fullmatch(VERSION, name)]
    return [index for name in names if (index := read_index(storage, name)) is not None]
