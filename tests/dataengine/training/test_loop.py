"""A whole small training: it learns, every part of the model takes part, and a killed run goes on exactly."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from dataengine.errors import ConfigError, EngineError
from dataengine.evaluation import evaluate_single_point
from dataengine.labelled import CocoFolder, open_labelled
from dataengine.model import Sam, load_model
from dataengine.training.data import SetStream
from dataengine.training.loop import Progress, Steps, Worker, input_size, train
from dataengine.training.recipe import fresh_model
from schemas.training import FirstPrompt, LossWeights, Phase, Recipe
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco

SIDE = 96
IMAGES, HELD_OUT = 60, 12
WARM = LossWeights(focal=0, balanced=1, supervise_all_iou=True)
PARTS = {
    "encoder": ("image_encoder.net", "image_encoder.lat", "image_encoder.fuse"),
    "prompt encoder": ("prompt_encoder.point_embeddings", "prompt_encoder.mask_downscaling"),
    "decoder": ("mask_decoder.transformer", "mask_decoder.output_upscaling", "mask_decoder.output_hypernetworks_mlps"),
    "IoU head": ("mask_decoder.iou_prediction_head",),
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> CocoFolder:
    """Coloured ellipses and rectangles over a real photo; where they overlap the last one is in front."""
    rng = np.random.default_rng(0)
    images = {}
    for number in range(IMAGES):
        pixels = np.roll(photo(SIDE, SIDE), tuple(rng.integers(0, SIDE, 2)), (0, 1)) // 2 + 64
        masks: list[np.ndarray] = []
        for _ in range(3):
            width, height = rng.integers(20, 50, 2)
            x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - height))
            shape = ["ellipse", "rectangle"][int(rng.integers(2))]
            mask = drawn_object((SIDE, SIDE), shape, (x, y, x + int(width), y + int(height)))
            pixels[mask] = rng.integers(0, 255, 3)
            for behind in masks:
                behind[mask] = False
            masks.append(mask)
        images[f"{number:03}.png"] = pixels, [compressed(mask) for mask in masks if mask.sum() > 30]
    source = open_labelled(str(write_coco(tmp_path_factory.mktemp("objects") / "set", images)))
    assert isinstance(source, CocoFolder)
    return source


def recipe(*phases: Phase) -> Recipe:
    return Recipe(name="tiny", description="for tests", architecture="nano", phases=list(phases))


def phase(steps: int, **changes: object) -> Phase:
    """128 px, so that a step takes a fraction of a second; no weight decay, which would move idle parameters."""
    settings: dict[str, object] = {
        "steps": steps, "images_per_step": 4, "images_at_once": 4, "masks_per_image": 3, "image_size": 128,
        "corrections": 1, "empty_iterations": 1, "first_prompt": FirstPrompt(point=0.5, box=0.25, mask=0.25),
        "loss": WARM, "learning_rate": 1e-3, "warmup_steps": 10, "weight_decay": 0.0, "clip_norm": 1.0,
    }  # fmt: skip
    return Phase.model_validate(settings | changes)


def held_out_miou(sam: Sam, objects: CocoFolder) -> float:
    return evaluate_single_point(sam, objects, objects.names[:HELD_OUT], max_clicks=1).summary().miou_top1


def stream(objects: CocoFolder) -> SetStream:
    return SetStream(objects, objects.names[HELD_OUT:])


def run(sam: Sam, objects: CocoFolder, what: Recipe, **arguments: object) -> list[float]:
    losses: list[float] = []
    train(sam, stream(objects), what, report=lambda p: losses.append(p.loss), **arguments)  # type: ignore[arg-type]
    return losses


RISE = 0.15
"""Of top-1 mIoU on the held-out images, from .29 of the bundled checkpoint; about .3 were measured."""


def test_a_short_training_helps_with_all_parts_of_the_model(objects: CocoFolder) -> None:
    torch.set_num_threads(1)
    what = recipe(phase(30))
    sam, _ = load_model("nano")
    before = {name: parameter.detach().clone() for name, parameter in sam.named_parameters()}
    with input_size(sam, what.phases[0]):
        start = held_out_miou(sam, objects)
    steps: list[Progress] = []
    train(
        sam, stream(objects), what, report=steps.append, validate=lambda model: {"miou": held_out_miou(model, objects)}
    )
    end = steps[-1].metrics["miou"]
    assert end > start + RISE, f"held-out top-1 mIoU {start:.3f} -> {end:.3f}"
    after = dict(sam.named_parameters())
    for part, prefixes in PARTS.items():
        for prefix in prefixes:
            names = [name for name in before if name.startswith(prefix)]
            moved = [name for name in names if not torch.equal(before[name], after[name])]
            assert names and len(moved) > len(names) / 2, f"{part}: {prefix} did not learn"
    assert not sam.training and all(step.masks >= 4 for step in steps)


def two_phases() -> Recipe:
    """Everything that has a state or draws: two phases, mirrored images, cached trunk, several workers' order."""
    first = phase(3, loss=LossWeights(), flip=0.5, images_at_once=2)
    return recipe(first, phase(4, freeze="trunk", jitter=None, corrections=2, decay_at=[2], image_size=192))


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def undisturbed(objects: CocoFolder) -> list[float]:
    torch.set_num_threads(1)
    return run(fresh_model(two_phases()), objects, two_phases())


