"""Labelled pictures for `dataengine demo --full`, made of the sample photos: nothing is downloaded.

No installed package carries photos with true masks, and masks made by a model would be no truth. So objects are
cut out of the sample photos along outlines that were drawn by hand, and pasted, turned and scaled, onto photos of
plain surfaces; what is pasted is known to the pixel. The pixels are real, the arrangement isn't: such pictures
show that the machinery works, and say nothing about how good a model is on photographs. The same few things
come back in all of them, also on the held-out side.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from workflows.sample_photos import package_photo

SIZE = (360, 480)
"""(height, width) of a picture."""
OBJECTS = (3, 6)
"""Fewest and most that are pasted."""
SIDES = (60, 230)
"""Px: the longer side of what is pasted."""
LEAST_PIXELS = 500
LEAST_VISIBLE = 0.35
"""Of each object; a picture in which one is smaller, or more hidden by the others, is drawn anew."""
SURFACES = ("brick.png", "grass.png", "gravel.png")
"""CC0 photos inside scikit-image."""

Corners = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Outline:
    """One object of a sample photo: an ellipse in a box (two corners), or a polygon; xy in pixels of the photo."""

    package: str
    file: str
    corners: Corners

    def cut(self) -> Image.Image:
        """RGBA, cropped to the object."""
        photo = package_photo(self.package, self.file).convert("RGB")
        alpha = Image.new("L", photo.size)
        draw = ImageDraw.Draw(alpha)
        if len(self.corners) == 2:
            draw.ellipse(self.corners, fill=255)
        else:
            draw.polygon(self.corners, fill=255)
        photo.putalpha(alpha)
        return photo.crop(alpha.getbbox())


def _scikit_image(file: str, *corners: tuple[int, int]) -> Outline:
    return Outline("skimage", f"data/{file}", corners)


# fmt: off
_COINS: tuple[tuple[int, int, int, int], ...] = (
    (305, 15, 364, 72), (132, 28, 179, 74), (22, 34, 67, 74), (192, 29, 240, 73), (245, 95, 296, 144),
    (315, 156, 379, 218), (188, 170, 236, 217), (80, 175, 124, 217), (18, 232, 75, 288), (275, 239, 326, 289),
)
OUTLINES: tuple[Outline, ...] = (
    # A cat's head.
    _scikit_image("chelsea.png", (40, 0), (32, 60), (35, 100), (45, 130), (60, 160), (90, 190), (130, 225), (170, 255),
                  (210, 275), (250, 283), (290, 270), (310, 250), (315, 225), (330, 200), (350, 180), (360, 155),
                  (362, 115), (360, 75), (385, 30), (399, 0)),
    # A saucer with its cup and spoon.
    _scikit_image("coffee.png", (180, 71), (192, 52), (210, 36), (235, 25), (265, 18), (300, 18), (335, 24), (365, 38),
                  (390, 58), (400, 72), (408, 66), (420, 68), (425, 78), (418, 106), (440, 130), (465, 170), (478, 205),
                  (479, 230), (475, 260), (455, 300), (425, 335), (385, 365), (340, 383), (290, 389), (240, 384),
                  (190, 367), (150, 345), (115, 310), (90, 270), (78, 230), (80, 190), (90, 155), (110, 125),
                  (140, 95)),
    # The cup alone.
    _scikit_image("coffee.png", (173, 108), (176, 85), (190, 55), (215, 34), (250, 20), (285, 18), (320, 20), (355, 32),
                  (385, 52), (402, 80), (407, 110), (402, 140), (395, 165), (380, 195), (360, 230), (330, 262),
                  (300, 282), (270, 284), (258, 280), (240, 300), (222, 308), (205, 304), (196, 290), (198, 268),
                  (210, 248), (218, 236), (200, 215), (185, 190), (176, 160), (174, 130)),
    # A dahlia.
    Outline("sklearn", "datasets/images/flower.jpg", ((170, 86), (444, 358))),
    # An astronaut, her helmet, the badge on her suit, and the shuttle's model behind her.
    _scikit_image("astronaut.png", (154, 75), (156, 95), (165, 112), (180, 128), (184, 150), (150, 152), (125, 172),
                  (115, 190), (112, 205), (70, 245), (45, 285), (30, 330), (20, 395), (28, 440), (25, 480), (35, 511),
                  (277, 511), (277, 470), (282, 435), (295, 405), (315, 378), (340, 356), (360, 347), (350, 285),
                  (340, 255), (320, 240), (302, 232), (300, 215), (285, 190), (258, 172), (262, 150), (275, 130),
                  (290, 115), (301, 95), (298, 65), (285, 38), (265, 22), (240, 16), (215, 18), (190, 32), (165, 50)),
    _scikit_image("astronaut.png", (278, 511), (277, 470), (282, 435), (295, 405), (315, 378), (340, 356), (370, 346),
                  (405, 343), (435, 349), (465, 370), (485, 400), (497, 435), (503, 460), (508, 490), (505, 511)),
    _scikit_image("astronaut.png", (133, 348), (208, 423)),
    _scikit_image("astronaut.png", (404, 0), (426, 0), (434, 20), (438, 44), (447, 42), (453, 60), (453, 190),
                  (456, 232), (450, 236), (458, 266), (434, 272), (425, 250), (418, 276), (408, 276), (402, 268),
                  (390, 268), (388, 256), (370, 272), (368, 258), (376, 222), (355, 222), (356, 208), (376, 184),
                  (378, 120), (382, 96), (380, 60), (386, 44), (396, 52), (397, 30)),
    # A man who films.
    _scikit_image("camera.png", (0, 260), (30, 225), (55, 185), (70, 145), (100, 130), (130, 124), (150, 106),
                  (162, 105), (170, 85), (195, 66), (215, 64), (245, 80), (265, 100), (270, 120), (265, 130),
                  (325, 140), (325, 150), (320, 160), (330, 172), (332, 190), (325, 215), (318, 227), (300, 235),
                  (303, 272), (285, 285), (250, 311), (230, 308), (206, 294), (190, 320), (141, 382), (148, 420),
                  (149, 511), (0, 511)),
    *(_scikit_image("coins.png", (x0, y0), (x1, y1)) for x0, y0, x1, y1 in _COINS),
)
# fmt: on


@dataclass(frozen=True)
class Scene:
    """`jpeg`: the picture's file; `masks`: bool (N, height, width), what shows of each object."""

    jpeg: bytes
    masks: np.ndarray


