"""Bytes of any picture a camera, a phone or a scraper made -> upright 8-bit RGB, or a reason why not."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dataengine.errors import RejectedImageError

_DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}


@dataclass(frozen=True)
class DecodedImage:
    """`pixels`: uint8 RGB (H, W, 3), after EXIF rotation; `format`: Pillow's name of the file format."""

    pixels: np.ndarray
    format: str


def decode(data: bytes, max_megapixels: float) -> DecodedImage:
    """Decodes one image file.

    Converts what can be converted: CMYK (Adobe's inverted one too), 16-bit, float in 0..1, palette, gray,
    1-bit, alpha (over white); the first frame of a phone's MPO. Raises `RejectedImageError` with a short
    reason for what can't be: unreadable, truncated, animated or with several pages, over `max_megapixels`
    (checked in the header, before any pixel is decoded), empty.
    """
    if not data:
        raise RejectedImageError("empty file")
    with _STRICT_PILLOW:
        try:
            with Image.open(io.BytesIO(data)) as image:
                _check_header(image, max_megapixels)
                name = image.format or "unknown"
                image.load()
                upright = _upright(_to_rgb(image), image)
        except RejectedImageError:
            raise
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise RejectedImageError("unreadable: not an image, or of an unknown format") from error
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
            text = str(error)
            kind = "truncated" if "truncated" in text or "incomplete" in text else "unreadable"
            raise RejectedImageError(f"{kind}: {text[:120] or type(error).__name__}") from error
        except Exception as error:
            # Pillow's plugins parse what strangers wrote: struct.error, zlib.error and worse come out.
            raise RejectedImageError(f"unreadable: {type(error).__name__} {str(error)[:100]}") from error
    return DecodedImage(np.ascontiguousarray(upright), name)


class _StrictPillow:
    """Pillow with its defaults, whatever other libraries set: face_recognition lets half a photo pass.

    The settings are the whole process's, and images are decoded on several threads: the first one in
    changes them, the last one out puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: tuple[bool, int | None] = (False, None)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                # Our own check of the header replaces Pillow's, whose limit is below 300 megapixels.
                Image.MAX_IMAGE_PIXELS = None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = self._before


_STRICT_PILLOW = _StrictPillow()


def _check_header(image: Image.Image, max_megapixels: float) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise RejectedImageError(f"no pixels: {width} x {height}")
    if width * height > max_megapixels * 1e6:
        megapixels = width * height / 1e6
        raise RejectedImageError(f"too large: {megapixels:.0f} megapixels, the limit is {max_megapixels:g}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise RejectedImageError(f"animated or with several pages: {frames} frames")


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Loaded Pillow image of any mode -> uint8 RGB (H, W, 3), not yet rotated."""
    if image.mode in _DEEP_MODES:
        grey = _scale_deep(image)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(canvas, with_alpha).convert("RGB"))
    # Pillow's JPEG reader has already turned Adobe's inverted CMYK round.
    return np.asarray(image.convert("RGB"))


def _scale_deep(image: Image.Image) -> np.ndarray:
    """16-bit, 32-bit or float grey -> uint8 (H, W). `convert` would clip at 255 instead of scaling.

    16-bit colour needs nothing: Pillow reads the high byte of each value.
    """
    values = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise RejectedImageError("float pixels outside 0..1: their scale is unknown")
        return np.rint(values * 255).astype(np.uint8)
    if values.min() < 0 or values.max() > 65535:
        raise RejectedImageError("32-bit pixels outside 0..65535: their scale is unknown")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Turns `pixels` as the EXIF orientation (1..8) says; a damaged EXIF block means upright."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:
        orientation = 1
    turn = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, 1),
    }.get(orientation if isinstance(orientation, int) else 1)
    return turn(pixels) if turn else pixels
