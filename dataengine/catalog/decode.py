"""Bytes -> upright RGB pixels, or the reason why not."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from dataengine.errors import RejectedImageError

MEGA = 1_000_000
FIRST_FRAME_ONLY = {"MPO"}
"""Formats whose further frames are not an animation: phones store a preview or a depth map there."""


@dataclass(frozen=True)
class DecodedImage:
    """`pixels`: uint8 HxWx3 RGB, upright (EXIF rotation applied)."""

    pixels: np.ndarray
    format: str


def decode(data: bytes, max_megapixels: float) -> DecodedImage:
    """Decodes what can be decoded: CMYK, 16 bit, palette, gray, alpha (over white) all become RGB.

    Raises RejectedImageError for what is unreadable, truncated, animated or larger than `max_megapixels`
    (checked before any pixel is decoded).
    """
    # face_recognition switches this on when it is imported, and then half an image passes for a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            # Size is checked here, with the limit of the config rather than Pillow's.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return _decode(data, max_megapixels)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except RejectedImageError:
        raise
    except Image.UnidentifiedImageError:
        raise RejectedImageError("unreadable: not an image that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, ZeroDivisionError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = "truncated" if "truncated" in text.lower() else "unreadable"
        raise RejectedImageError(f"{reason}: {text}") from None
    except MemoryError:
        raise RejectedImageError("unreadable: its decoder ran out of memory") from None


def _decode(data: bytes, max_megapixels: float) -> DecodedImage:
    if not data:
        raise RejectedImageError("unreadable: the file is empty")
    with Image.open(io.BytesIO(data)) as image:
        name = image.format or "unknown"
        width, height = image.size
        if not width or not height:
            raise RejectedImageError("unreadable: 0 pixels")
        if width * height > max_megapixels * MEGA:
            raise RejectedImageError(
                f"too large: {width}x{height} is {width * height / MEGA:.0f} megapixels, "
                f"ingest.max_megapixels is {max_megapixels:g}"
            )
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and name not in FIRST_FRAME_ONLY:
            raise RejectedImageError(f"animated: {frames} frames")
        image.load()
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(_to_rgb(upright))
    return DecodedImage(np.ascontiguousarray(pixels), name)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """16-bit and float gray to uint8: by full scale where the type says it, else by the image's own range."""
    if values.dtype == np.uint16 or (values.dtype == np.int32 and 255 < values.max(initial=0) <= 65535):
        return np.round(values.astype(np.float64) / 257).clip(0, 255).astype(np.uint8)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise RejectedImageError("unreadable: its pixels are not numbers")
    low, high = float(values.min()), float(values.max())
    if 0 <= low and high <= 255 and high > 1:
        return np.round(values).astype(np.uint8)
    return np.round((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def _from_cmyk(image: Image.Image) -> Image.Image:
    """By the embedded profile where there is one (Pillow has undone Adobe's inversion), else by the plain formula."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is no reason to lose the photo
    return image.convert("RGB")
