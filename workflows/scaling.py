"""`dataengine evaluate scaling`: the same training on more and more of a set, one curve."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from dataengine.errors import EngineError
from dataengine.evaluation import evaluate_single_point
from dataengine.evaluation.scaling import nested, sides
from dataengine.labelled import LabelledSource, open_labelled
from dataengine.model import Sam
from dataengine.model.checkpoints import load_model
from dataengine.reports.scaling_plot import draw_scaling
from dataengine.training.data import SetStream
from dataengine.training.disk import bytes_needed, require_space
from dataengine.training.loop import Progress, train
from dataengine.training.recipe import fresh_model, load_recipe
from schemas.evaluation import ScalingPoint, ScalingRecord
from workflows.progress import Bar

SEED = 1


def evaluate_scaling(
    data: str,
    model: str,
    recipe_name: str,
    fractions: Sequence[float],
    target: Path | None,
    sequence: str | None,
    console: Console,
) -> ScalingRecord:
    """Trains once a fraction and measures each model on the set's held-out side; JSON to `target`, PNG beside it.

    Raises ConfigError for a set too small to divide, EngineError when no held-out mask can be measured.
    """
    source, recipe = open_labelled(data), load_recipe(recipe_name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sam, card = load_model(model, device)
    with Bar(console, "held-out side", len(source.names)) as bar:
        training, held_out = sides(source, sequence, bar.update)
    steps = sum(phase.steps for phase in recipe.phases)
    first, masks = _measure(sam, source, held_out, 0.0, 0, console)
    points = []
    with tempfile.TemporaryDirectory(prefix="dataengine-scaling-") as cache:
        require_space(Path(cache), bytes_needed(sam, recipe, len(training)))
        for fraction, names in zip(fractions, nested(training, fractions), strict=True):
            begun = fresh_model(recipe, SEED).to(device) if recipe.architecture else load_model(model, device)[0]
            with Bar(console, f"{len(names)} images", steps, unit="steps") as bar:
                trained = train(
                    begun,
                    SetStream(source, names, seed=SEED),
                    recipe,
                    seed=SEED,
                    report=lambda progress, bar=bar: _show(bar, progress),  # type: ignore[misc]
                    cache=Path(cache),
                )
            points.append(_measure(trained, source, held_out, fraction, len(names), console)[0])
    record = ScalingRecord(
        data=data,
        recipe=recipe.name,
        model=card.name,
        steps=steps,
        held_out_images=len(held_out),
        held_out_masks=masks,
        start=first,
        points=points,
    )
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        draw_scaling(record, target.with_suffix(".png"))
    return record


def _measure(
    sam: Sam, source: LabelledSource, names: list[str], fraction: float, images: int, console: Console
) -> tuple[ScalingPoint, int]:
    with Bar(console, "measure", len(names)) as bar:
        result = evaluate_single_point(sam, source, names, max_clicks=1, report=bar.update)
    if not result.masks:
        raise EngineError(f"no held-out image can be measured: {result.skipped.most_common(1)}")
    found = result.summary()
    point = ScalingPoint(fraction=fraction, images=images, miou_top1=found.miou_top1, miou_best=found.miou_best)
    return point, found.masks


def _show(bar: Bar, progress: Progress) -> None:
    bar.update(progress.done, f"loss {progress.loss:.4f}, IoU {progress.first_iou:.3f} -> {progress.last_iou:.3f}")
