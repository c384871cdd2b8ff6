"""The page of the whole loop: what each step came to, and the curves that the paper reports (section 4)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from dataengine.reports.line_chart import LineChart, Points, line_chart
from schemas.engine import StepResult

STAGES = ("assisted-manual", "semi-automatic")


def render_engine_report(title: str, steps: Sequence[str], results: Sequence[StepResult], model: str) -> str:
    """The page as HTML that loads nothing and runs nothing.

    Args:
        steps: every step of the schedule in a person's words; `results` are of the first of them.
        model: the model in use now.
    """
    environment = Environment(
        loader=PackageLoader("dataengine.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "".join(
        environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        for name in ("report.css", "chart.css")
    )
    rounds = [result for result in results if result.round is not None]
    return environment.get_template("engine_report.html.j2").render(
        title=title,
        model=model,
        rows=[
            (number, text, results[number - 1] if number <= len(results) else None)
            for number, text in enumerate(steps, start=1)
        ],
        done=len(results),
        steps=len(steps),
        accepted=_accepted(results),
        promoted=sum(result.outcome == "promoted" for result in rounds),
        rounds=rounds,
        charts=[chart for chart in _charts(results, rounds) if chart is not None],
        version=importlib.metadata.version("sa-dataengine"),
        style=style,
    )


def _accepted(results: Sequence[StepResult]) -> tuple[int, int]:
    """(images, masks) accepted by people: each stage's newest figures, which are of the whole stage."""
    newest = {result.stage: result.figures for result in results if result.stage in STAGES and "made" in result.figures}
    return tuple(round(sum(figures[name] for figures in newest.values())) for name in ("images", "masks"))  # type: ignore[return-value]


def _charts(results: Sequence[StepResult], rounds: Sequence[StepResult]) -> list[LineChart | None]:
    """All by step, so that a curve's bend can be held against the round that stands between two points."""
    note = "by step of the schedule"
    return [
        line_chart(
            "Masks per image",
            f"accepted in the stage so far, and in the shards; {note}",
            {
                **{stage: _points(results, stage, "masks_per_image") for stage in STAGES},
                "fully automatic": _points(results, "fully-automatic", "masks_per_image"),
            },
        ),
        line_chart(
            "Seconds per mask",
            f"a person's, on what was drawn in the step; {note}",
            {stage: _points(results, stage, "seconds_per_mask") for stage in STAGES},
        ),
        line_chart(
            "Clicks per mask",
            f"on what was drawn in the step; {note}",
            {stage: _points(results, stage, "clicks_per_mask") for stage in STAGES},
        ),
        line_chart(
            "mIoU by round",
            "one click on held-out masks; both on the masks of that round",
            {
                "the round's candidate": _by_round(rounds, "miou_top1"),
                "model in use before it": _by_round(rounds, "in_use"),
            },
        ),
    ]


def _points(results: Sequence[StepResult], stage: str, figure: str) -> Points:
    return [
        (int(result.unit.partition("-")[0]), result.figures[figure])
        for result in results
        if result.stage == stage and figure in result.figures
    ]


def _by_round(rounds: Sequence[StepResult], figure: str) -> Points:
    return [(result.round or 0, result.figures[figure]) for result in rounds if figure in result.figures]
