"""Many pictures on one: a grid of thumbnails with a line of text under each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
_GAP = 12
_PAPER, _INK = (250, 250, 249), (40, 40, 43)


def thumbnail(pixels: Pixels, longest: int) -> Pixels:
    """uint8 [H, W, 3] scaled down so that its longer side is at most `longest`; never up."""
    height, width = pixels.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def contact_sheet(
    pictures: Sequence[Pixels], captions: Sequence[str] | None = None, *, columns: int = 4, cell: int = 320
) -> Pixels:
    """Lays pictures out row by row, each in the middle of a square cell.

    Args:
        pictures: uint8 [H, W, 3] RGB each, of any sizes.
        captions: one line each; cut to the cell's width.
        columns: pictures in a row; fewer pictures make a narrower sheet.
        cell: side of a cell in pixels.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: without pictures, or with another number of captions.
    """
    if not pictures or columns < 1:
        raise ValueError("a contact sheet needs pictures and columns")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = max(11, cell // 24)
    line = 2 * size if captions is not None else 0
    sheet = Image.new("RGB", (_GAP + columns * (cell + _GAP), _GAP + rows * (cell + line + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for index, picture in enumerate(pictures):
        x = _GAP + index % columns * (cell + _GAP)
        y = _GAP + index // columns * (cell + line + _GAP)
        small = Image.fromarray(thumbnail(picture, cell))
        sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))
        if captions is not None:
            text = _fitted(captions[index], cell, font)
            draw.text((x, y + cell + size // 2), text, fill=_INK, font=font)
    return np.array(sheet)


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
