"""`dataengine evaluate`: a model against labelled images."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from dataengine import evaluation
from dataengine.errors import EngineError
from dataengine.evaluation import SinglePointResult
from dataengine.labelled import fixed_subset, open_labelled
from dataengine.model.checkpoints import load_model
from workflows.progress import Bar


def evaluate_single_point(
    data: str, model: str, target: Path | None, limit: int | None, console: Console
) -> SinglePointResult:
    """Measures all images of `data`, or a fixed subset of `limit`, and writes the record to `target` as JSON.

    Raises EngineError, one line, for an unknown model, for data that isn't labelled, and when no mask
    could be measured.
    """
    source = open_labelled(data)
    sam, _ = load_model(model, "cuda" if torch.cuda.is_available() else "cpu")
    names = fixed_subset(source.names, limit)
    with Bar(console, "single point", len(names)) as bar:
        result = evaluation.evaluate_single_point(sam, source, names, report=bar.update)
    if not result.masks:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in result.skipped.most_common(3))
        raise EngineError(f"{data}: no mask to measure: {reasons or 'the set is empty'}")
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(result.summary().model_dump_json(indent=1) + "\n", encoding="utf-8")
    return result
