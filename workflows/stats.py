"""`dataengine stats`: one set's masks in figures, or several sets' side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dataengine.evaluation.statistics import measure_shapes, statistics
from dataengine.labelled import fixed_subset, open_labelled
from dataengine.reports.statistics_plot import draw_statistics
from schemas.statistics import StatisticsRecord, StatisticsTable
from workflows.progress import Bar
from workflows.verify import shards_root


def measure_statistics(
    paths: Sequence[str], limit: int | None, target: Path | None, console: Console
) -> list[StatisticsRecord]:
    """Of homes, folders of shards, tars and COCO folders; JSON to `target`, a picture beside it.

    Raises ConfigError for a path that is none of them, EngineError for one without a mask.
    """
    sets = []
    for path in paths:
        source = open_labelled(shards_root(path))
        names = fixed_subset(source.names, limit)
        with Bar(console, path, len(names)) as bar:
            sets.append((path, measure_shapes(source, names, bar.update)))
    records = statistics(sets)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(StatisticsTable(sets=records).model_dump_json(indent=1) + "\n", encoding="utf-8")
        draw_statistics(records, target.with_suffix(".png"))
    return records
