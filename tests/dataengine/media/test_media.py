"""The cache behind the annotator's page: what is in it, for whom, and that it never shows a face."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.measure import extra_memory
from dataengine.errors import EngineError
from dataengine.home.storage import Storage
from dataengine.media import DecoderSession, MediaCache, display_key, display_levels
from dataengine.media.encoder import embed, embedding_bytes, encoder_id
from dataengine.media.prepare import ensure_decoder, prepare_image
from dataengine.model.checkpoints import load_model
from dataengine.model.predictor import Predictor
from dataengine.model.sam import Sam
from dataengine.privacy import blurred_share
from dataengine.shards.release_image import release_pixels, release_size
from schemas import Box
from schemas.annotations import Redaction, TaskImage
from schemas.config import PrivacyConfig

FACE = Box(x0=140, y0=47, x1=211, y1=133, score=1.0, detector="person")


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_model("nano")[0]


FACE_REDACTION = Redaction(id="1", kind="face", box=(FACE.x0, FACE.y0, FACE.x1, FACE.y1))


def image_of(path: Path, short_side: int = 1500, redactions: list[Redaction] | None = None) -> TaskImage:
    data = path.read_bytes()
    with Image.open(path) as image:
        width, height = image.size
    frame = release_size(height, width, short_side)
    return TaskImage(
        id=1,
        name=path.name,
        width=frame[1],
        height=frame[0],
        original_width=width,
        original_height=height,
        source=str(path.parent),
        path=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        redactions=redactions or [],
    )


def test_pyramid_halves_until_it_is_small() -> None:
    assert display_levels(2250, 1500) == [(2250, 1500), (1125, 750), (563, 375)]
    assert display_levels(1024, 300) == [(1024, 300)]
    assert display_levels(400, 300) == [(400, 300)]


def test_names_that_are_no_hashes_lead_nowhere(tmp_path: Path) -> None:
    cache = MediaCache(Storage(str(tmp_path / "home")))
    (tmp_path / "secret").write_bytes(b"secret")
    assert cache.embedding("../../../../secret", "a" * 16) is None
    assert cache.embedding("a" * 64, "../../..") is None
    assert cache.display("../../secret", 1) is None
    assert cache.decoder("../secret") is None
    with pytest.raises(EngineError):
        cache.remove_embeddings("..")


def test_everything_is_prepared_and_the_face_is_hidden(tmp_path: Path, astronaut_png: Path, sam: Sam) -> None:
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010E] = "somebody's kitchen"
    Image.open(astronaut_png).convert("RGB").save(photo, quality=95, exif=exif)
    storage, encoder = Storage(str(tmp_path / "home")), encoder_id(sam)
    image = image_of(photo, 400, [FACE_REDACTION])

    done = prepare_image(storage, image, sam, encoder, PrivacyConfig(), 300)
    assert done.unusable is None
    cache = MediaCache(storage)
    data = cache.embedding(image.sha256, encoder)
    assert data is not None and len(data) == embedding_bytes(sam)
    jpeg = cache.display(image.sha256, 400)
    assert jpeg is not None and b"kitchen" not in jpeg
    with Image.open(io.BytesIO(jpeg)) as shown:
        assert shown.size == (400, 400) and not shown.getexif()
        pixels = np.asarray(shown)
    before = release_pixels(np.asarray(Image.open(photo)), (400, 400))
    assert blurred_share(before, pixels, [FACE]) == 1.0

    plain = PrivacyConfig(blur_for_annotators=False)
    before_key = cache.shown(image.sha256)
    seen = prepare_image(storage, image, sam, encoder, plain, 300)
    assert seen.unusable is None and cache.shown(image.sha256) != before_key
    assert len(Storage(str(tmp_path / "home")).list(f"cache/display/{image.sha256[:2]}/{image.sha256}")) == 2
    visible = cache.display(image.sha256, 400)
    assert visible is not None
    assert blurred_share(before, np.asarray(Image.open(io.BytesIO(visible))), [FACE]) == 0.0


def test_prepared_images_are_not_read_again(tmp_path: Path, coffee_png: Path, sam: Sam) -> None:
    photo = tmp_path / "coffee.png"
    photo.write_bytes(coffee_png.read_bytes())
    storage, encoder = Storage(str(tmp_path / "home")), encoder_id(sam)
    image = image_of(photo)
    first = prepare_image(storage, image, sam, encoder, PrivacyConfig(), 300)
    photo.unlink()
    assert prepare_image(storage, image, sam, encoder, PrivacyConfig(), 300) == first
    MediaCache(storage).remove_embeddings(encoder)
    gone = prepare_image(storage, image, sam, encoder, PrivacyConfig(), 300)
    assert gone.unusable


def test_a_changed_source_is_unusable(tmp_path: Path, coffee_png: Path, astronaut_png: Path, sam: Sam) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(coffee_png.read_bytes())
    image = image_of(photo)
    photo.write_bytes(astronaut_png.read_bytes())
    done = prepare_image(Storage(str(tmp_path / "home")), image, sam, encoder_id(sam), PrivacyConfig(), 300)
    assert done.unusable is not None and "ingested" in done.unusable


def test_encoder_id_names_the_encoder_and_nothing_else(sam: Sam) -> None:
    before = encoder_id(sam)
    other = load_model("nano")[0]
    next(iter(other.mask_decoder.parameters())).data += 1
    assert encoder_id(other) == before
    next(iter(other.image_encoder.parameters())).data += 1
    assert encoder_id(other) != before


def test_decoding_from_the_cache_equals_the_model(tmp_path: Path, coffee_png: Path, sam: Sam) -> None:
    pixels = np.asarray(Image.open(coffee_png).convert("RGB"))
    frame = pixels.shape[0], pixels.shape[1]
    storage = Storage(str(tmp_path))
    model_id = ensure_decoder(storage, "nano")
    onnx = MediaCache(storage).decoder(model_id)
    assert onnx is not None
    session = DecoderSession(onnx)
    embedding = embed(sam, pixels, frame)
    predictor = Predictor(sam).set_image(pixels)
    prompts = [
        ({"points": [[300, 200, 1]]}, {"points": [[300, 200]], "labels": [1]}),
        ({"box": [100, 80, 400, 300]}, {"box": [100, 80, 400, 300]}),
        ({"points": [[300, 200, 1], [20, 20, 0]]}, {"points": [[300, 200], [20, 20]], "labels": [1, 0]}),
    ]
    for ours, theirs in prompts:
        logits, predicted = session.decode(embedding, frame, **ours)  # type: ignore[arg-type]
        expected = predictor.predict(**theirs)  # type: ignore[arg-type]
        assert np.abs(predicted[1:] - expected.predicted_iou).max() < 0.02
        for index in range(3):
            mask = session.upsample(logits[index + 1], frame) > 0
            both = (mask & expected.masks[index]).sum() / max(1, (mask | expected.masks[index]).sum())
            assert both > 0.98
    refined, _ = session.decode(embedding, frame, [[300, 200, 1]], mask_input=logits[1])
    assert np.abs(refined - logits).max() > 0.1, "the previous mask has no say"
    with pytest.raises(ValueError, match="not this model's"):
        session.decode(embedding[:-2], frame, [[300, 200, 1]])


@pytest.mark.slow
def test_6000_by_8000_pixels_in_bounded_memory(tmp_path: Path, coffee_png: Path, sam: Sam) -> None:
    photo = tmp_path / "huge.jpg"
    tile = cv2.imread(str(coffee_png))
    cv2.imwrite(str(photo), cv2.resize(tile, (8000, 6000), interpolation=cv2.INTER_LINEAR))
    image = image_of(photo, redactions=[FACE_REDACTION])
    storage = Storage(str(tmp_path / "home"))
    done, extra = extra_memory(lambda: prepare_image(storage, image, sam, encoder_id(sam), PrivacyConfig(), 300))
    assert done.unusable is None
    assert MediaCache(storage).display(image.sha256, 2000) is not None
    # The decoded picture is 144 MB; Pillow's own copy of it, and the one that is scaled, are as large.
    assert extra < 600 << 20, f"{extra >> 20} MB"


def test_display_key_follows_its_boxes() -> None:
    plain = display_key((300, 400), [])
    assert plain != display_key((300, 400), [FACE])
    assert plain != display_key((400, 300), [])
    assert display_key((300, 400), [FACE]) == display_key((300, 400), [FACE])
