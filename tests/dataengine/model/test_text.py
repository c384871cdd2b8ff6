"""CLIP on both of its sides, and a text token that is only there where it was trained."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dataengine.errors import ConfigError, EngineError
from dataengine.model import Predictor, Sam, build_sam, load_model, save_checkpoint
from dataengine.model.text import CLIP_MEAN, CLIP_STD, Clip, Crop, clip_of, crop_of
from schemas import CheckpointCard
from tests.dataengine.tiny_clip import SIDE, tiny_model, tiny_tokenizer

CARD = CheckpointCard(
    name="words", architecture="nano", sha256="", licence="", description="", image_size=0, embedding_size=0,
    parameters=0, pred_iou_thresh=0.5, stability_score_thresh=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: what the numbers mean doesn't matter here."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tiny_model(layers=1).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Clip:
    return Clip.load(str(clip_folder))


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3)).astype(np.uint8)


def test_a_crop_is_a_square_around_the_box_that_stays_in_the_image() -> None:
    pixels, mask = picture(0, 40), np.zeros((40, 40), bool)
    mask[10:16, 20:30] = True
    tight = crop_of(pixels, mask)
    assert np.array_equal(tight.pixels, pixels[8:18, 20:30]) and np.array_equal(tight.mask, mask[8:18, 20:30])
    assert np.array_equal(crop_of(pixels, mask, 2).pixels, pixels[3:23, 15:35])
    corner = np.zeros((40, 40), bool)
    corner[36:40, 0:4] = True
    assert np.array_equal(crop_of(pixels, corner, 2).pixels, pixels[32:40, 0:8])
    blank = crop_of(pixels, mask, 2, blank_background=True)
    assert not blank.pixels[~blank.mask].any() and np.array_equal(blank.pixels[blank.mask], pixels[mask])


def test_a_crop_larger_than_the_image_is_black_where_nothing_is() -> None:
    pixels, mask = picture(0, 40)[:20] | 1, np.ones((20, 40), bool)
    crop = crop_of(pixels, mask, 1.5)
    assert crop.pixels.shape == (60, 60, 3) and np.array_equal(crop.pixels[20:40, 10:50], pixels)
    assert crop.mask.sum() == mask.sum() and not crop.pixels[~crop.mask].any()
    with pytest.raises(ValueError, match="empty"):
        crop_of(pixels, np.zeros((20, 40), bool))


def test_a_whole_mask_gives_what_transformers_gives(clip: Clip) -> None:
    pixels = picture(1)
    normal = (pixels.astype(np.float32) / 255 - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    found = clip._model.get_image_features(pixel_values=torch.from_numpy(normal).permute(2, 0, 1)[None])
    theirs = functional.normalize(getattr(found, "pooler_output", found), dim=-1)[0]
    ours = clip.embed_crop(Crop(pixels, np.ones((SIDE, SIDE), bool)))
    assert torch.allclose(ours, theirs, atol=1e-6)
    texts = ["a red ellipse", "a blue rectangle"]
    found = clip._model.get_text_features(**clip._tokenizer(texts, return_tensors="pt"))
    theirs = functional.normalize(getattr(found, "pooler_output", found), dim=-1)
    assert torch.allclose(clip.embed_words(texts), theirs, atol=1e-6)


def test_the_embedding_is_of_the_object_and_not_of_what_is_around_it(clip: Clip) -> None:
    """With one layer, patches outside the mask can only reach the embedding through the attention that is barred."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[5:7, 6:11] = True  # patches of 4 px: row 1, columns 1 and 2
    around, inside = picture(2), picture(2)
    around[:4], around[8:], around[:, :4], around[:, 12:] = 0, 255, 9, 99
    inside[4, 4] = 255 - inside[4, 4]  # outside the mask, but in a patch that holds a part of it
    plain, same, other = (clip.embed_crop(Crop(pixels, mask)) for pixels in (picture(2), around, inside))
    assert torch.allclose(plain, same, atol=1e-6)
    assert not torch.allclose(plain, other, atol=1e-4)
    # A mask of one pixel in a crop much larger than CLIP's input is not lost.
    speck = np.zeros((301, 301), bool)
    speck[200, 7] = True
    assert clip._patches(speck).sum() == 1 and clip._patches(speck)[2, 0]
    assert clip._patches(np.ones((1, 1), bool)).all()


