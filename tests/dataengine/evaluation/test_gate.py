"""The gate's answers where they are known: by hand, by the normal distribution, and for models that are no better."""

from __future__ import annotations

import numpy as np
import pytest

from dataengine.evaluation import MaskResult, Rival, judge, paired_bootstrap


def results(ious: dict[str, list[float]]) -> list[MaskResult]:
    return [
        MaskResult(image, number, 100, 0.01, iou, iou, iou, (1, 1), (True, True))
        for image, of_image in ious.items()
        for number, iou in enumerate(of_image)
    ]


def rival(ious: dict[str, list[float]], name: str = "old") -> Rival:
    return Rival(name, "0" * 64, results(ious))


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(images: int, mean: float = 0.5, spread: float = 0.1, seed: int = 1) -> dict[str, list[float]]:
    draw = seeded(seed)
    return {f"{i}": list(draw.normal(mean, spread, 3)) for i in range(images)}


def shifted(ious: dict[str, list[float]], by: float, noise: float = 0.02) -> dict[str, list[float]]:
    draw = seeded(2)
    return {image: [iou + by + draw.normal(0, noise) for iou in of_image] for image, of_image in ious.items()}


def test_means_are_over_masks_and_two_images_can_be_drawn_in_three_ways() -> None:
    old = {"a": [0.5], "b": [0.2, 0.4, 0.6]}
    new = {"a": [0.9], "b": [0.3, 0.5, 0.7]}
    found = paired_bootstrap(results(new), rival(old), seeded())
    assert (found.images, found.masks) == (2, 4)
    assert (found.candidate, found.other) == pytest.approx((0.6, 0.425))
    # aa: .4; ab: (.4 + .3) / 4; bb: .1. A quarter, a half and a quarter of the draws.
    assert (found.difference, found.low, found.high) == pytest.approx((0.175, 0.1, 0.4))


def test_the_interval_is_the_normal_one_where_that_holds() -> None:
    differences = seeded(3).normal(0.02, 0.1, 400)
    old = {f"{i}": [0.5] for i in range(400)}
    new = {f"{i}": [0.5 + d] for i, d in enumerate(differences)}
    found = paired_bootstrap(results(new), rival(old), seeded())
    error = 1.96 * differences.std() / 20
    assert (found.low, found.high) == pytest.approx((differences.mean() - error, differences.mean() + error), abs=1e-3)


def test_masks_of_one_image_are_not_independent() -> None:
    """Ten times the masks with the same differences know no more than one of each image."""
    differences = seeded(4).normal(0.0, 0.1, 50)
    one, ten = (
        paired_bootstrap(
            results({f"{i}": [0.5 + d] * masks for i, d in enumerate(differences)}),
            rival({f"{i}": [0.5] * masks for i in range(50)}),
            seeded(),
        )
        for masks in (1, 10)
    )
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_the_same_generator_gives_the_same_interval() -> None:
    old = drawn(20)
    new = results(shifted(old, 0.01))
    first, again, other = (paired_bootstrap(new, rival(old), seeded(seed)) for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize(
    ("by", "promoted", "words"),
    [(0.05, True, "promoted: better than old"), (0.0, False, "not shown"), (-0.1, False, "worse than old")],
)
def test_better_is_promoted_equal_and_harmed_are_kept(by: float, promoted: bool, words: str) -> None:
    old = drawn(30)
    verdict = judge(results(shifted(old, by) if by else old), [rival(old)], seeded())
    assert verdict.promoted is promoted and words in verdict.why and "\n" not in verdict.why
    low, high = verdict.comparisons[0].low, verdict.comparisons[0].high
    assert (low > 0) is promoted and low <= verdict.comparisons[0].difference <= high


def test_better_than_the_one_in_use_is_not_enough_where_a_better_one_was_promoted() -> None:
    old = drawn(30)
    new, best = shifted(old, 0.05), shifted(old, 0.1)
    verdict = judge(results(new), [rival(old, "nano"), rival(best, "round-002")], seeded())
    assert not verdict.promoted and "worse than round-002" in verdict.why
    assert [comparison.against for comparison in verdict.comparisons] == ["nano", "round-002"]
    assert judge(results(shifted(old, 0.2)), [rival(old, "nano"), rival(best, "round-002")], seeded()).promoted


@pytest.mark.parametrize(("images", "promoted"), [(1, False), (5, False), (6, True)])
def test_few_images_can_not_promote_however_good(images: int, promoted: bool) -> None:
    old = drawn(images)
    verdict = judge(results(shifted(old, 0.4)), [rival(old)], seeded())
    assert verdict.promoted is promoted
    assert promoted or f"{images} held-out images can't tell" in verdict.why


def test_an_equal_model_is_seldom_promoted() -> None:
    """Two-sided 95 %: one side is 2.5 %, and a bit more with twelve images only. 200 gates, seeds fixed."""
    wrong = 0
    for seed in range(200):
        draw = seeded(100 + seed)
        old = {f"{i}": [0.5] for i in range(12)}
        new = {image: [0.5 + draw.normal(0, 0.1)] for image in old}
        wrong += judge(results(new), [rival(old)], draw, resamples=1000).promoted
    assert wrong <= 16


def test_results_that_do_not_pair_up_are_refused() -> None:
    old = drawn(8)
    for new in ({}, drawn(7), {**drawn(7), "x": [0.1, 0.2, 0.3]}):
        with pytest.raises(ValueError, match="pair up"):
            paired_bootstrap(results(new), rival(old), seeded())
    with pytest.raises(ValueError, match="same image"):
        paired_bootstrap(results(old) * 2, rival(old), seeded())
