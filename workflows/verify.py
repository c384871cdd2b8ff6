"""`verify` and `inspect` take a home, a folder of shards, a tar or a release; this finds out which."""

from __future__ import annotations

from dataengine.home import layout, rounds
from dataengine.home.home import Home, open_home
from dataengine.home.plan import Plan
from dataengine.home.storage import Storage
from dataengine.home.units import committed, records
from dataengine.release import is_release, verify_release
from dataengine.release.verify import root_of
from dataengine.shards.verify import Problem, VerifyReport, verify_tree
from dataengine.snapshots.manifest import read_snapshot, snapshot_numbers
from schemas import StoredObject

# Names of workflows, which aren't imported: they bring Ray.
INGEST, GENERATE, SNAPSHOT = "ingest", "generate", "snapshot"


def is_home(path: str) -> bool:
    return Storage(path).exists(layout.CONFIG)


def shards_root(path: str) -> str:
    """Where the shards lie: below a home, or `path` itself."""
    return Storage(path).url_of(layout.SHARDS) if not path.endswith(".tar") and is_home(path) else path


def verify(path: str) -> VerifyReport:
    """Checks shards on their own; of a home also that each matches its commit record and that none is missing.

    A release is checked against its own SHA256SUMS and index.json.
    """
    if is_release(path):
        return verify_release(*root_of(path))
    if path.endswith(".tar") or not is_home(path):
        return verify_tree(path)
    home = open_home(path)
    report = verify_shards(home)
    report.problems.extend(_unfinished(home.storage, INGEST))
    report.problems.extend(_damaged_objects(home.storage))
    report.problems.extend(verify_snapshots(home.storage))
    report.problems.extend(_verify_releases(home.storage))
    return report


def verify_shards(home: Home) -> VerifyReport:
    """Every shard of a home down to the pixel, against its commit record, and that none is missing or unfinished."""
    made = list(records(home.storage, GENERATE))
    report = verify_tree(home.storage.url_of(layout.SHARDS), records=made)
    report.problems.extend(_unfinished(home.storage, GENERATE))
    return report


def verify_snapshots(storage: Storage) -> list[Problem]:
    """What of finished snapshots is missing or not the same any more; each shard was verified when it was written."""
    return [problem for number in snapshot_numbers(storage) for problem in verify_snapshot(storage, number)]


def verify_snapshot(storage: Storage, number: int) -> list[Problem]:
    """The same of one snapshot; an unfinished one has nothing that could be wrong."""
    problems, record = [], read_snapshot(storage, number)
    for stored in [record.manifest, *record.objects] if record is not None else []:
        problems += _damage(storage, f"snapshot {number:03d}", stored)
    return problems


def _verify_releases(storage: Storage) -> list[Problem]:
    """Of every release its own files, and that it names what the commit records name: those were just checked."""
    known = {
        stored.path: stored
        for workflow in (GENERATE, SNAPSHOT)
        for record in records(storage, workflow)
        for stored in record.objects
    }
    problems = []
    for name in storage.list(layout.RELEASES):
        if is_release(storage.url_of(layout.release_folder(name))):
            problems += verify_release(storage, name, trusted=known).problems
    return problems


def _unfinished(storage: Storage, workflow: str) -> list[Problem]:
    planned, done = Plan(storage, workflow).units, len(committed(storage, workflow))
    if not planned:
        return [Problem(workflow, None, f"has not run; dataengine {workflow} {storage.url}")]
    if done < planned:
        return [Problem(workflow, None, f"{planned - done} of {planned} units have no commit record; run it again")]
    return []


def _damaged_objects(storage: Storage) -> list[Problem]:
    problems = []
    for workflow in (INGEST, rounds.WORKFLOW):
        for record in records(storage, workflow):
            for stored in record.objects:
                problems += _damage(storage, record.unit, stored)
    return problems


def _damage(storage: Storage, unit: str, stored: StoredObject) -> list[Problem]:
    if not storage.exists(stored.path):
        return [Problem(unit, None, f"{stored.path} is missing")]
    if storage.describe(stored.path) != stored:
        return [Problem(unit, None, f"{stored.path} differs from its commit record")]
    return []
