"""The load test at a small size: what was acknowledged is there, once, whatever dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import annotations
from tests.benchmarks.test_scripts import run


@pytest.mark.slow
def test_load_with_everything_dying(tmp_path: Path) -> None:
    options = ["--people", "8", "--images", "24", "--claims", "40", "--saves", "80", "--limit", "200", "--lease", "6"]
    figures, _ = run("annotations", tmp_path, *options)
    assert figures["rows"][0]["claims_per_second"] > 0 and figures["rows"][0]["saves_per_second"] > 0
    load = figures["loads"][0]
    assert load["problems"] == []
    assert (load["server_kills"], load["actor_kills"], load["ray_restarts"]) == (2, 2, 1)
    assert load["accepted_images"] == 24 and load["masks_acknowledged"] >= 96


def test_a_loss_would_be_seen(tmp_path: Path) -> None:
    """The comparison itself can fail: a mask that vanishes, one that nobody was told of, a draft too few."""
    store = annotations.open_store(f"sqlite:///{tmp_path}/a.db", rules=annotations.rules(4))
    annotations.fill(store, 1)
    seen = annotations.Seen()
    seen.saved["11111111-1111-1111-1111-111111111111"] = (1, 1)
    seen.orphans.add("22222222-2222-2222-2222-222222222222")
    problems = "\n".join(annotations.compare(store, seen, 1))
    store.close()
    for complaint in ("was acknowledged and is not there", "0 acceptances", "orphan drafts", "only 0 masks"):
        assert complaint in problems
