"""How much more data would help: one recipe on nested fractions of a set (paper 7.6's question, at any scale).

A fraction's images are those of its hash order's first part, so each holds all smaller ones: what changes along
the curve is the amount, not the luck of the draw. Start, recipe, seed, steps and held-out images are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataengine.catalog.likeness import Likenesses
from dataengine.errors import ConfigError
from dataengine.labelled import LabelledSource, fixed_subset
from dataengine.labelled.held_out import Ledger, look_of, split, strangers

FRACTIONS = (0.1, 0.3, 1.0)


def parse_fractions(text: str) -> list[float]:
    """`.1,.3,1` -> ascending shares of the training side. ConfigError for anything else."""
    try:
        fractions = sorted({float(part) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"--fractions {text}: expected numbers such as .1,.3,1") from error
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise ConfigError(f"--fractions {text}: each must lie above 0 and at most at 1")
    return fractions


def nested(names: Sequence[str], fractions: Sequence[float]) -> list[list[str]]:
    """The names of each fraction, at least one; every list holds the ones before it."""
    return [fixed_subset(names, max(1, round(fraction * len(names)))) for fraction in fractions]


def sides(
    source: LabelledSource, sequence: str | None, report: Callable[[int], None] = lambda done: None
) -> tuple[list[str], list[str]]:
    """(training, held out) names, as a retraining round would divide the set."""
    contents, looks = dict[str, str](), dict[str, str]()
    for done, name in enumerate(source.names, start=1):
        content = contents[name] = source.content_hash(name)
        looks[content] = look_of(source, name)
        report(done)
    divided = split(contents, sequence, Ledger())
    if not divided.training or not divided.held_out:
        raise ConfigError(f"{len(contents)} images are too few: a tenth, chosen by hash, has to be held out")
    held_out = Likenesses(looks[content] for content in divided.held_out.values())
    return list(strangers(divided.training, looks, held_out)), list(divided.held_out)
