"""The picture that a person annotates: the released one, at several sizes.

The *annotation frame* is the release frame (`shards.release_image`), so a mask needs no conversion on its way
into a shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dataengine.media.cache import MediaCache
from dataengine.privacy import hide
from dataengine.shards.release_image import encode_jpeg, release_pixels
from schemas import Box
from schemas.annotations import TaskImage
from schemas.config import PrivacyConfig

QUALITY = 90
SMALLEST_SIDE = 1024
"""The pyramid ends with the first level whose longer side is at most this."""
DETECTOR = "redaction"
_VERSION = 1
"""Part of every key: raise it when the same input would give other pictures."""


def display_levels(width: int, height: int) -> list[tuple[int, int]]:
    """(width, height) of the pyramid's levels, the annotation frame first, each half of the one before."""
    levels = [(width, height)]
    while max(levels[-1]) > SMALLEST_SIDE:
        w, h = levels[-1]
        levels.append((max(1, (w + 1) // 2), max(1, (h + 1) // 2)))
    return levels


def hidden_from_annotators(image: TaskImage, privacy: PrivacyConfig) -> list[Box]:
    """The live redactions that are blurred in what annotators see, as the config says; in the annotation frame."""
    if privacy.mode == "off" or not privacy.blur_for_annotators:
        return []
    live = [redaction.box for redaction in image.redactions if redaction.state == "live"]
    return [Box(x0=x0, y0=y0, x1=x1, y1=y1, score=1.0, detector=DETECTOR) for x0, y0, x1, y1 in live]


def display_key(frame: tuple[int, int], hidden: Sequence[Box]) -> str:
    """Which pictures of an image these are: a hash of all that they depend on beside its bytes.

    `frame` is (height, width) of the annotation frame, `hidden` the boxes in it that are blurred; corrected
    boxes make another key, so no browser keeps showing a picture from before the correction.
    """
    corners = sorted([box.x0, box.y0, box.x1, box.y1] for box in hidden)
    facts = [_VERSION, QUALITY, SMALLEST_SIDE, *frame, corners]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def display_pictures(released: np.ndarray, hidden: Sequence[Box]) -> list[tuple[int, bytes]]:
    """(width, JPEG) of every level of `display_levels`, largest first; no metadata in any.

    `released`: uint8 (H, W, 3) RGB in the annotation frame, not yet blurred; `hidden` in the same frame.
    Smaller levels are made of the blurred picture.
    """
    height, width = released.shape[:2]
    shown = hide(released, hidden, (height, width)) if hidden else released
    pictures = []
    for w, h in display_levels(width, height):
        if (w, h) != (shown.shape[1], shown.shape[0]):
            shown = np.asarray(Image.fromarray(shown).resize((w, h), Image.Resampling.BOX))
        pictures.append((w, encode_jpeg(shown, QUALITY)))
    return pictures


def write_pictures(cache: MediaCache, image: TaskImage, pixels: np.ndarray, hidden: Sequence[Box]) -> None:
    """Makes and shows the pictures of one image; `pixels` uint8 (H, W, 3) RGB of its original frame."""
    frame = image.height, image.width
    pictures = display_pictures(release_pixels(pixels, frame), hidden)
    cache.write_display(image.sha256, display_key(frame, hidden), pictures)
