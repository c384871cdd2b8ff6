"""`reports/round-NNN.html`: what the page of a round shows, gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataengine.detection import Detector, default_detectors
from dataengine.errors import RejectedImageError
from dataengine.evaluation.showcase import choose_objects, predict
from dataengine.home import Home, layout
from dataengine.labelled import LabelledSource
from dataengine.model import Sam
from dataengine.reports.line_chart import Points
from dataengine.reports.round_report import RoundPicture, render_round_report
from schemas import CheckpointCard
from schemas.evaluation import VerdictRecord
from schemas.rounds import SnapshotRecord

SHOWN_IMAGES = 6


def detectors_of(home: Home) -> list[Detector]:
    """What finds the faces and plates on the page's photos. EngineError when one that privacy asks for is missing."""
    privacy = home.config.privacy
    return [] if privacy.mode == "off" else default_detectors(privacy.faces, privacy.plates)


def pictures(
    images: Sequence[tuple[LabelledSource, list[str]]], start: Sam, end: Sam, detectors: Sequence[Detector]
) -> list[RoundPicture]:
    """Both models' predictions for the named images of each source; one that can't be read is left out."""
    found = []
    for source, names in images:
        for name in names:
            try:
                image = source.read(name)
            except RejectedImageError:
                continue
            shown = choose_objects(image)
            if shown.truth:
                hidden = [box for detector in detectors for box in detector.detect(image.pixels)]
                found.append(RoundPicture(shown, hidden, predict(start, shown), predict(end, shown)))
    return found


def write_page(
    home: Home,
    snapshot: SnapshotRecord,
    card: CheckpointCard,
    verdict: VerdictRecord,
    curves: Mapping[str, Points],
    shown: Sequence[RoundPicture],
) -> str:
    """Writes the page and returns where it lies."""
    recipe = snapshot.recipe
    facts = {
        "Recipe": f"{recipe.name}: {recipe.description}",
        "Steps": f"{sum(phase.steps for phase in recipe.phases):,}",
        "Began as": snapshot.parent.name,
    }
    path = layout.round_report(card.name)
    home.storage.write(path, render_round_report(card, verdict, curves, shown, facts).encode())
    return home.storage.url_of(path)
