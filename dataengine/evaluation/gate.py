"""The gate: a candidate takes a model's place only where the same masks show that it is better.

Two models are compared mask by mask, which takes the masks' own difficulty out of the difference. The
bootstrap draws images, not masks: masks of one image share its light, its clutter and its annotator, and
intervals that took them for independent would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataengine.evaluation.single_point import MaskResult
from schemas.evaluation import ComparisonRecord, VerdictRecord

CONFIDENCE = 0.95
RESAMPLES = 10_000
METRIC = "iou_top1"
"""A field of `MaskResult`."""

MIN_IMAGES = 6
"""With fewer, all images may favour a model that is no better by chance alone: 2 ** -5 is more than 2.5 %."""

_AT_ONCE = 500


@dataclass(frozen=True)
class Rival:
    """A model that a candidate must beat: its name, the hash of its file, and its results."""

    name: str
    sha256: str
    masks: Sequence[MaskResult]


def paired_bootstrap(
    candidate: Sequence[MaskResult],
    rival: Rival,
    generator: np.random.Generator,
    *,
    metric: str = METRIC,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> ComparisonRecord:
    """The difference of the two means over masks, candidate minus rival, with its percentile interval.

    Results pair up by (image, mask_id), so images of several sets need names that tell them apart.
    Raises ValueError when the two didn't measure the same masks, or none.
    """
    first, second = _by_mask(candidate, metric), _by_mask(rival.masks, metric)
    if not first or first.keys() != second.keys():
        raise ValueError(f"{len(first)} and {len(second)} masks that don't pair up: measure both on the same images")
    differences: dict[str, list[float]] = {}
    for key, value in first.items():
        differences.setdefault(key[0], []).append(value - second[key])
    sums = np.array([sum(of_image) for of_image in differences.values()])
    counts = np.array([len(of_image) for of_image in differences.values()])
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled(sums, counts, generator, resamples), [tail, 1 - tail])
    return ComparisonRecord(
        against=rival.name,
        sha256=rival.sha256,
        images=len(counts),
        masks=len(first),
        candidate=float(np.mean(list(first.values()))),
        other=float(np.mean(list(second.values()))),
        difference=float(sums.sum() / counts.sum()),
        low=float(low),
        high=float(high),
    )


def judge(
    candidate: Sequence[MaskResult],
    rivals: Sequence[Rival],
    generator: np.random.Generator,
    *,
    metric: str = METRIC,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> VerdictRecord:
    """Promoted when the interval of the difference lies above 0 against every rival.

    Rivals: the model in use, and the best promoted so far where that is another one. A tie, a set too small to
    tell and a worse candidate all keep the old model.
    """
    if not rivals:
        raise ValueError("a gate needs a model to compare with")
    compared = [
        paired_bootstrap(candidate, rival, generator, metric=metric, confidence=confidence, resamples=resamples)
        for rival in rivals
    ]
    failed = next((comparison for comparison in compared if comparison.low <= 0), None)
    if compared[0].images < MIN_IMAGES:
        promoted, why = False, f"kept: {compared[0].images} held-out images can't tell; {MIN_IMAGES} are needed"
    elif failed is not None:
        word = "worse than" if failed.high < 0 else "not shown to be better than"
        promoted, why = False, f"kept: {word} {_figures(failed)}"
    else:
        promoted, why = True, f"promoted: better than {'; than '.join(map(_figures, compared))}"
    return VerdictRecord(
        promoted=promoted, why=why, metric=metric, confidence=confidence, resamples=resamples, comparisons=compared
    )


def _by_mask(results: Sequence[MaskResult], metric: str) -> dict[tuple[str, int], float]:
    found = {(result.image, result.mask_id): float(getattr(result, metric)) for result in results}
    if len(found) < len(results):
        raise ValueError("two results have the same image and mask id")
    return found


def _resampled(sums: np.ndarray, counts: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    """float64 (resamples,): the mean over masks of as many images, drawn with replacement."""
    images = len(sums)
    means = []
    for first in range(0, resamples, _AT_ONCE):
        times = generator.multinomial(images, np.full(images, 1 / images), size=min(_AT_ONCE, resamples - first))
        means.append((times @ sums) / (times @ counts))
    return np.concatenate(means)


def _figures(comparison: ComparisonRecord) -> str:
    return (
        f"{comparison.against}: mIoU {comparison.candidate:.3f} against {comparison.other:.3f}, difference "
        f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}] "
        f"over {comparison.masks} masks of {comparison.images} images"
    )
