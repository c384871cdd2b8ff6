"""Nested fractions: each holds the smaller ones, and the held-out side is the rounds'."""

from __future__ import annotations

import numpy as np
import pytest

from dataengine.errors import ConfigError
from dataengine.evaluation.scaling import nested, parse_fractions, sides
from dataengine.labelled import LabelledImage
from dataengine.labelled.held_out import is_held_out
from dataengine.training.data import MemorySource


def test_each_fraction_holds_the_smaller_ones() -> None:
    names = [f"{n}.jpg" for n in range(200)]
    tenth, third, whole = nested(names, parse_fractions("1,.1,.3"))
    assert (len(tenth), len(third)) == (20, 60) and whole == names
    assert set(tenth) < set(third) and nested(names, [0.001]) == [[n for n in tenth if n in nested(names, [0.001])[0]]]


@pytest.mark.parametrize("text", ["0,1", "1.5", "a", ""])
def test_what_is_no_fraction_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="--fractions"):
        parse_fractions(text)


def test_the_sides_are_those_of_a_round_and_copies_of_held_out_images_are_barred() -> None:
    rng = np.random.default_rng(0)
    images = [LabelledImage(f"a_{n}", rng.integers(0, 255, (20, 20, 3), np.uint8), []) for n in range(60)]
    source = MemorySource(images)
    training, held_out = sides(source, None)
    assert len(training) + len(held_out) == 60 and held_out
    mirrored = LabelledImage("mirrored", source.read(held_out[0]).pixels[:, ::-1].copy(), [])
    with_copy = MemorySource([*images, mirrored])
    assert not is_held_out(with_copy.content_hash("mirrored")) and sides(with_copy, None) == (training, held_out)
    assert all(is_held_out(source.content_hash(name)) for name in held_out)
    assert not any(is_held_out(source.content_hash(name)) for name in training)
    with pytest.raises(ConfigError, match="too few"):
        sides(MemorySource([image for image in images if image.name in training[:5]]), None)