@pytest.mark.parametrize(("dies_after", "save_every"), [(2, 1), (4, 2), (6, 2)])
def test_a_killed_run_goes_on_exactly(
    objects: CocoFolder, undisturbed: list[float], tmp_path: Path, dies_after: int, save_every: int
) -> None:
    torch.set_num_threads(1)
    assert len(undisturbed) == 7
    seen: list[float] = []

    def report(progress: Progress) -> None:
        seen.append(progress.loss)
        if len(seen) == dies_after:
            raise KilledError

    arguments = {"folder": tmp_path / "run", "save_every": save_every, "cache": tmp_path / "cache"}
    with pytest.raises(KilledError):
        train(fresh_model(two_phases()), stream(objects), two_phases(), report=report, **arguments)  # type: ignore[arg-type]
    torch.manual_seed(99)  # nothing may depend on the process's own random state
    rest = run(fresh_model(two_phases(), seed=5), objects, two_phases(), **arguments)
    # Steps 1, 2, 3 and 4 .. 7 are the phases; each ends with a checkpoint.
    # What is told is saved next, so the last step that was told of is taken again.
    saved = max(n for n in (0, *((1, 2, 3, 4, 5, 6, 7) if save_every == 1 else (2, 3, 5, 7))) if n < dies_after)
    assert len(rest) == 7 - saved
    assert seen == pytest.approx(undisturbed[:dies_after], abs=1e-6)
    assert rest == pytest.approx(undisturbed[saved:], abs=1e-6)


