"""The split: fixed for ever, the same for copies, whole sequences together, and never undone by a later round."""

from __future__ import annotations

import hashlib

import pytest

from dataengine.labelled.held_out import SHARE, Ledger, is_held_out, split


def contents(count: int, prefix: str = "image") -> dict[str, str]:
    return {f"{prefix}{i}.jpg": hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(count)}


def test_the_sides_are_these_for_ever() -> None:
    """Written down: a change of hash or share would train on images that earlier rounds measured."""
    held_out = [name.removesuffix(".jpg") for name, content in contents(60).items() if is_held_out(content)]
    assert held_out == ["image11", "image15", "image16", "image19", "image23", "image24", "image51"]


def test_about_a_tenth_is_held_out_and_growing_moves_nobody() -> None:
    small, large = (split(contents(count), None, Ledger()) for count in (2000, 4000))
    assert len(large.held_out) / 4000 == pytest.approx(SHARE, abs=0.02)
    assert small.held_out.keys() <= large.held_out.keys() and small.training.keys() <= large.training.keys()
    assert not small.held_out.keys() & small.training.keys()
    assert len(small.held_out) + len(small.training) == 2000


def test_a_copy_lies_on_the_same_side_whatever_it_is_called() -> None:
    images = contents(300)
    copies = {f"other/{name}": content for name, content in images.items()}
    first, second = split(images, None, Ledger()), split(copies, None, Ledger())
    assert set(first.held_out.values()) == set(second.held_out.values())


def test_frames_of_a_video_stay_together() -> None:
    frames = {f"seq{s:02}_{f:03}.png": f"{s}-{f}" for s in range(60) for f in range(10)}
    sides = split(frames, r"^(seq\d+)_", Ledger())
    held_out = {name[:5] for name in sides.held_out}
    assert held_out and not held_out & {name[:5] for name in sides.training}
    # Names that the pattern doesn't know go one by one.
    assert split(contents(300), r"^(seq\d+)_", Ledger()) == split(contents(300), None, Ledger())


def test_what_a_round_did_is_not_undone() -> None:
    images = contents(300)
    now = split(images, None, Ledger())
    trained, measured = next(iter(now.held_out.values())), next(iter(now.training.values()))
    later = split(images, r"^(image\d)", Ledger(held_out={measured}, trained={trained}))
    assert measured in later.held_out.values() and trained in later.training.values()
