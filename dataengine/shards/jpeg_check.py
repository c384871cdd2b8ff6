"""A released JPEG must be whole, and hold a picture and nothing else."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_NAMES = {0xFE: "a comment", 0xE2: "an ICC profile", 0xED: "Photoshop/IPTC data", 0xEE: "an Adobe segment"}
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def check_jpeg(data: bytes) -> tuple[tuple[int, int] | None, list[str]]:
    """Decodes a JPEG wholly and walks its segments.

    Returns:
        (height, width) as decoded, None when it can't be; and what is wrong with it.
    """
    size, problems = None, _segment_problems(data)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            size = image.height, image.width
            if image.mode != "RGB":
                problems.append(f"JPEG is {image.mode}, not RGB")
            # Not load() alone: a process that imported face_recognition lets Pillow forgive a short file,
            # which the segment walk finds by its missing end.
            np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problems.append(f"JPEG does not decode: {error}")
        size = None
    return size, problems


def _segment_problems(data: bytes) -> list[str]:
    """Walks from SOI to EOI; names every segment that isn't needed to decode the picture."""
    if data[:2] != b"\xff\xd8":
        return ["JPEG does not start as one"]
    problems: list[str] = []
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return [*problems, f"JPEG is damaged at byte {at}: no marker"]
        marker = data[at + 1]
        if marker == 0xD9 or marker in _STANDALONE:
            return [*problems, f"JPEG is damaged at byte {at}: unexpected marker"]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        unwanted = _unwanted(marker, body)
        if unwanted:
            problems.append(f"JPEG holds {unwanted}")
        at += 2 + length
        if marker == 0xDA:
            end = _SCAN_END.search(data, at)
            if end is None:
                return [*problems, "JPEG is cut short: no end of image"]
            at = end.start()
            if data[at + 1] == 0xD9:
                if at + 2 != len(data):
                    problems.append(f"JPEG has {len(data) - at - 2} bytes after its end")
                return problems
    return [*problems, "JPEG is cut short"]


def _unwanted(marker: int, body: bytes) -> str | None:
    if marker == 0xE0:
        # The plain JFIF header: version, density and an empty thumbnail.
        plain = body[:5] == b"JFIF\0" and len(body) == 14 and body[12:14] == b"\0\0"
        return None if plain else "an APP0 segment that isn't a plain JFIF header"
    if marker == 0xE1:
        return "EXIF" if body[:4] == b"Exif" else "XMP" if b"ns.adobe.com" in body[:64] else "an APP1 segment"
    if marker in _NAMES:
        return _NAMES[marker]
    if 0xE3 <= marker <= 0xEF:
        return f"an APP{marker - 0xE0} segment"
    return None
