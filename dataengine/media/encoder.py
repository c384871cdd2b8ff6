"""The image embedding that an annotator's decoder works on.

It is computed from the *unblurred* original, as in stage 3 (`stages.fully_automatic`): a face is an object to
segment, and people and the fully automatic stage shall see the same model. Only its 256 features a cell
leave the engine, for logged-in annotators; the picture they see is blurred.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from dataengine.model.sam import Sam

LENGTH = 16
"""Hex digits of an encoder's id."""


def encoder_id(sam: Sam) -> str:
    """Which embeddings fit this model: a hash of its image encoder's weights and of how pixels reach it.

    A round that trains the decoder alone keeps the id, so nothing has to be embedded anew.
    """
    digest = hashlib.sha256(f"{sam.architecture} {sam.image_size} {sam.resample} float16".encode())
    for key, value in sorted(sam.image_encoder.state_dict().items()):
        digest.update(key.encode())
        # float16, as checkpoints are stored: a model in memory and the same one from its file agree.
        plain = value.half() if value.is_floating_point() else value
        digest.update(plain.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


@torch.inference_mode()
def embed(sam: Sam, pixels: np.ndarray, frame: tuple[int, int]) -> bytes:
    """uint8 (H, W, 3) RGB of the original -> float16 little endian, C order (256, e, e).

    Scaled straight to the input size of the *annotation frame* (height, width): from the original's own
    size the shorter side could come out a pixel different, and the page's masks would be off by as much.
    """
    resized = sam.resize(pixels, sam.input_size(*frame))
    embedding = sam.image_encoder(sam.stack([resized]))[0]
    return embedding.to(torch.float16).cpu().numpy().astype("<f2").tobytes()


def embedding_bytes(sam: Sam) -> int:
    """Size of what `embed` returns."""
    return 2 * 256 * sam.embedding_size**2