def test_words_that_clip_can_not_take_are_config_errors(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="needs words"):
        clip.embed_words(["  "])
    with pytest.raises(ConfigError, match="more than the 8 tokens"):
        clip.embed_words(["a red red red red red red ellipse"])


def test_a_clip_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineError, match="can't load CLIP") as caught:
        Clip.load(str(tmp_path))
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EngineError, match=r"pip install 'sa-dataengine\[text\]'"):
        Clip.load(str(tmp_path))


def with_text(width: int = 32) -> Sam:
    torch.manual_seed(1)
    return build_sam("nano", text_width=width)


def test_the_text_token_is_there_only_where_it_was_asked_for() -> None:
    plain, texted = build_sam("nano").state_dict(), with_text().state_dict()
    assert texted.keys() - plain.keys() == {
        "prompt_encoder.text_projection.weight", "prompt_encoder.text_projection.bias"
    }  # fmt: skip
    assert plain.keys() < texted.keys()
    encoder = build_sam("nano").prompt_encoder
    with pytest.raises(ValueError, match="no text token"):
        encoder(text=torch.zeros(1, 32))


def test_text_is_one_more_sparse_token() -> None:
    encoder = with_text().prompt_encoder
    assert encoder.text_projection is not None
    words = functional.normalize(torch.randn(3, 32), dim=1)
    points, labels = torch.rand(3, 2, 2) * 512, torch.ones(3, 2)
    alone, dense = encoder(text=words)
    expected = words * 32**0.5 @ encoder.text_projection.weight.T + encoder.text_projection.bias
    assert alone.shape == (3, 1, 256) and torch.allclose(alone[:, 0], expected, atol=1e-5)
    assert dense.shape == (1, 256, 1, 1)
    both, _ = encoder(points, labels, text=words)
    assert torch.equal(both, torch.cat([encoder(points, labels)[0], alone], dim=1))


def test_a_checkpoint_keeps_its_token_and_names_its_clip(clip_folder: Path, tmp_path: Path, coffee: np.ndarray) -> None:
    sam = with_text()
    sam.clip = str(clip_folder)
    path = tmp_path / "words.safetensors"
    assert save_checkpoint(sam, CARD, path).clip == str(clip_folder)
    again, card = load_model(path)
    assert again.takes_text and again.clip == card.clip == str(clip_folder)
    predictor = Predictor(again).set_image(coffee)
    found = predictor.predict(text="a white ellipse")
    assert found.masks.shape == (3, 400, 600)
    other = predictor.predict(text="a black rectangle")
    assert not np.array_equal(found.low_res_logits, other.low_res_logits)
    assert predictor.predict(points=[[300, 200]], text="a white ellipse", multimask=False).masks.shape == (1, 400, 600)


def test_a_checkpoint_without_its_card_says_so(clip_folder: Path, tmp_path: Path) -> None:
    torch.save(with_text().state_dict(), tmp_path / "words.pth")
    sam, card = load_model(tmp_path / "words.pth")
    assert sam.takes_text and card.clip is None
    with pytest.raises(ConfigError, match="name it with --clip"):
        clip_of(sam)
    assert clip_of(sam, str(clip_folder)).width == 32
    with pytest.raises(ConfigError, match="embeddings of 32 numbers, the model's text token takes 64"):
        clip_of(with_text(64), str(clip_folder))


def test_text_on_a_checkpoint_trained_without_is_one_clear_line(coffee: np.ndarray) -> None:
    predictor = Predictor(load_model("nano")[0]).set_image(coffee)
    with pytest.raises(ConfigError, match="trained without text prompts") as caught:
        predictor.predict(text="a cup")
    assert "\n" not in str(caught.value)
