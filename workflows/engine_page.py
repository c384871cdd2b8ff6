"""`reports/engine.html`: the curves that the paper reports of its loop, from the records of the steps."""

from __future__ import annotations

from dataengine.home import Home, layout
from dataengine.home.rounds import model_in_use
from dataengine.home.schedule import results, steps_of
from dataengine.reports.engine_report import render_engine_report

PAGE = f"{layout.REPORTS}/engine.html"


def write_engine_page(home: Home) -> str:
    """Writes the page and returns where it lies."""
    page = render_engine_report(
        home.storage.url.rstrip("/").rsplit("/", 1)[-1],
        [step.text for step in steps_of(home.config)],
        results(home.storage),
        model_in_use(home.storage, home.config.model),
    )
    home.storage.write(PAGE, page.encode())
    return home.storage.url_of(PAGE)