def test_a_finished_run_only_loads_and_another_recipe_is_refused(objects: CocoFolder, tmp_path: Path) -> None:
    what = recipe(phase(1))
    trained = fresh_model(what)
    run(trained, objects, what, folder=tmp_path)
    again = fresh_model(what, seed=1)
    assert run(again, objects, what, folder=tmp_path) == []
    for one, other in zip(trained.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(EngineError, match="another recipe"):
        run(again, objects, recipe(phase(2)), folder=tmp_path)
    (tmp_path / "training.pt").write_bytes(b"half a file")
    with pytest.raises(EngineError, match="can't be read"):
        run(again, objects, what, folder=tmp_path)


def test_a_frozen_encoder_stays_and_its_embeddings_are_made_once(
    objects: CocoFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = recipe(phase(4, freeze="encoder"))
    sam = fresh_model(what)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    source = SetStream(objects, objects.names[:5])
    train(sam, source, what, cache=tmp_path)
    after = sam.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prompt_encoder", "mask_decoder"}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
    # The next round finds them and never runs the encoder.
    monkeypatch.setattr(type(sam.image_encoder), "forward", lambda *_: pytest.fail("the encoder ran"))
    train(sam, SetStream(objects, objects.names[:5]), what, cache=tmp_path)


def test_two_workers_take_the_step_of_one(objects: CocoFolder) -> None:
    """Gradients of halves, averaged, are the gradient of the whole: shown without prompts that draw."""
    choice = FirstPrompt(point=1, box=0, centre=1)
    quiet = {"corrections": 0, "empty_iterations": 0, "first_prompt": choice, "clip_norm": None}
    what = recipe(phase(1, **quiet, images_per_step=2, images_at_once=1))
    halves: list[list[torch.Tensor]] = []

    class StopError(Exception):
        pass

    def keep(gradients: list[torch.Tensor]) -> None:
        halves.append([gradient.clone() for gradient in gradients])
        raise StopError

    for index in range(2):
        with pytest.raises(StopError):
            shared = SetStream(objects, objects.names[:2], worker=index, workers=2)
            train(fresh_model(what), shared, what, worker=Worker(index, 2, keep))  # type: ignore[arg-type]
    whole: list[torch.Tensor] = []
    sam = fresh_model(what)
    monkey = torch.optim.AdamW.step
    try:
        torch.optim.AdamW.step = lambda self: whole.extend(  # type: ignore[assignment,method-assign]
            torch.zeros_like(p) if p.grad is None else p.grad.clone() for g in self.param_groups for p in g["params"]
        )
        train(sam, SetStream(objects, objects.names[:2]), what)
    finally:
        torch.optim.AdamW.step = monkey  # type: ignore[method-assign]
    for one, first, second in zip(whole, *halves, strict=True):
        assert torch.allclose(one, (first + second) / 2, atol=1e-5, rtol=1e-3)


def test_steps_that_can_not_be_shared_or_seen_are_config_errors(objects: CocoFolder) -> None:
    for worker, changes, words in (
        (Worker(0, 3), {}, "shared by 3 workers"),
        (Worker(), {"mask_size": 100}, "does not divide"),
    ):
        what = recipe(phase(1, **changes))
        with pytest.raises(ConfigError, match=words):
            train(fresh_model(what), stream(objects), what, worker=worker)


def test_images_without_a_usable_mask_end_in_an_error(objects: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.training.loop.UNUSABLE_IN_A_ROW", 3)
    what = recipe(phase(1, max_mask_share=0.0))
    with pytest.raises(EngineError, match="without a mask"):
        train(fresh_model(what), itertools.cycle([objects.read(objects.names[0])]), what)  # type: ignore[arg-type]


def gradients_at_step(sam: Sam, source: SetStream, what: Phase, monkeypatch: pytest.MonkeyPatch) -> tuple[list, float]:
    """Of one step, as the optimizer gets them, and the norm that was reported."""
    seen: list[torch.Tensor] = []
    with monkeypatch.context() as patched, input_size(sam, what):
        patched.setattr(
            torch.optim.AdamW,
            "step",
            lambda self: seen.extend(
                p.grad.clone() for g in self.param_groups for p in g["params"] if p.grad is not None
            ),
        )
        return seen, Steps(sam, source, what, "0", Worker(), None).take(0).gradient_norm


def test_gradients_are_clipped_to_a_common_norm(objects: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    sam, one = fresh_model(recipe(phase(1))), {"images_per_step": 1, "images_at_once": 1}
    whole, norm = gradients_at_step(sam, stream(objects), phase(1, **one, clip_norm=None), monkeypatch)
    assert norm == pytest.approx(sum(float(g.square().sum()) for g in whole) ** 0.5, rel=1e-4)
    clipped, same = gradients_at_step(sam, stream(objects), phase(1, **one, clip_norm=norm / 4), monkeypatch)
    assert same == pytest.approx(norm, rel=1e-4)
    for first, other in zip(whole, clipped, strict=True):
        assert torch.allclose(other, first / 4, rtol=1e-3, atol=1e-7)
    loose, _ = gradients_at_step(sam, stream(objects), phase(1, **one, clip_norm=norm * 4), monkeypatch)
    assert all(torch.allclose(first, other, rtol=1e-4, atol=1e-7) for first, other in zip(whole, loose, strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_takes_nearly_the_same_steps(objects: CocoFolder, precision: str) -> None:
    torch.set_num_threads(1)
    few = {"images_per_step": 1, "images_at_once": 1}
    exact, mixed = recipe(phase(2, **few)), recipe(phase(2, **few, precision=precision))
    sam = fresh_model(mixed)
    losses = run(sam, objects, mixed)
    assert losses == pytest.approx(run(fresh_model(exact), objects, exact), rel=0.03) and len(losses) == 2
    assert {parameter.dtype for parameter in sam.parameters()} == {torch.float32}


def test_fp16_skips_a_step_that_overflows_and_goes_on_with_its_scale(objects: CocoFolder, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    what = phase(2, precision="fp16", images_per_step=1, images_at_once=1)
    sam = fresh_model(recipe(what))
    with input_size(sam, what):
        steps = Steps(sam, stream(objects), what, "0", Worker(), None)
        steps.scaler.load_state_dict({**steps.scaler.state_dict(), "scale": 1e38})
        before = [parameter.detach().clone() for parameter in sam.parameters()]
        steps.take(0)
        assert all(torch.equal(one, other) for one, other in zip(before, sam.parameters(), strict=True))
        assert steps.scaler.get_scale() == pytest.approx(0.5e38)
        steps.scaler.load_state_dict({**steps.scaler.state_dict(), "scale": 1024.0})
        steps.take(1)
        assert not all(torch.equal(one, other) for one, other in zip(before, sam.parameters(), strict=True))
        assert steps.scaler.get_scale() == 1024
    run(fresh_model(recipe(what)), objects, recipe(what), folder=tmp_path)
    saved = torch.load(tmp_path / "training.pt", weights_only=True)["scaler"]
    assert saved["scale"] > 1 and saved["_growth_tracker"] >= 1
