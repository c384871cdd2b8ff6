"""`reports/report.html` of a home, made from its finished shards and its catalog."""

from __future__ import annotations

import itertools

from dataengine.automask.presets import resolve_settings
from dataengine.home import Home, layout
from dataengine.home.plan import Plan
from dataengine.home.rounds import model_location
from dataengine.model.checkpoints import load_model
from dataengine.reports.dataset_report import render_dataset_report
from workflows.generate import WORKFLOW, GenerateSummary
from workflows.ingest import rows_of

REPORT = f"{layout.REPORTS}/report.html"
LISTED_INPUTS = 10_000
"""Inputs without a sample that the page groups by reason; the catalog has them all."""


def write_report(home: Home, summary: GenerateSummary) -> str:
    """Writes the page and returns where it lies."""
    _, card = load_model(model_location(home.storage, home.config.model))
    facts = Plan(home.storage, WORKFLOW).meta["facts"]
    settings = resolve_settings(home.config.generate, card, facts["device"].split()[0])
    page = render_dataset_report(
        home.storage.url_of(layout.SHARDS),
        title=home.storage.url.rstrip("/").rsplit("/", 1)[-1],
        timings={"generate": summary.seconds} if summary.images_now else None,
        images_per_second=summary.images_per_second if summary.images_now else None,
        rejected=itertools.islice((row for row in rows_of(home) if row.status != "ok"), LISTED_INPUTS),
        card=card,
        settings={
            "automask": settings.model_dump(),
            "privacy": home.config.privacy.model_dump(),
            "shards": home.config.shards.model_dump(),
        },
    )
    home.storage.write(REPORT, page.encode())
    return home.storage.url_of(REPORT)
