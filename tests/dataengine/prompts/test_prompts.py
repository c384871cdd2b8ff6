"""Prompts by hand-made masks: where clicks may fall, how boxes and rough masks are off, what is documented."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from dataengine.prompts import (
    ErrorCentre,
    Frame,
    boxes_of_masks,
    centre_point,
    draw_first_prompts,
    error_centre,
    error_clicks,
    noisy_boxes,
    rough_mask_logits,
    uniform_points,
)
from schemas.training import FirstPrompt


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Bool mask of boxes x0, y0, x1, y1 (exclusive ends)."""
    mask = torch.zeros(shape, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_uniform_points_hit_every_pixel_of_the_mask_equally_often() -> None:
    mask = blob((6, 9), (0, 0, 2, 1), (7, 3, 9, 6))  # 2 px at one corner, 6 at the opposite border
    points, present = uniform_points(mask.expand(8000, -1, -1), generator())
    assert present.all()
    hits = torch.zeros(6, 9)
    hits.index_put_((points[:, 1].long(), points[:, 0].long()), torch.ones(8000), accumulate=True)
    assert (hits[~mask] == 0).all()
    # 1000 expected at each of 8 pixels; standard deviation about 30.
    assert (hits[mask] - 1000).abs().max() < 150


def test_uniform_points_of_one_pixel_a_full_frame_and_nothing() -> None:
    masks = torch.stack([blob((5, 7), (6, 4, 7, 5)), torch.ones(5, 7, dtype=torch.bool), blob((5, 7))])
    points, present = uniform_points(masks, generator())
    assert points[0].tolist() == [6, 4]
    assert present.tolist() == [True, True, False] and points[2].tolist() == [0, 0]
    none, _ = uniform_points(masks[:0], generator())
    assert none.shape == (0, 2)


def test_the_same_seed_draws_the_same_and_no_global_state_is_used() -> None:
    masks = torch.rand(5, 20, 30, generator=generator(3)) > 0.5
    before = torch.get_rng_state()
    first, again = uniform_points(masks, generator(7))[0], uniform_points(masks, generator(7))[0]
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, uniform_points(masks, generator(8))[0])


def test_centre_is_the_deepest_pixel_and_ties_go_up_and_left() -> None:
    assert centre_point(blob((9, 9), (1, 1, 8, 8)).numpy()) == (4, 4)
    # 4 x 4: four pixels are equally deep.
    assert centre_point(blob((9, 9), (2, 3, 6, 7)).numpy()) == (3, 4)
    # Cut off by the left border: beyond it is outside, so the click isn't on the border.
    assert centre_point(blob((9, 9), (0, 2, 5, 7)).numpy()) == (2, 4)
    assert centre_point(np.ones((5, 5), bool)) == (2, 2)
    assert centre_point(blob((9, 9), (8, 8, 9, 9)).numpy()) == (8, 8)
    with pytest.raises(ValueError, match="empty"):
        centre_point(np.zeros((4, 4), bool))


def test_centre_equals_an_exact_distance_transform_of_the_padded_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((40, 60)) > 0.2
        depths = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        x, y = centre_point(mask)
        assert depths[y, x] == pytest.approx(depths.max(), abs=1e-5)


def test_error_clicks_add_what_is_missing_and_take_away_what_is_too_much() -> None:
    truth = blob((10, 10), (2, 2, 8, 8)).expand(2000, -1, -1)
    predicted = blob((10, 10), (2, 2, 8, 5), (8, 8, 10, 10)).expand(2000, -1, -1)  # 18 px missing, 4 too many
    points, labels = error_clicks(truth, predicted, generator())
    x, y = points.long().unbind(1)
    assert (truth[0, y, x] != predicted[0, y, x]).all()
    assert torch.equal(labels, truth[0, y, x].long())
    assert labels.float().mean() == pytest.approx(18 / 22, abs=0.03)


def test_error_clicks_without_an_error_are_still_true() -> None:
    partly, full = blob((6, 6), (1, 1, 3, 3)), torch.ones(6, 6, dtype=torch.bool)
    truth = torch.stack([partly, full])
    points, labels = error_clicks(truth, truth, generator())
    assert labels.tolist() == [0, 1]
    x, y = points.long().unbind(1)
    assert not partly[y[0], x[0]]


def test_error_centre_is_the_deeper_of_both_errors() -> None:
    truth = blob((20, 30), (5, 5, 15, 15)).numpy()
    assert error_centre(truth, np.zeros_like(truth)) == ErrorCentre(9, 9, 1)
    extra = truth | blob((20, 30), (18, 2, 29, 13)).numpy()
    assert error_centre(truth, extra) == ErrorCentre(23, 7, 0)
    # A long thin error has more pixels, but isn't deeper.
    thin = blob((20, 30), (0, 0, 30, 1)).numpy()
    missing = truth & ~blob((20, 30), (6, 6, 9, 9)).numpy()
    assert error_centre(truth, missing | thin) == ErrorCentre(7, 7, 1)
    # Equal depth: the click takes away, as in RITM.
    assert error_centre(blob((5, 9), (0, 0, 3, 3)).numpy(), blob((5, 9), (5, 0, 8, 3)).numpy()).label == 0


