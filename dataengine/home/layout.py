"""Where things lie in a home (paths relative to it), in one place so that no other file spells them."""

from __future__ import annotations

CONFIG = "engine.yaml"
CATALOG = "catalog"
SHARDS = "shards"
PLANS = "plans"
UNITS = "units"
REPORTS = "reports"


def catalog_part(unit: int) -> str:
    return f"{CATALOG}/part-{unit:06d}.parquet"


def plan_segment(workflow: str, segment: int) -> str:
    return f"{PLANS}/{workflow}-{segment:03d}.parquet"


def commit_record(workflow: str, unit: str) -> str:
    return f"{UNITS}/{workflow}/{unit}.json"


def units_of(workflow: str) -> str:
    return f"{UNITS}/{workflow}"


def journal(workflow: str, unit: str) -> str:
    """Chunks of finished work inside a unit that has no commit record yet."""
    return f"{UNITS}/{workflow}/journal/{unit}"


def owners(workflow: str) -> str:
    return f"{UNITS}/{workflow}/owners"


def attempt(final: str, attempt_id: str) -> str:
    """The unfinished name of `final`, on the same file system so that promoting it is a rename."""
    folder, _, name = final.rpartition("/")
    return f"{folder}/.attempts/{attempt_id}/{name}"


def attempts(folder: str) -> str:
    return f"{folder}/.attempts"
