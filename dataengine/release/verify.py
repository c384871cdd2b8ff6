"""Checks a release where it lies, in a home or in a mirror of one: every file against SHA256SUMS and the index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage
from dataengine.release.names import CARD, INDEX, LINKS, SUMS, read_index
from dataengine.release.texts import links_tsv, parse_sums
from dataengine.shards.verify import Problem, VerifyReport
from schemas import StoredObject
from schemas.release import ReleaseIndex


def is_release(url: str) -> bool:
    """Whether this folder is a release, perhaps a damaged one."""
    storage = Storage(url)
    return storage.exists(SUMS) or (storage.exists(INDEX) and storage.exists(LINKS))


def root_of(url: str) -> tuple[Storage, str]:
    """A release's folder -> the folder that its paths are relative to, and its version.

    EngineError when it doesn't lie in `releases/`, where shards can be found from it.
    """
    url = Storage(url).url
    above, _, version = url.rpartition("/")
    root, _, folder = above.rpartition("/")
    if folder != layout.RELEASES:
        raise EngineError(f"{url}: a release lies in `{layout.RELEASES}/` beside `{layout.SHARDS}/`; keep that layout")
    return Storage(root or "/"), version


def verify_release(
    storage: Storage, version: str, *, trusted: Mapping[str, StoredObject] | None = None
) -> VerifyReport:
    """Every file that SHA256SUMS and index.json name is there with that size and sha256, and both say the same.

    Args:
        storage: what the release's paths are relative to.
        trusted: objects by path that were just checked against these sizes and hashes: not read again.
    """
    started = time.monotonic()
    report = VerifyReport()
    folder = layout.release_folder(version)

    def complain(path: str, what: str) -> None:
        report.problems.append(Problem(path, None, what))

    index = None
    try:
        index = read_index(storage, version)
        if index is None:
            complain(f"{folder}/{INDEX}", "is missing")
    except EngineError:
        complain(f"{folder}/{INDEX}", "can't be read")
    listed = _listed(storage, folder, report)
    expected = {stored.path: stored for stored in index.files} if index else {}
    if index is not None:
        report.shards = sum(len(part.shards) for part in index.parts)
        report.images, report.masks = index.count("images"), index.count("masks")
        report.problems += [Problem(path, None, what) for path, what in _disagreements(storage, version, index, listed)]
    for path in sorted({*listed, *expected}):
        found = (trusted or {}).get(path)
        if found is None:
            try:
                found = storage.describe(path)
            except (FileNotFoundError, IsADirectoryError):
                complain(path, "is missing")
                continue
            except EngineError:
                complain(path, "is not a path inside the release's root")
                continue
        report.bytes += found.bytes
        if path in listed and found.sha256 != listed[path]:
            complain(path, f"differs from {SUMS}")
        elif path in expected and found != expected[path]:
            complain(path, f"differs from {INDEX}")
    report.seconds = time.monotonic() - started
    return report


def _listed(storage: Storage, folder: str, report: VerifyReport) -> dict[str, str]:
    path = f"{folder}/{SUMS}"
    if not storage.exists(path):
        report.problems.append(Problem(path, None, "is missing"))
        return {}
    listed, wrong = parse_sums(storage.read(path).decode(errors="replace"))
    report.problems += [Problem(path, None, f"not a line of a checksum file: {line[:80]!r}") for line in wrong[:5]]
    return listed


def _disagreements(
    storage: Storage, version: str, index: ReleaseIndex, listed: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Where index, checksums and links say different things though each file may be whole."""
    folder = layout.release_folder(index.version)
    if index.version != version:
        yield layout.release_folder(version), f"its {INDEX} is of version {index.version}"
    for stored in index.files:
        if stored.path not in listed:
            yield stored.path, f"is in {INDEX}, but {SUMS} doesn't name it"
        elif listed[stored.path] != stored.sha256:
            yield stored.path, f"has one sha256 in {INDEX} and another in {SUMS}"
    for name in (CARD, INDEX, LINKS):
        if f"{folder}/{name}" not in listed:
            yield f"{folder}/{name}", f"{SUMS} doesn't name it"
    if storage.exists(f"{folder}/{LINKS}") and storage.read(f"{folder}/{LINKS}") != links_tsv(index):
        yield f"{folder}/{LINKS}", f"doesn't follow from {INDEX}"
