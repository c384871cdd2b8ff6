"""The text files of a release: index, links, checksums. Each a pure function of the index and of hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from schemas import StoredObject
from schemas.release import ReleaseIndex

LINKS_HEADER = "file_name\tcdn_link"
_SUM = re.compile(r"([0-9a-f]{64}) [ *]([^\\\n]+)")


def index_json(index: ReleaseIndex) -> bytes:
    return index.model_dump_json(indent=1).encode() + b"\n"


def links_tsv(index: ReleaseIndex) -> bytes:
    """SA-1B's form: one line a tar. Without a base URL links are paths relative to the home's folder.

    People's shards have the names of stage 3's, so that theirs get a prefix in the first column.
    """
    lines = [LINKS_HEADER]
    for part in index.parts:
        prefix = "" if part.name == "automatic" else f"{part.name}-"
        for shard in part.shards:
            path = shard.tar.path
            link = f"{index.base_url}/{path}" if index.base_url else path
            lines.append(f"{prefix}{path.rpartition('/')[2]}\t{link}")
    return "".join(f"{line}\n" for line in lines).encode()


def sums(files: Iterable[StoredObject]) -> bytes:
    """What `sha256sum -c` reads."""
    return "".join(f"{stored.sha256}  {stored.path}\n" for stored in files).encode()


def parse_sums(text: str) -> tuple[dict[str, str], list[str]]:
    """Path -> sha256, and the lines that are none."""
    found, wrong = {}, []
    for line in text.splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            wrong.append(line)
        else:
            found[match[2]] = match[1]
    return found, wrong
