"""`dataengine release HOME VERSION`: finished shards become something that others can take, check and cite.

Shards are verified first and never copied: a release names them. The same home and version give the same bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console

from dataengine.errors import EngineError
from dataengine.home import Home, layout
from dataengine.home.owner import Owner
from dataengine.release import check_base_url, check_version, write_release
from dataengine.release.index import make_index
from dataengine.release.names import read_index
from dataengine.snapshots import latest_snapshot
from schemas.release import ReleaseIndex
from workflows.verify import verify_shards, verify_snapshot

WORKFLOW = "release"


@dataclass(frozen=True)
class ReleaseSummary:
    """A release, and whether this run made it."""

    index: ReleaseIndex
    folder: str
    is_new: bool
    seconds: float


def release(
    home: Home, version: str, console: Console, *, base_url: str | None = None, accepted: bool = False
) -> ReleaseSummary:
    """Verifies what is to be released, then writes `releases/<version>/`, unless the same is there already.

    Args:
        base_url: where a mirror of the home's folder lies; None = links are relative to that folder.
        accepted: also the newest snapshot of what people accepted, as a second part.

    Raises ConfigError for a version or a URL that can't be one; EngineError, one line, when a shard is damaged or
    missing, or when the version exists with other content.
    """
    started = time.monotonic()
    check_version(version)
    base_url = check_base_url(base_url)
    with Owner(home.storage, WORKFLOW) as owner:
        _require_sound(home, accepted, console)
        index = make_index(home, version, base_url=base_url, accepted=accepted)
        existing = read_index(home.storage, version)
        if existing is not None and existing != index:
            raise EngineError(
                f"release {version} exists with other content ({_difference(existing, index)}); what is released "
                f"doesn't change: take another version"
            )
        if existing is None:
            write_release(home.storage, owner, index)
    folder = home.storage.url_of(layout.release_folder(version))
    return ReleaseSummary(index, folder, existing is None, time.monotonic() - started)


def _require_sound(home: Home, accepted: bool, console: Console) -> None:
    console.print("verifying every shard ...", highlight=False)
    problems = verify_shards(home).problems
    if accepted and (snapshot := latest_snapshot(home.storage)) is not None:
        problems += verify_snapshot(home.storage, snapshot.number)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise EngineError(f"{home.storage.url} can't be released: {problems[0]}{more}; see: dataengine verify")


def _difference(existing: ReleaseIndex, index: ReleaseIndex) -> str:
    """What differs, by the index's own names, and how many shards there were and are."""
    names = [name for name in ReleaseIndex.model_fields if getattr(existing, name) != getattr(index, name)]
    shards = [sum(len(part.shards) for part in one.parts) for one in (existing, index)]
    counted = f", {shards[0]} shards then, {shards[1]} now" if shards[0] != shards[1] else ""
    return ", ".join(names) + counted