def test_error_centre_does_not_click_a_pixel_twice_and_knows_a_perfect_mask() -> None:
    truth = blob((9, 9), (3, 3, 6, 6)).numpy()
    nothing = np.zeros_like(truth)
    assert error_centre(truth, nothing) == ErrorCentre(4, 4, 1)
    second = error_centre(truth, nothing, [(4, 4)])
    assert second.label == 1 and (second.x, second.y) != (4, 4) and truth[second.y, second.x]
    assert error_centre(truth, truth) == ErrorCentre(4, 4, 1)


def test_boxes_are_inclusive_and_noise_keeps_its_bounds() -> None:
    masks = torch.stack([blob((50, 80), (10, 20, 31, 25)), blob((50, 80), (79, 49, 80, 50)), blob((50, 80))])
    boxes = boxes_of_masks(masks)
    assert boxes.tolist() == [[10, 20, 30, 24], [79, 49, 79, 49], [0, 0, 0, 0]]
    big = torch.tensor([[1000.0, 1000.0, 1099.0, 1499.0]]).expand(20000, -1)
    noise = noisy_boxes(big, (4000, 4000), generator()) - big
    # Sides of 100 and 500 px: a tenth is 10 px, which is nearly never cut, and 50 px, which nearly always is.
    assert noise[:, 0].std() == pytest.approx(10 * 0.93, rel=0.06)
    assert noise.abs().max() == 20 and (noise[:, 1].abs() == 20).float().mean() > 0.6
    at_border = noisy_boxes(boxes, (50, 80), generator())
    assert (at_border >= 0).all() and (at_border[:, ::2] <= 79).all() and (at_border[:, 1::2] <= 49).all()
    assert (at_border[:, 2:] >= at_border[:, :2]).all()


def test_frames_map_areas_to_areas() -> None:
    frame = Frame(image_size=512, side=128)
    assert frame.points_to_input(torch.tensor([[0.0, 127.0]])).tolist() == [[1.5, 509.5]]
    assert frame.boxes_to_input(torch.tensor([[0.0, 1.0, 0.0, 127.0]])).tolist() == [[0, 4, 3, 511]]


def test_rough_masks_resemble_the_mask_but_differ_each_time() -> None:
    mask = blob((128, 128), (30, 40, 80, 100))
    logits = rough_mask_logits(mask.expand(40, -1, -1), 64, generator())
    assert logits.shape == (40, 1, 64, 64) and logits.abs().max() <= 8
    coarse = blob((64, 64), (15, 20, 40, 50))
    rough = logits[:, 0] > 0
    ious = (rough & coarse).sum((1, 2)) / (rough | coarse).sum((1, 2))
    assert ious.min() > 0.5 and ious.max() < 1 and 0.7 < ious.mean() < 0.95
    exact = rough_mask_logits(mask[None], 64, generator(), share=0.0)[0, 0]
    assert torch.equal(exact > 0, coarse)


def test_a_rough_mask_of_one_pixel_does_not_vanish() -> None:
    logits = rough_mask_logits(blob((128, 128), (127, 127, 128, 128))[None], 32, generator())
    assert logits.max() > -8


def test_first_prompts_follow_their_shares_and_fit_their_objects() -> None:
    truth = blob((96, 128), (8, 8, 60, 70)).repeat(2000, 1, 1)
    frame = Frame(image_size=512, side=128)
    choice = FirstPrompt(point=0.5, box=0.25, mask=0.25, centre=0.5)
    sparse, rough = draw_first_prompts(truth, (384, 512), frame, 128, choice, generator())
    assert sorted([*sparse.objects.tolist(), *rough.objects.tolist()]) == list(range(2000))
    assert len(rough.objects) / 2000 == pytest.approx(0.25, abs=0.03)
    assert rough.masks is not None and rough.masks.shape[1:] == (1, 128, 128) and rough.coords.shape[1] == 0
    boxed = sparse.kinds[:, 0] == 2
    assert boxed.float().mean() == pytest.approx(1 / 3, abs=0.03)
    assert sparse.kinds[boxed].unique(dim=0).tolist() == [[2, 3]]
    assert sparse.kinds[~boxed].unique(dim=0).tolist() == [[1, -1]]
    points = sparse.coords[~boxed, 0]
    assert (points >= torch.tensor([32.0, 32.0])).all() and (points <= torch.tensor([239.0, 279.0])).all()
    centre = frame.points_to_input(torch.tensor([float(v) for v in centre_point(truth[0].numpy())]))
    assert (points == centre).all(dim=1).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (sparse.coords[boxed].flatten(1) - torch.tensor([32.0, 32.0, 239.0, 279.0])).abs().max() <= 10


def test_first_prompt_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        FirstPrompt(point=0.5, box=0.6)