def scenes(seed: int = 0) -> Iterator[Scene]:
    """Endless; the same seed gives the same pictures."""
    objects = [outline.cut() for outline in OUTLINES]
    surfaces = [package_photo("skimage", f"data/{name}").convert("L") for name in SURFACES]
    number = 0
    while True:
        rng = np.random.default_rng((seed, number))
        number += 1
        picture = _ground(surfaces[int(rng.integers(len(surfaces)))], rng)
        masks: list[np.ndarray] = []
        whole: list[int] = []
        for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
            # A coin no more often than two other things, although there are many of them.
            groups = len(objects) - len(_COINS)
            which = int(rng.integers(groups + 2))
            which = which if which < groups else groups + int(rng.integers(len(_COINS)))
            alpha = _paste(picture, _turned(objects[which], rng), rng)
            masks = [mask & (alpha < 0.5) for mask in masks] + [alpha >= 0.5]
            whole.append(int(masks[-1].sum()))
        shown = [mask.sum() for mask in masks]
        if min(shown) >= LEAST_PIXELS and all(np.divide(shown, whole) >= LEAST_VISIBLE):
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=92)
            yield Scene(encoded.getvalue(), np.stack(masks))


def _ground(surface: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A crop of the surface, tinted and a little lighter or darker."""
    height, width = SIZE
    share = rng.uniform(0.6, 1.0) * min(surface.width / width, surface.height / height)
    size = round(width * share), round(height * share)
    x, y = (int(rng.integers(0, full - part + 1)) for full, part in zip(surface.size, size, strict=True))
    grey = np.asarray(surface.crop((x, y, x + size[0], y + size[1])).resize((width, height)), np.float32)
    tint = rng.uniform(0.65, 1.1, 3)
    return Image.fromarray((grey[..., None] * tint).clip(0, 255).astype(np.uint8))


def _turned(thing: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = rng.uniform(*SIDES) / max(thing.size)
    thing = thing.resize((max(8, round(thing.width * scale)), max(8, round(thing.height * scale))))
    alpha = thing.getchannel("A")
    lit = ImageEnhance.Brightness(thing.convert("RGB")).enhance(rng.uniform(0.75, 1.2))
    lit.putalpha(alpha)
    return lit.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)


def _paste(picture: Image.Image, thing: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Onto `picture`, wholly inside it where it fits; float (height, width) in 0..1, how much of it covers."""
    height, width = SIZE
    x = int(rng.integers(0, max(1, width - thing.width)))
    y = int(rng.integers(0, max(1, height - thing.height)))
    # A soft rim, as a lens gives it: a hard one would be found by its edge alone.
    alpha = Image.new("L", (width, height))
    alpha.paste(thing.getchannel("A"), (x, y))
    alpha = alpha.filter(ImageFilter.GaussianBlur(0.7))
    layer = Image.new("RGB", (width, height))
    layer.paste(thing.convert("RGB"), (x, y))
    picture.paste(layer, (0, 0), alpha)
    return np.asarray(alpha, np.float32) / 255
