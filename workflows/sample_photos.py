"""Sample photos for `dataengine demo`, taken from installed packages: nothing is downloaded.

scikit-image and scikit-learn carry a handful of photos with clear licences. One of them gets a car with a
number plate drawn in and one a phone's EXIF block with a GPS position, so that the demo can show what a
release hides and drops.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont
from PIL.TiffImagePlugin import IFDRational

from dataengine.errors import EngineError

PLATE_TEXT = "SAM-1023"
PLATE_XY = (300, 350)
PLATE_WIDTH = 70
GPS = ((40.0, 41.0, 21.0), (74.0, 2.0, 40.0))
"""Made-up position (degrees, minutes, seconds north and west) that must not survive into a shard."""


@dataclass(frozen=True)
class SamplePhoto:
    """One photo: where its package keeps it, what the demo calls it, and its provenance."""

    package: str
    file: str
    name: str
    licence: str
    author: str
    source_url: str
    caption: str


def _scikit_image(file: str, name: str, licence: str, author: str, caption: str) -> SamplePhoto:
    page = f"https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.{Path(file).stem}"
    return SamplePhoto("skimage", f"data/{file}", name, licence, author, page, caption)


def _scikit_learn(name: str, author: str, page: str, caption: str) -> SamplePhoto:
    return SamplePhoto("sklearn", f"datasets/images/{name}", name, "CC BY 2.0", author, page, caption)


SAMPLE_PHOTOS: tuple[SamplePhoto, ...] = (
    _scikit_image("astronaut.png", "astronaut.jpg", "public domain", "NASA", "Portrait of Eileen Collins"),
    _scikit_image("camera.png", "camera.png", "CC0-1.0", "Lav Varshney", "A photographer and his camera"),
    _scikit_image("chelsea.png", "chelsea.png", "CC0-1.0", "Stefan van der Walt", "Chelsea the cat"),
    _scikit_image("coffee.png", "coffee.jpg", "CC0-1.0", "Rachel Michetti", "A cup of coffee"),
    _scikit_image("coins.png", "coins.png", "no known restrictions", "Brooklyn Museum", "Coins from Pompeii"),
    _scikit_image("rocket.jpg", "rocket.jpg", "CC0-1.0", "SpaceX", "Falcon 9 on its launch pad"),
    _scikit_learn(
        "china.jpg",
        "danielbuechele",
        "https://www.flickr.com/photos/danielbuechele/6061409035/",
        "A pavilion in China; the car and its number plate are drawn in",
    ),
    _scikit_learn(
        "flower.jpg", "vultilion", "https://www.flickr.com/photos/vultilion/6056698931/", "A dahlia in bloom"
    ),
)


def write_sample_photos(folder: Path) -> list[Path]:
    """Writes the photos and their `metadata.csv` into `folder`; returns the photos' paths.

    `china.jpg` has a number plate drawn in, `astronaut.jpg` carries EXIF with a camera's name and a GPS
    position. Raises `EngineError` when scikit-image or scikit-learn isn't installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for photo in SAMPLE_PHOTOS:
        path = folder / photo.name
        image = package_photo(photo.package, photo.file)
        picture = image.convert("L" if image.mode == "L" else "RGB")
        exif = Image.Exif()
        if photo.name == "china.jpg":
            picture = draw_number_plate(picture, PLATE_XY, PLATE_WIDTH, PLATE_TEXT)
        if photo.name == "astronaut.jpg":
            exif = _phone_exif()
        picture.save(path, quality=95, subsampling=0, exif=exif) if path.suffix == ".jpg" else picture.save(path)
        paths.append(path)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "licence", "author", "source_url", "caption"])
        writer.writerows([p.name, p.licence, p.author, p.source_url, p.caption] for p in SAMPLE_PHOTOS)
    return paths


