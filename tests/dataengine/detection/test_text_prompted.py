"""Both families of text-prompted detectors, tiny and untrained: that their answers come out as boxes of the picture."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch

from dataengine.detection.objects import Picture, open_detector
from dataengine.errors import ConfigError, EngineError
from tests.dataengine.labelled_sets import photo

WORDS = ["a cup", "cat"]


def tiny_owl(folder: Path) -> None:
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor
    from transformers.models.owlv2 import Owlv2ImageProcessor

    # Id 0 is padding to these models: a text that begins with it is no text.
    words = ["!", "<|startoftext|>", "<|endoftext|>", "a</w>", "c", "u", "t", "a", "p</w>", "t</w>", "cu", "cup</w>"]
    tokenizer = CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[("c", "u"), ("cu", "p</w>")]
    )
    tokenizer.model_max_length = 8
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = Owlv2Config(
        text_config={"vocab_size": len(words), "max_position_embeddings": 8, **special, **small},
        vision_config={"image_size": 64, "patch_size": 16, **small},
        projection_dim=16,
    )
    model = Owlv2ForObjectDetection(config)
    # Untrained it sees nothing: make it sure of everything, each patch its own box.
    model.class_head.logit_shift.bias.data.fill_(5.0)
    for parameter in model.box_head.dense2.parameters():
        parameter.data.zero_()
    model.save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    Owlv2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def tiny_grounding_dino(folder: Path) -> None:
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoProcessor,
        SwinConfig,
    )
    from transformers.models.grounding_dino import GroundingDinoImageProcessor

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "cup", "cat", "?"]
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=160, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=10, max_text_len=16, use_pretrained_backbone=False,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(words)})
    images = GroundingDinoImageProcessor(size={"height": 160, "width": 160})
    GroundingDinoProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("family", [tiny_owl, tiny_grounding_dino])
def test_words_become_boxes(family: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    family(tmp_path / "model")
    name = f"transformers:{tmp_path / 'model'}"
    detector, other = open_detector(name, words=WORDS), open_detector(name, words=["cat"])
    assert detector.model_id.startswith("model@") and detector.model_id != other.model_id
    found = detector.find(Picture.of(photo(120, 180)))
    assert found and [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.box is not None and one.label for one in found)
    assert all(0 <= x0 < x1 <= 180 and 0 <= y0 < y1 <= 120 for x0, y0, x1, y1 in (one.box for one in found if one.box))
    if family is tiny_owl:
        assert {one.label for one in found} <= set(WORDS)


def test_one_line_without_the_extra_and_without_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs words"):
        open_detector("transformers:any", words=["  "])
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngineError, match=r"pip install 'sa-dataengine\[text\]'") as refused:
        open_detector("transformers:any", words=["cup"])
    assert "\n" not in str(refused.value)
