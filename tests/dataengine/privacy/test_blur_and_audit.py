"""What is hidden stays hidden: on a real face and on real letters, against the obvious attacks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dataengine.privacy import blurred_share, detail_left, grow, hidden_boxes, hide
from dataengine.privacy.audit import likeness
from schemas import Box, ImageRecord

FACE = Box(x0=177, y0=77, x1=268, y1=168, score=1, detector="test")


@pytest.fixture(scope="module")
def astronaut(astronaut_png: Path) -> np.ndarray:
    with Image.open(astronaut_png) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def plate() -> tuple[np.ndarray, Box]:
    from workflows.sample_photos import _plate

    picture = np.full((300, 600, 3), 90, dtype=np.uint8)
    picture[100:180, 150:390] = np.asarray(_plate(240, 80, "SAM-1023"))
    return picture, Box(x0=150, y0=100, x1=390, y1=180, score=1, detector="test")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def region(picture: np.ndarray, box: Box) -> np.ndarray:
    return picture[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)]


def unsharp(picture: np.ndarray) -> np.ndarray:
    values = picture.astype(np.float32)
    for _ in range(3):
        values = values + 4 * (values - cv2.GaussianBlur(values, (0, 0), 6))
    return values.clip(0, 255)


def wiener(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Deconvolution with the Gaussian that an attacker would guess; grey."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    ys = np.fft.fftfreq(grey.shape[0])[:, None]
    xs = np.fft.fftfreq(grey.shape[1])[None, :]
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (ys**2 + xs**2))
    return np.real(np.fft.ifft2(np.fft.fft2(grey) * kernel / (kernel**2 + 1e-3)))


def test_no_original_pixel_is_left_in_the_grown_box_and_none_is_touched_far_away(astronaut: np.ndarray) -> None:
    noise = np.random.default_rng(1).integers(0, 256, astronaut.shape, dtype=np.uint8)
    before = noise.copy()
    out = hide(noise, [FACE], (512, 512))
    np.testing.assert_array_equal(noise, before)
    (grown,) = grow([FACE], 512, 512)
    inside = region(out, grown).astype(int)
    # In noise, a pixel that was left alone would jump from its neighbours.
    assert max(np.abs(np.diff(inside, axis=0)).max(), np.abs(np.diff(inside, axis=1)).max()) <= 8
    changed = np.argwhere((out != before).any(axis=2))
    assert changed.min(axis=0).tolist() >= [int(grown.y0) - 20, 0] and (changed.max(axis=0) <= [200, 310]).all()
    np.testing.assert_array_equal(out[300:], before[300:])


def test_the_face_is_gone_and_no_detector_finds_it(astronaut: np.ndarray) -> None:
    from dataengine.detection import default_detectors

    out = hide(astronaut, [FACE], (512, 512))
    assert detail_left(astronaut, out, FACE) == 0.0
    assert blurred_share(astronaut, out, [FACE]) == 1.0
    assert blurred_share(astronaut, astronaut, [FACE]) == 0.0
    centre = ((FACE.x0 + FACE.x1) / 2, (FACE.y0 + FACE.y1) / 2)
    for detector in default_detectors("default", "off"):
        assert any(covers(box, centre) for box in detector.detect(astronaut)), detector.model_id
        assert not any(covers(box, centre) for box in detector.detect(out)), detector.model_id


def covers(box: Box, point: tuple[float, float]) -> bool:
    return box.x0 < point[0] < box.x1 and box.y0 < point[1] < box.y1


def test_letters_are_unreadable_also_after_sharpening(plate: tuple[np.ndarray, Box]) -> None:
    picture, box = plate
    out = hide(picture, [box], picture.shape[:2])
    letters = Box(x0=165, y0=112, x1=375, y1=168, score=1, detector="test")
    original = cv2.cvtColor(region(picture, letters), cv2.COLOR_RGB2GRAY)
    attacks = {
        "as it is": region(out, letters).mean(axis=2),
        "unsharp": region(unsharp(out), letters).mean(axis=2),
        **{f"wiener {sigma}": wiener(out, sigma)[112:168, 165:375] for sigma in (4, 8, 16)},
    }
    for name, attacked in attacks.items():
        assert abs(correlation(original, attacked)) < 0.3, name


def test_the_attack_would_restore_a_plain_gaussian(plate: tuple[np.ndarray, Box]) -> None:
    """The control: the test above can fail."""
    picture, box = plate
    x0, y0, x1, y1 = 140, 90, 400, 190
    blurred = picture.copy()
    blurred[y0:y1, x0:x1] = cv2.GaussianBlur(picture, (0, 0), 4)[y0:y1, x0:x1]
    restored = wiener(blurred, 4)[112:168, 165:375]
    assert correlation(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[112:168, 165:375], restored) > 0.5
    assert box.x0 == 150


def test_two_plates_of_equal_cells_become_the_same(plate: tuple[np.ndarray, Box]) -> None:
    """Not invertible: different letters, the same release up to one grey level a cell."""
    picture, box = plate
    other = picture.copy()
    shuffled = region(other, box).reshape(20, 4, -1, 3)[:, ::-1].reshape(80, 240, 3)
    other[100:180, 150:390] = shuffled
    assert np.abs(region(picture, box).astype(int) - region(other, box)).max() > 100
    a, b = (hide(p, [box], p.shape[:2]).astype(int) for p in (picture, other))
    assert np.abs(region(a, box) - region(b, box)).max() <= 16


def test_boxes_are_scaled_into_the_release_frame(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, (256, 128), interpolation=cv2.INTER_AREA)
    out = hide(small, [FACE], (512, 512))
    assert detail_left(small, out, FACE, (512, 512)) == 0.0
    np.testing.assert_array_equal(out[:, 180:], small[:, 180:])
    assert not np.array_equal(out[20:42, 90:134], small[20:42, 90:134])


@pytest.mark.parametrize("side", [1, 2, 3, 5, 9, 17, 40])
def test_small_boxes_lose_everything(side: int) -> None:
    noise = np.random.default_rng(side).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    box = Box(x0=30, y0=30, x1=30 + side, y1=30 + side, score=1, detector="test")
    out = hide(noise, [box], (80, 80))
    inside = region(out, box).astype(float)
    assert inside.std(axis=(0, 1)).max() < 12
    assert not np.array_equal(inside, region(noise, box))


def test_boxes_on_edges_outside_and_overlapping(astronaut: np.ndarray) -> None:
    def box(x0: float, y0: float, x1: float, y1: float) -> Box:
        return Box(x0=x0, y0=y0, x1=x1, y1=y1, score=1, detector="test")

    edges = [box(-20, -20, 60, 60), box(470, 480, 600, 600), box(0, 0, 512, 512)]
    for one in edges:
        assert detail_left(astronaut, hide(astronaut, [one], (512, 512)), one) == 0.0
    np.testing.assert_array_equal(hide(astronaut, [box(600, 600, 700, 700)], (512, 512)), astronaut)
    pair = [box(150, 60, 230, 170), box(200, 60, 290, 170)]
    for order in (pair, pair[::-1]):
        out = hide(astronaut, order, (512, 512))
        assert blurred_share(astronaut, out, pair) == 1.0, "the rim of one must not bring back the other"


def test_hiding_is_deterministic_and_needs_no_box(astronaut: np.ndarray) -> None:
    np.testing.assert_array_equal(hide(astronaut, [FACE], (512, 512)), hide(astronaut, [FACE], (512, 512)))
    np.testing.assert_array_equal(hide(astronaut, [], (512, 512)), astronaut)


def test_the_audit_tells_hidden_from_shown(astronaut: np.ndarray) -> None:
    shown, faint = astronaut.copy(), cv2.GaussianBlur(astronaut, (0, 0), 1.0)
    assert detail_left(astronaut, shown, FACE) == pytest.approx(1.0)
    assert likeness(astronaut, faint, FACE) > 0.5
    boxes = [FACE, Box(x0=320, y0=100, x1=420, y1=240, score=1, detector="test")]
    half = hide(astronaut, boxes[:1], (512, 512))
    assert blurred_share(astronaut, half, boxes) == 0.5
    assert blurred_share(astronaut, half, []) == 1.0


def test_the_audit_survives_jpeg(astronaut: np.ndarray) -> None:
    out = hide(astronaut, [FACE], (512, 512))
    _, data = cv2.imencode(".jpg", out[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    released = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    assert blurred_share(astronaut, released, [FACE]) == 1.0


def test_the_policy_hides_every_box_and_grows_it() -> None:
    tiny = Box(x0=10, y0=10, x1=14, y1=14, score=0.1, detector="test")
    record = ImageRecord(image_id=1, source="s", path="p", status="ok", faces=[FACE], plates=[tiny])
    assert hidden_boxes(record) == [FACE, tiny] and hidden_boxes(record, "off") == []
    (grown,) = grow([tiny], 100, 100)
    assert (grown.x0, grown.x1) == (8, 16)
    (edge,) = grow([Box(x0=0, y0=50, x1=100, y1=90, score=1, detector="t")], 100, 100)
    assert (edge.x0, edge.x1, edge.y0, edge.y1) == (0, 100, 44, 96)
