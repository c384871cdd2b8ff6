"""Text prompts from crops of masks: which masks, which crops, cached; and a model that learns to understand words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dataengine.errors import ConfigError
from dataengine.evaluation.clicking import iou_of_pairs
from dataengine.labelled import LabelledImage, LabelledMask
from dataengine.masks.rle import decode
from dataengine.model import Predictor, Sam, build_sam
from dataengine.model.layers import LayerNorm2d
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from dataengine.model.text import Clip, crop_of
from dataengine.prompts import Frame, TextOfMasks, draw_first_prompts
from dataengine.training.data import MemorySource, SetStream
from dataengine.training.loop import Progress, train
from dataengine.training.recipe import fresh_model
from dataengine.training.seeds import generator_of
from dataengine.training.text_prompts import CropEmbeddings, add_text_token
from schemas import RLE
from schemas.training import FirstPrompt, LossWeights, Phase, Recipe, TextPrompts
from tests.dataengine.labelled_sets import compressed, photo
from tests.dataengine.tiny_clip import COLOURS, SHAPES, coloured_object, tiny_model, tiny_tokenizer, train_tiny_clip

STEPS = 120


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tiny_model(layers=1).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clip(untrained: str) -> Clip:
    return Clip.load(untrained)


def scene(seed: int, objects: int = 2, side: int = 96) -> tuple[LabelledImage, list[str], list[np.ndarray]]:
    """Objects of different colours on a photo, the words for each, and their masks; a later one hides an earlier."""
    rng = np.random.default_rng(seed)
    background = photo(300, 400)
    y, x = (int(rng.integers(0, length - side)) for length in background.shape[:2])
    pixels = background[y : y + side, x : x + side].copy()
    words, masks = [], []
    for colour in rng.choice(list(COLOURS), objects, replace=False):
        shape = SHAPES[int(rng.integers(2))]
        words.append(f"a {colour} {shape}")
        mask = coloured_object(rng, colour, shape, pixels)
        masks = [*(behind & ~mask for behind in masks), mask]
    labelled = [LabelledMask(i, RLE(**compressed(mask))) for i, mask in enumerate(masks) if mask.sum() >= 60]
    return LabelledImage(str(seed), pixels, labelled), words, masks


def test_large_masks_are_prompted_by_text_in_their_share(clip: Clip) -> None:
    image, _, _ = scene(1)
    small, large = LabelledMask(7, RLE(**compressed(np.eye(96, dtype=bool)))), image.masks[-1]
    everyone = CropEmbeddings(clip, TextPrompts(min_area=97))(image, [small, large], False, generator_of(0))
    assert everyone.given.tolist() == [False, True] and not everyone.embeddings[0].any()
    assert float(everyone.embeddings[1].norm()) == pytest.approx(1, abs=1e-2) and not everyone.pointed.any()
    shares = TextPrompts(min_area=1, share=0.25, with_point=0.5, crops_per_mask=1)
    found = CropEmbeddings(clip, shares)(image, [large] * 400, False, generator_of(0))
    assert found.given.float().mean() == pytest.approx(0.25, abs=0.07)
    assert found.pointed.float().mean() == pytest.approx(0.5, abs=0.08)


def test_a_mask_has_as_many_crops_as_the_recipe_says_each_embedded_once(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _, _ = scene(2)
    mask = image.masks[-1]
    settings = TextPrompts(min_area=1, crops_per_mask=3)
    asked: list[object] = []
    embed = Clip.embed_crop
    monkeypatch.setattr(Clip, "embed_crop", lambda self, crop: (asked.append(crop), embed(self, crop))[1])
    cold = CropEmbeddings(clip, settings, tmp_path)
    found = torch.cat([cold(image, [mask] * 4, False, generator_of(seed)).embeddings for seed in range(5)])
    assert len(asked) == 3 == len(found.unique(dim=0))
    sides = {crop.pixels.shape[0] for crop in asked}  # type: ignore[attr-defined]
    box = crop_of(image.pixels, decode(mask.rle)).pixels.shape[0]
    assert len(sides) > 1 and all(box <= side <= 2 * box for side in sides)
    # Another process finds them, and gives the same numbers as the one that computed them.
    warm = CropEmbeddings(clip, settings, tmp_path)
    again = torch.cat([warm(image, [mask] * 4, False, generator_of(seed)).embeddings for seed in range(5)])
    assert len(asked) == 3 and torch.equal(found, again)
    in_memory = CropEmbeddings(clip, settings)
    assert torch.equal(in_memory(image, [mask] * 4, False, generator_of(0)).embeddings, found[:4])
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1 and not list(tmp_path.rglob("*.part"))
    # A mirrored image is looked at in the mirror, another image is another one.
    assert not torch.equal(in_memory(image, [mask] * 4, True, generator_of(0)).embeddings, found[:4])
    darker = LabelledImage(image.name, image.pixels // 2, image.masks)
    assert not torch.equal(in_memory(darker, [mask] * 4, False, generator_of(0)).embeddings, found[:4])


def test_first_prompts_by_text_have_a_point_only_where_it_is_due() -> None:
    truth = torch.zeros(6, 24, 32, dtype=torch.bool)
    truth[:, 4:20, 8:24] = True
    given = torch.tensor([True, False, True, True, False, True])
    pointed = torch.tensor([False, True, True, False, False, False])
    text = TextOfMasks(torch.arange(12.0).view(6, 2), given, pointed)
    frame, choice = Frame(128, 32), FirstPrompt(point=0, box=1)
    batches = draw_first_prompts(truth, (96, 128), frame, 32, choice, generator_of(0), text)
    boxes, alone, both = batches
    assert [batch.objects.tolist() for batch in batches] == [[1, 4], [0, 3, 5], [2]]
    assert boxes.text is None and boxes.kinds.tolist() == [[2, 3]] * 2 and boxes.single
    assert alone.text is not None and alone.text.tolist() == [[0, 1], [6, 7], [10, 11]]
    assert alone.coords.shape == (3, 0, 2) and alone.kinds.shape == (3, 0) and alone.masks is None and alone.single
    assert both.text is not None and both.text.tolist() == [[4, 5]] and not both.single
    assert both.kinds.tolist() == [[1, -1]]
    x, y = both.coords[0, 0].tolist()
    assert truth[2, int(y // 4), int(x // 4)]
    # Nobody else's draws change with it.
    without = draw_first_prompts(truth, (96, 128), frame, 32, choice, generator_of(0))
    assert len(without) == 1 and without[0].objects.tolist() == list(range(6))


def text_phase(clip_folder: str, steps: int, **changes: object) -> Phase:
    settings: dict[str, object] = {
        "steps": steps, "images_per_step": 4, "images_at_once": 4, "masks_per_image": 8, "image_size": 96,
        "corrections": 0, "empty_iterations": 0, "warmup_steps": 10, "weight_decay": 0.0, "clip_norm": 1.0,
        "text": TextPrompts(clip=clip_folder, min_area=60, crops_per_mask=2), "learning_rate": 1e-3,
        "loss": LossWeights(focal=0, balanced=1, supervise_all_iou=True), "freeze": "encoder",
    }  # fmt: skip
    return Phase.model_validate(settings | changes)


def of(*phases: Phase) -> Recipe:
    return Recipe(name="words", description="for tests", architecture="nano", phases=list(phases))


def scenes(count: int, objects: int = 2) -> SetStream:
    return SetStream(MemorySource([scene(seed, objects)[0] for seed in range(count)]))


class KilledError(Exception):
    pass


def test_a_killed_training_with_text_goes_on_exactly(untrained: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    text = TextPrompts(clip=untrained, min_area=60, share=0.7, with_point=0.5)
    what = of(text_phase(untrained, 1, text=None), text_phase(untrained, 3, text=text, corrections=1, flip=0.5))
    whole: list[float] = []
    train(fresh_model(what), scenes(6), what, report=lambda p: whole.append(p.loss))

    def die(progress: object) -> None:
        if len(seen) == 2:
            raise KilledError
        seen.append(progress.loss)  # type: ignore[attr-defined]

    seen: list[float] = []
    paths = {"folder": tmp_path / "run", "cache": tmp_path / "cache", "save_every": 1}
    with pytest.raises(KilledError):
        train(fresh_model(what), scenes(6), what, report=die, **paths)  # type: ignore[arg-type]
    rest: list[float] = []
    sam = train(fresh_model(what, seed=3), scenes(6), what, report=lambda p: rest.append(p.loss), **paths)  # type: ignore[arg-type]
    assert seen == pytest.approx(whole[:2], abs=1e-6) and rest == pytest.approx(whole[2:], abs=1e-6) and len(whole) == 4
    assert sam.takes_text and sam.clip == untrained


def test_the_gradient_reaches_the_token(untrained: str) -> None:
    torch.set_num_threads(1)
    for text, moves in ((None, False), (TextPrompts(clip=untrained, min_area=60), True)):
        what = of(text_phase(untrained, 1, text=text))
        sam = build_sam("nano", text_width=32)
        sam.clip = untrained
        before = [parameter.detach().clone() for parameter in sam.prompt_encoder.text_projection.parameters()]  # type: ignore[union-attr]
        train(sam, scenes(4), what)
        after = list(sam.prompt_encoder.text_projection.parameters())  # type: ignore[union-attr]
        assert [not torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [moves, moves]


def test_clips_are_not_mixed(untrained: str) -> None:
    what = of(text_phase(untrained, 1))
    sam = build_sam("nano", text_width=32)
    sam.clip = "another clip"
    with pytest.raises(ConfigError, match="trained with CLIP 'another clip'"):
        add_text_token(sam, what)
    with pytest.raises(ConfigError, match="takes 64 numbers, CLIP gives 32"):
        add_text_token(build_sam("nano", text_width=64), what)
    with pytest.raises(ValueError, match="from one CLIP"):
        of(text_phase("one", 1), text_phase("other", 1))
    one, other = build_sam("nano"), build_sam("nano")
    assert add_text_token(one, what, seed=4) and add_text_token(other, what, seed=4)
    assert torch.equal(one.prompt_encoder.text_projection.weight, other.prompt_encoder.text_projection.weight)  # type: ignore[union-attr]
    assert add_text_token(build_sam("nano"), of(text_phase(untrained, 1, text=None))) is None


def small_sam() -> Sam:
    """The real prompt encoder and decoder on an encoder that sees little more than colours: 64 px, 8x8 cells."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 64, 4, stride=4), nn.GELU(), nn.Conv2d(64, 256, 2, stride=2), LayerNorm2d(256))
    prompts, decoder = PromptEncoder(embedding_size=8, image_size=64), MaskDecoder(mlp_width=128)
    return Sam(encoder, prompts, decoder, architecture="small", resample="bilinear")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_words_pick_the_right_of_two_coloured_objects(tmp_path: Path) -> None:
    """Trained on crops only, asked with words that no mask ever came with: what CLIP's common space is for."""
    torch.set_num_threads(1)
    train_tiny_clip(tmp_path, photo(300, 400))
    sam, token = small_sam(), 0.0

    def report(progress: Progress) -> None:
        nonlocal token
        assert sam.prompt_encoder.text_projection is not None
        token = max(token, float(sam.prompt_encoder.text_projection.weight.grad.abs().max()))  # type: ignore[union-attr]

    source = SetStream(MemorySource([scene(seed, objects=5, side=64)[0] for seed in range(100)]))
    what = text_phase(str(tmp_path), STEPS, image_size=None, freeze="nothing", decay_at=[STEPS - 20])
    train(sam, source, of(what), report=report)
    assert token > 0, "no gradient reached the text token"
    predictor = Predictor(sam)  # finds the CLIP that the training wrote down
    right = asked = 0
    for seed in range(10_000, 10_060):
        image, words, masks = scene(seed, objects=2, side=64)
        if len(image.masks) < 2:
            continue
        predictor.set_image(image.pixels)
        for mine, other, text in ((0, 1, words[0]), (1, 0, words[1])):
            found = predictor.predict(text=text)
            overlap = [iou_of_pairs(found.masks[[found.best]], masks[index][None])[0] for index in (mine, other)]
            right += bool(overlap[0] > max(overlap[1], 0.3))
            asked += 1
    assert asked > 80 and right >= 0.9 * asked, f"{right} of {asked}"