def draw_number_plate(image: Image.Image, xy: tuple[int, int], width: int, text: str) -> Image.Image:
    """A copy of `image` (RGB) with a car's rear drawn in, its plate at `xy` (top left corner), `width` wide.

    The detectors find plates on cars: a bare plate in a meadow scores .1 to .5, on this car .55 to .8 with
    both of them, for widths of 70 to 90 pixels in a 640-pixel picture.
    """
    height = round(width / 3)
    rear = _car_rear(round(width * 3.4))
    x, y = xy[0] + width // 2 - rear.width // 2, xy[1] + height // 2 - round(0.35 * rear.width)
    out = image.copy()
    out.paste(rear, (x, y), rear)
    out.paste(_plate(width, height, text), xy)
    # A slight blur over all of it, as a lens would: crisp computer edges look like a sticker to a detector.
    box = (max(0, x - 4), max(0, y - 4), min(out.width, x + rear.width + 4), min(out.height, y + rear.height + 4))
    out.paste(out.crop(box).filter(ImageFilter.GaussianBlur(0.6)), box[:2])
    return out


def _plate(width: int, height: int, text: str) -> Image.Image:
    """Dark letters on off-white with a dark rim, drawn four times larger and scaled down."""
    w, h = 4 * width, 4 * height
    plate = Image.new("RGB", (w, h), (245, 245, 240))
    draw = ImageDraw.Draw(plate)
    draw.rounded_rectangle((0, 0, w - 1, h - 1), h // 8, (245, 245, 240), (20, 20, 20), max(2, h // 16))
    size = h
    while size > 4:
        font = ImageFont.truetype(str(_font_file()), size)
        x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
        if x1 - x0 <= 0.88 * w and y1 - y0 <= 0.68 * h:
            break
        size -= 1
    draw.text(((w - x0 - x1) / 2, (h - y0 - y1) / 2), text, font=font, fill=(15, 15, 20))
    return plate.resize((width, height), Image.Resampling.LANCZOS)


def _car_rear(width: int) -> Image.Image:
    """Roof, rear window, body, lights, plate recess and bumper, RGBA, on a clear ground."""
    u = 3.0 * width
    car = Image.new("RGBA", (round(u), round(0.62 * u)), (0, 0, 0, 0))
    draw = ImageDraw.Draw(car)

    def part(x0: float, y0: float, x1: float, y1: float, radius: float, colour: tuple[int, int, int]) -> None:
        draw.rounded_rectangle((x0 * u, y0 * u, x1 * u, y1 * u), radius * u, (*colour, 255))

    part(0.10, 0.00, 0.90, 0.35, 0.12, (48, 56, 72))
    part(0.16, 0.03, 0.84, 0.20, 0.06, (35, 42, 50))
    part(0.02, 0.19, 0.98, 0.55, 0.07, (60, 70, 90))
    part(0.06, 0.50, 0.20, 0.61, 0.00, (20, 20, 20))
    part(0.80, 0.50, 0.94, 0.61, 0.00, (20, 20, 20))
    part(0.04, 0.25, 0.18, 0.33, 0.02, (170, 20, 25))
    part(0.82, 0.25, 0.96, 0.33, 0.02, (170, 20, 25))
    part(0.31, 0.27, 0.69, 0.43, 0.02, (36, 42, 54))
    part(0.02, 0.45, 0.98, 0.56, 0.03, (30, 35, 45))
    return car.resize((width, round(0.62 * width)), Image.Resampling.LANCZOS)


def _phone_exif() -> Image.Exif:
    """What a phone writes beside the pixels: maker, model, time and place."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Example Phones", "Example One", "2024:05:17 09:30:00"
    north, west = GPS
    exif[0x8825] = {
        1: "N",
        2: tuple(IFDRational(round(value)) for value in north),
        3: "W",
        4: tuple(IFDRational(round(value)) for value in west),
    }
    return exif


def package_photo(package: str, file: str) -> Image.Image:
    """A photo inside its package, found without importing the package: that takes seconds.

    Raises `EngineError` when the package isn't installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        path = Path(next(iter(spec.submodule_search_locations))) / file
        if path.is_file():
            with Image.open(path) as image:
                image.load()
            return image
    raise EngineError("the sample photos need scikit-image and scikit-learn: pip install 'sa-dataengine[demo]'")


def _font_file() -> Path:
    """DejaVu Sans Bold from matplotlib, which is a dependency anyway."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
