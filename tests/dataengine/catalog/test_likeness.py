"""Copies that a person would call the same photo are near, other photos are not."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dataengine.catalog.likeness import NEAR, Likenesses, distances, perceptual_hash
from tests.dataengine.labelled_sets import photo

NAMES = ["coffee.png", "astronaut.png", "rocket.jpg", "chelsea.png"]
PHOTOS = {name: photo(300, 400, name) for name in NAMES}
HASHES = {name: perceptual_hash(pixels) for name, pixels in PHOTOS.items()}


def recompressed(image: Image.Image) -> Image.Image:
    stored = BytesIO()
    image.resize((130, 90)).save(stored, "JPEG", quality=40)
    return Image.open(stored).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller, another shape, JPEG": recompressed,
    "brighter": lambda image: image.point([min(255, value + 25) for value in range(256)] * 3),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((4, 3, 396, 297)),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_near_its_original_and_nothing_else(name: str, kind: str) -> None:
    copy = perceptual_hash(np.asarray(COPIES[kind](Image.fromarray(PHOTOS[name]))))
    assert Likenesses([HASHES[name]]).near([copy]).tolist() == [True]
    assert Likenesses([copy]).near([HASHES[name]]).tolist() == [True]
    strangers = Likenesses(value for other, value in HASHES.items() if other != name)
    assert strangers.near([copy]).tolist() == [False]


def test_a_hash_is_256_bits_and_the_same_every_time() -> None:
    assert len(HASHES["coffee.png"]) == 64 and perceptual_hash(PHOTOS["coffee.png"]) == HASHES["coffee.png"]
    upright = distances([HASHES["coffee.png"]], [HASHES["coffee.png"]])
    assert upright.tolist() == [[0]]


def test_distances_count_bits() -> None:
    """By hand: one bit of a vertical frequency, and all that a mirror turns, which count as none."""
    none, bit = "00" * 32, "80" + "00" * 31
    assert distances([none, bit], [none]).tolist() == [[0], [1]]
    assert distances([none], ["55" * 32]).tolist() == [[0]]
    assert distances([none], ["ff" * 32]).tolist() == [[128]]


def test_the_bound_is_inclusive() -> None:
    def away(bits: int) -> str:
        """In frequencies that a mirror leaves."""
        return (
            np.packbits(np.repeat([1, 0], 128) & (np.arange(256) % 2 == 0) & (np.arange(256) < 2 * bits))
            .tobytes()
            .hex()
        )

    assert distances(["00" * 32], [away(NEAR)]).tolist() == [[NEAR]]
    assert Likenesses(["00" * 32]).near([away(NEAR), away(NEAR + 1)]).tolist() == [True, False]


def test_nobody_is_near_what_nobody_could_look_at() -> None:
    assert Likenesses(["", HASHES["coffee.png"]]).near(["", None, HASHES["coffee.png"]]).tolist() == [
        False,
        False,
        True,
    ]
    assert Likenesses([]).near(list(HASHES.values())).tolist() == [False] * 4
    assert Likenesses([""]).near([]).tolist() == []


def test_many_are_compared_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*HASHES.values(), "", "00" * 32]
    whole = Likenesses(HASHES.values()).near(asked)
    monkeypatch.setattr("dataengine.catalog.likeness.AT_ONCE", 3)
    assert Likenesses(HASHES.values()).near(asked).tolist() == whole.tolist() == [True] * 4 + [False] * 2


def test_images_of_one_colour_are_alike() -> None:
    """They have no frequencies, of which rounding could make signs."""
    grey, blue = (np.full((50, 70, 3), colour, np.uint8) for colour in ((90, 90, 90), (10, 20, 200)))
    assert perceptual_hash(grey) == perceptual_hash(blue) == "80" + "00" * 31
