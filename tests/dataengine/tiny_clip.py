"""A CLIP of transformers small enough to train inside a test, and coloured shapes for it to see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

from dataengine.model.text import CLIP_MEAN, CLIP_STD, crop_of

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerFast

COLOURS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 220),
    "yellow": (235, 215, 50), "purple": (160, 50, 180), "white": (240, 240, 240),
}  # fmt: skip
SHAPES = ("ellipse", "rectangle")
SIDE = 16


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, between a start and an end, as CLIP has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<start>", "<end>", "<unknown>", "a", *COLOURS, *SHAPES]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unknown>"
    )


def tiny_model(layers: int = 2) -> CLIPModel:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 64, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 128}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = {"vocab_size": 5 + len(COLOURS) + len(SHAPES), "max_position_embeddings": 8, **special, **shared}
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config={"image_size": SIDE, "patch_size": 4, **shared}, projection_dim=32)
    )


def coloured_object(rng: np.random.Generator, colour: str, shape: str, pixels: np.ndarray) -> np.ndarray:
    """Draws one of about a third of the image's side somewhere on uint8 (H, W, 3); returns its mask."""
    height, width = pixels.shape[:2]
    tall, wide = (int(rng.integers(side // 4, side // 2)) for side in (height, width))
    top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
    picture = Image.new("1", (width, height))
    getattr(ImageDraw.Draw(picture), shape)((left, top, left + wide, top + tall), fill=1)
    mask = np.array(picture)
    shade = np.asarray(COLOURS[colour]) + rng.normal(0, 8, 3) + rng.normal(0, 6, (int(mask.sum()), 3))
    pixels[mask] = shade.clip(0, 255)
    return mask


def train_tiny_clip(folder: Path, background: np.ndarray, steps: int = 150) -> None:
    """Contrastively, on crops of objects on parts of `background`; saved as transformers saves a CLIP."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model, tokenizer = tiny_model(layers=1), tiny_tokenizer()
    classes = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    tokens = tokenizer([f"a {colour} {shape}" for colour, shape in classes], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = []
        for colour, shape in classes:
            y, x = (int(rng.integers(0, side - 64)) for side in background.shape[:2])
            pixels = background[y : y + 64, x : x + 64].copy()
            mask = coloured_object(rng, colour, shape, pixels)
            crop = crop_of(pixels, mask, float(rng.uniform(1, 2)), bool(rng.integers(2)))
            small = np.asarray(Image.fromarray(crop.pixels).resize((SIDE, SIDE)), np.float32) / 255
            batch.append((small - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD))
        pictures = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
        out = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pictures)
        target = torch.arange(len(classes))
        loss = sum(
            torch.nn.functional.cross_entropy(logits, target) for logits in (out.logits_per_image, out.logits_per_text)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
