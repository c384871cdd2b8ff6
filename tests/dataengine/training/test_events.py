"""TensorBoard's own reader finds each step once, also after a kill."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataengine.training.events import EventFiles
from dataengine.training.loop import Progress


def step(number: int, loss: float, **metrics: float) -> Progress:
    return Progress("train", number, 9, loss=loss, done=number, metrics=metrics)


def test_steps_taken_again_replace_the_first_ones(tmp_path: Path) -> None:
    first = EventFiles(tmp_path)
    for number in (1, 2, 3, 4):
        first.add(step(number, 0.5))
    first.close()
    second = EventFiles(tmp_path)
    for number in (3, 4, 5):
        second.add(step(number, 0.25, held_out_miou=0.75))
    second.close()
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("training/loss")] == [
        (1, 0.5),
        (2, 0.5),
        (3, 0.25),
        (4, 0.25),
        (5, 0.25),
    ]
    assert [event.step for event in found.Scalars("held_out/miou")] == [3, 4, 5]
