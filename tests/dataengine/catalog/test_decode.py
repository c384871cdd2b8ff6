"""Every kind of file that people have, decoded to upright RGB or rejected with a reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from dataengine.catalog import decode
from dataengine.errors import RejectedImageError


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, name, **options)
    return sink.getvalue()


@pytest.fixture(scope="module")
def photo(coffee_png: Path) -> Image.Image:
    with Image.open(coffee_png) as image:
        return image.convert("RGB").resize((120, 80))


def reason(data: bytes, limit: float = 10) -> str:
    with pytest.raises(RejectedImageError) as caught:
        decode(data, limit)
    return str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo: Image.Image, orientation: int) -> None:
    upright = np.asarray(photo)
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo))
    decoded = decode(encoded(stored, "PNG", exif=exif), 10)
    assert decoded.format == "PNG"
    np.testing.assert_array_equal(decoded.pixels, upright)


def test_damaged_exif_does_not_lose_the_photo(photo: Image.Image) -> None:
    data = encoded(photo, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode(data, 10).pixels.shape == (80, 120, 3)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_of_about_the_same_colours(photo: Image.Image, mode: str) -> None:
    name = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    pixels = decode(encoded(photo.convert(mode), name), 10).pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (80, 120, 3)
    expected = np.asarray(photo.convert("L" if mode in ("L", "1", "LA") else "RGB").convert("RGB"), dtype=float)
    assert abs(pixels.mean() - expected.mean()) < 6


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((1, 1), (200, 0, 0, 255))
    pixels = decode(encoded(image, "PNG"), 10).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[1, 1].tolist() == [200, 0, 0]


def test_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((2, 2), 1)
    pixels = decode(encoded(image, "PNG", transparency=0), 10).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[2, 2].tolist() == [200, 100, 50]


def test_adobe_cmyk_is_not_a_negative(photo: Image.Image) -> None:
    # Pillow writes CMYK JPEGs with Adobe's marker and inverted values, as Photoshop does.
    data = encoded(photo.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    pixels = decode(data, 10).pixels.astype(float)
    assert np.abs(pixels - np.asarray(photo, dtype=float)).mean() < 12


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_not_clipped(name: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = decode(encoded(Image.fromarray(values), name), 10).pixels
    np.testing.assert_array_equal(pixels[..., 0], ((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    assert pixels[0, 0, 0] == 0 and pixels[-1, -1, 0] == 255


def test_sixteen_bit_colour_png_is_scaled() -> None:
    row = np.linspace(0, 65535, 32).astype(np.uint16)
    values = np.stack([row, row[::-1], row], axis=1)  # one line, (32, 3)
    chunk = lambda kind, body: (  # noqa: E731
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(b"\0" + values.astype(">u2").tobytes())) + chunk(b"IEND", b"")
    pixels = decode(data, 10).pixels[0].astype(int)
    assert np.abs(pixels - values.astype(int) / 257).max() <= 1


def test_float_tiff_in_0_to_1_is_scaled_and_others_are_rejected() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(ramp), "TIFF"), 10).pixels[..., 0].ravel(), range(256))
    assert "scale is unknown" in reason(encoded(Image.fromarray(ramp * 900), "TIFF"))
    ramp[3, 3] = np.nan
    assert "scale is unknown" in reason(encoded(Image.fromarray(ramp), "TIFF"))


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_many_pages_are_rejected(photo: Image.Image, name: str) -> None:
    frames = [photo.rotate(angle) for angle in (0, 90)]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    assert "2 frames" in reason(data)


def test_a_phones_mpo_gives_its_first_frame(photo: Image.Image) -> None:
    other = Image.new("RGB", photo.size, (0, 255, 0))
    decoded = decode(encoded(photo, "MPO", save_all=True, append_images=[other]), 10)
    assert decoded.format == "MPO"
    assert np.abs(decoded.pixels.astype(int) - np.asarray(photo)).mean() < 8


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_half_a_file_is_rejected_also_when_pillow_was_told_to_load_it(
    photo: Image.Image, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(photo, name)
    assert reason(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True, "a decode leaves the process as it was"


def test_junk_is_rejected_with_a_reason() -> None:
    assert reason(b"") == "empty file"
    assert "unreadable" in reason(b"hello, I am a jpg")
    assert reason(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)


def test_damaged_bytes_never_raise_anything_else(photo: Image.Image) -> None:
    generator = np.random.default_rng(0)
    for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        whole = np.frombuffer(encoded(photo, name), dtype=np.uint8)
        for _ in range(40):
            data = whole.copy()
            where = generator.integers(0, min(len(data), 400), 8)
            data[where] = generator.integers(0, 256, 8)
            try:
                assert decode(data.tobytes(), 5).pixels.ndim == 3
            except RejectedImageError as error:
                assert str(error) and "\n" not in str(error)


def test_the_limit_is_checked_before_pixels_are_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    assert reason(data, 300).startswith("too large: 3600 megapixels")


def test_the_limit_is_the_configs_and_not_pillows(photo: Image.Image) -> None:
    image = Image.new("L", (15_000, 12_500))  # 187.5 megapixels: Pillow alone calls this a bomb
    assert decode(encoded(image, "PNG"), 200).pixels.shape == (12_500, 15_000, 3)
    assert "too large" in reason(encoded(photo, "PNG"), 0.009)


def test_threads_decode_side_by_side_and_leave_pillow_as_it_was() -> None:
    from concurrent.futures import ThreadPoolExecutor

    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    whole, half = buffer.getvalue(), buffer.getvalue()[: buffer.tell() // 2]

    def read(number: int) -> bool:
        try:
            return decode(half if number % 2 else whole, 300).pixels.shape == (300, 400, 3)
        except RejectedImageError:
            return False

    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, range(200))) == [number % 2 == 0 for number in range(200)]
        assert (True, before[1]) == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before[0]
