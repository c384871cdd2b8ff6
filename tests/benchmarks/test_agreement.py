"""People's answers to each other's clicks, worked out by hand, and the script on a folder of three people."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.agreement import answers_of_people, judged, people_of
from dataengine.labelled import LabelledImage, LabelledMask
from dataengine.labelled.held_out import is_held_out
from dataengine.masks import encode
from tests.benchmarks.test_scripts import run
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco

SIZE = (60, 120)


def columns(first: int, last: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:, first:last] = True
    return mask


def outlined(*regions: tuple[int, np.ndarray]) -> tuple[LabelledImage, dict[int, int]]:
    """An image of (person, mask), and whose masks they are."""
    masks = [LabelledMask(number, encode(mask)[0]) for number, (_, mask) in enumerate(regions)]
    return LabelledImage("a.jpg", np.zeros((*SIZE, 3), np.uint8), masks), {
        number: person for number, (person, _) in enumerate(regions)
    }


def test_one_click_is_answered_by_the_others() -> None:
    """Three people see the left half, one the whole, one the right half only; who sees nothing there scores 0."""
    left, right, whole = columns(0, 60), columns(60, 120), columns(0, 120)
    image, people = outlined((1, left), (1, right), (2, left), (3, whole), (4, right), (5, left))
    scores = answers_of_people(image, people)
    # Of the first person's left half: 1, 1/2, 0 and 1.
    assert scores[0] == {"one": 0.625, "best of three": 1.0, "most agreed": 1.0}
    # The whole is clicked in its left half (ties: leftmost): 1/2 three times, and 0.
    assert scores[3] == {"one": 0.375, "best of three": 0.5, "most agreed": 0.5}
    assert len(scores) == 6


def test_the_most_agreed_is_chosen_without_the_truth() -> None:
    """Two see the left half and nobody what the first person saw: the half wins, though the whole scores more."""
    truth, left, whole = (encode(mask)[0] for mask in (columns(0, 100), columns(0, 60), columns(0, 120)))
    assert judged(truth, [whole, left, left])["most agreed"] == pytest.approx(0.6)
    assert judged(truth, [whole, left, left])["best of three"] == pytest.approx(100 / 120)
    assert judged(truth, [None, None]) == {"one": 0.0, "best of three": 0.0, "most agreed": 0.0}


def test_one_person_alone_agrees_with_nobody() -> None:
    image, people = outlined((1, columns(0, 60)), (1, columns(60, 120)))
    assert answers_of_people(image, people) == {}


def test_the_script(tmp_path: Path) -> None:
    shape = (90, 120)
    inner, outer = (drawn_object(shape, "rectangle", box) for box in ((40, 30, 79, 59), (40, 30, 119, 59)))
    people = [{"segmentation": compressed(mask), "annotator": who} for who, mask in enumerate((inner, inner, outer))]
    pixels = next(picture for picture in shades(photo(*shape)) if is_held_out(sha256(picture)))
    folder = write_coco(tmp_path / "set", {"a.jpg": (pixels, people)})
    figures, _ = run("agreement", tmp_path, str(folder))
    everything = figures["rows"][0]
    # Of each inner one: 1 and 1/2; the outer one, whose middle line begins in the inner: 1/2 twice.
    assert everything["number"] == 3
    assert everything["people: one"] == round((0.75 + 0.75 + 0.5) / 3, 3)
    assert 0 <= everything["nano: top-1"] <= everything["nano: best of three"] <= 1


def test_annotations_of_nobody(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set", {"a.jpg": (photo(*SIZE), [compressed(columns(0, 60))])})
    with pytest.raises(SystemExit, match="annotations without `annotator`"):
        people_of(folder)


def shades(picture: np.ndarray) -> list[np.ndarray]:
    return [np.maximum(picture, least) for least in range(1, 200)]


def sha256(picture: np.ndarray) -> str:
    """Of the file that `write_coco` makes of it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    return hashlib.sha256(file.getvalue()).hexdigest()
