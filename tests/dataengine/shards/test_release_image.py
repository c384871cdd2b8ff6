import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dataengine.shards.jpeg_check import check_jpeg
from dataengine.shards.release_image import decode_jpeg, encode_jpeg, release_pixels, release_size

SIDE = st.integers(1, 20_000)


@given(SIDE, SIDE, st.integers(1, 3000))
def test_size_is_bounded_never_upscaled_and_keeps_the_aspect(height: int, width: int, short_side: int) -> None:
    h, w = release_size(height, width, short_side)
    assert h <= height and w <= width
    assert min(h, w) == min(height, width, short_side)
    assert (w, h) == release_size(width, height, short_side)
    # The long side is the nearest whole number.
    factor = min(h, w) / min(height, width)
    assert abs(max(h, w) - max(height, width) * factor) <= 0.5 + 1e-6


def test_known_sizes() -> None:
    assert release_size(6000, 8000, 1500) == (1500, 2000)
    assert release_size(4950, 3300, 1500) == (2250, 1500)
    assert release_size(1329, 2000, 1500) == (1329, 2000)
    assert release_size(3, 5, 2) == (2, 3)  # 3.33
    assert release_size(4, 7, 2) == (2, 4)  # 3.5 rounds up
    with pytest.raises(ValueError, match="at least 1"):
        release_size(0, 5, 2)


def test_pixels_of_the_right_size_are_not_copied() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert release_pixels(pixels, (4, 6)) is pixels


def test_downscale_does_not_alias() -> None:
    """A one-pixel chessboard must become flat grey; a filter without support turns it into patterns."""
    board = np.indices((1200, 1800)).sum(axis=0) % 2 * 255
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    small = release_pixels(pixels, release_size(1200, 1800, 500))
    assert small.shape == (500, 750, 3)
    assert small[10:-10, 10:-10].std() < 3
    assert abs(float(small.mean()) - 127.5) < 2


def test_downscale_does_not_shift() -> None:
    """A square's centre stays where masks, scaled by the same factors, say it is."""
    pixels = np.zeros((600, 900, 3), np.uint8)
    pixels[120:240, 300:540] = 255
    small = release_pixels(pixels, (200, 300))[..., 0].astype(float)
    ys, xs = np.indices(small.shape)
    centre = (small * (xs + 0.5)).sum() / small.sum(), (small * (ys + 0.5)).sum() / small.sum()
    assert centre == pytest.approx((420 / 3, 180 / 3), abs=0.02)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_wrong_pixels_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_jpeg(bad, 95)
    with pytest.raises(ValueError, match="uint8"):
        release_pixels(bad, (2, 2))


def test_jpeg_is_a_picture_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (12, 16, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    data = encode_jpeg(pixels, 95)
    assert data == encode_jpeg(pixels.copy(), 95)
    assert check_jpeg(data) == ((96, 128), [])
    image = Image.open(io.BytesIO(data))
    assert not image.getexif() and "icc_profile" not in image.info and "comment" not in image.info
    assert np.abs(decode_jpeg(data).astype(int) - pixels).mean() < 2


def test_metadata_of_every_kind_is_named() -> None:
    image = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0110] = "camera"

    def saved(**options: object) -> list[str]:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", **options)
        return check_jpeg(buffer.getvalue())[1]

    assert saved() == []
    assert saved(progressive=True) == []
    assert saved(exif=exif) == ["JPEG holds EXIF"]
    assert saved(comment=b"hello") == ["JPEG holds a comment"]
    assert saved(icc_profile=b"\0" * 200) == ["JPEG holds an ICC profile"]
    assert saved(xmp=b"<x:xmpmeta/>") == ["JPEG holds XMP"]


def test_damaged_jpegs_are_named_even_when_pillow_forgives(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    rng = np.random.default_rng(0)
    data = encode_jpeg(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8), 95)
    # face_recognition sets this for its whole process.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for cut in (1, 2, 10, len(data) // 2, len(data) - 30):
        assert check_jpeg(data[:-cut])[1], cut
    assert check_jpeg(data + b"tail")[1] == ["JPEG has 4 bytes after its end"]
    assert check_jpeg(b"")[0] is None
    assert check_jpeg(b"\x89PNG\r\n\x1a\n" + bytes(50))[1]
