"""`verify` and `inspect` take a home, a folder of shards or a tar; this finds out which."""

from __future__ import annotations

from dataengine.home import layout
from dataengine.home.home import open_home
from dataengine.home.plan import Plan
from dataengine.home.storage import Storage
from dataengine.home.units import committed, records
from dataengine.shards.verify import Problem, VerifyReport, verify_tree
from workflows import generate, ingest


def is_home(path: str) -> bool:
    return Storage(path).exists(layout.CONFIG)


def shards_root(path: str) -> str:
    """Where the shards lie: below a home, or `path` itself."""
    return Storage(path).url_of(layout.SHARDS) if not path.endswith(".tar") and is_home(path) else path


def verify(path: str) -> VerifyReport:
    """Checks shards on their own; of a home also that each matches its commit record and that none is missing."""
    if path.endswith(".tar") or not is_home(path):
        return verify_tree(path)
    home = open_home(path)
    report = verify_tree(shards_root(path), records=list(records(home.storage, generate.WORKFLOW)))
    for workflow in (ingest.WORKFLOW, generate.WORKFLOW):
        report.problems.extend(_unfinished(home.storage, workflow))
    report.problems.extend(_damaged_parts(home.storage))
    return report


def _unfinished(storage: Storage, workflow: str) -> list[Problem]:
    planned, done = Plan(storage, workflow).units, len(committed(storage, workflow))
    if not planned:
        return [Problem(workflow, None, f"has not run; dataengine {workflow} {storage.url}")]
    if done < planned:
        return [Problem(workflow, None, f"{planned - done} of {planned} units have no commit record; run it again")]
    return []


def _damaged_parts(storage: Storage) -> list[Problem]:
    problems = []
    for record in records(storage, ingest.WORKFLOW):
        for stored in record.objects:
            if not storage.exists(stored.path):
                problems.append(Problem(record.unit, None, f"{stored.path} is missing"))
            elif storage.describe(stored.path) != stored:
                problems.append(Problem(record.unit, None, f"{stored.path} differs from its commit record"))
    return problems
