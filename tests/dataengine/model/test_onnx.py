"""The browser's decoder answers like torch's, in onnxruntime, for every kind of prompt."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from dataengine.errors import EngineError
from dataengine.model import Sam, build_sam, load_model
from dataengine.model.onnx import INPUTS, OUTPUTS, _rounded, export_decoder
from tests.conftest import package_file

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

PROMPTS = {
    "one point": ([[140.0, 200.0]], [1]),
    "points": ([[140.0, 200.0], [30.5, 40.25], [300.0, 111.0]], [1, 0, 1]),
    "box": ([[100.0, 20.0], [320.0, 300.0]], [2, 3]),
    "point and box": ([[140.0, 200.0], [100.0, 20.0], [320.0, 300.0]], [1, 2, 3]),
}


@pytest.fixture(scope="module")
def nano() -> Sam:
    return load_model("nano")[0]


@pytest.fixture(scope="module")
def embedding(nano: Sam) -> torch.Tensor:
    photo = np.asarray(Image.open(package_file("skimage", "data", "astronaut.png")).convert("RGB"))
    with torch.inference_mode():
        return nano.encode_images([photo])


def session(sam: Sam, path: Path, quantised: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    export_decoder(sam, path, quantised=quantised)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def from_onnx(
    model: onnxruntime.InferenceSession, embedding: torch.Tensor, kind: str, mask: torch.Tensor | None
) -> list[np.ndarray]:
    points, labels = PROMPTS[kind]
    if 3 not in labels:  # the padding point that a prompt without a box needs
        points, labels = [*points, [0.0, 0.0]], [*labels, -1]
    side = 4 * embedding.shape[-1]
    given = np.zeros((1, 1, side, side), np.float32) if mask is None else mask.numpy()
    feed = [
        embedding.numpy(),
        np.array([points], np.float32),
        np.array([labels], np.float32),
        given,
        np.array([mask is not None], np.float32),
    ]
    return model.run(list(OUTPUTS), dict(zip(INPUTS, feed, strict=True)))


@torch.inference_mode()
def from_torch(
    sam: Sam, embedding: torch.Tensor, kind: str, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Through the library's own interface, where boxes are boxes."""
    points, labels = PROMPTS[kind]
    corners = [point for point, label in zip(points, labels, strict=True) if label > 1]
    clicks = [point for point, label in zip(points, labels, strict=True) if label < 2]
    kinds = [label for label in labels if label < 2]
    sparse, dense = sam.prompt_encoder(
        torch.tensor([clicks]) if clicks else None,
        torch.tensor([kinds]) if clicks else None,
        torch.tensor([corners]).reshape(1, 4) if corners else None,
        mask,
    )
    positions = sam.prompt_encoder.dense_positions()
    decoded = sam.mask_decoder.decode_tokens(sam.mask_decoder.image_side(embedding, positions, dense), sparse)
    return sam.mask_decoder.mask_logits(decoded), decoded.predicted_iou


def test_float_equals_torch(nano: Sam, embedding: torch.Tensor, tmp_path: Path) -> None:
    model = session(nano, tmp_path / "decoder.onnx", quantised=False)
    earlier = None
    for kind in PROMPTS:
        for mask in (None, earlier) if earlier is not None else (None,):
            logits, iou = from_onnx(model, embedding, kind, mask)
            expected, expected_iou = from_torch(nano, embedding, kind, mask)
            assert logits.shape == (1, 4, 128, 128) and iou.shape == (1, 4)
            np.testing.assert_allclose(logits, expected, atol=1e-4)
            np.testing.assert_allclose(iou, expected_iou, atol=1e-5)
            earlier = expected[:, 1:2].clone()
    with_mask = from_onnx(model, embedding, "one point", earlier)[0]
    assert np.abs(with_mask - from_onnx(model, embedding, "one point", None)[0]).max() > 0.1


def test_uint8_is_small_and_draws_the_same_masks(nano: Sam, embedding: torch.Tensor, tmp_path: Path) -> None:
    model = session(nano, tmp_path / "decoder.onnx", quantised=True)
    assert (tmp_path / "decoder.onnx").stat().st_size < 6_000_000
    for kind in PROMPTS:
        logits, iou = from_onnx(model, embedding, kind, None)
        expected, expected_iou = from_torch(nano, embedding, kind, None)
        overlap = (logits > 0) & (expected.numpy() > 0)
        union = (logits > 0) | (expected.numpy() > 0)
        worst = (overlap.sum(axis=(2, 3)) / union.sum(axis=(2, 3))).min()
        assert worst > 0.96, f"{kind}: a mask has IoU {worst:.3f} with the exact one"
        np.testing.assert_allclose(iou, expected_iou, atol=0.01)


def test_rounding_takes_at_most_half_a_step() -> None:
    """Of each column's own range, which holds 0; also of columns of one sign only, and of one that is 0 throughout."""
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(40, 30)) * rng.uniform(0.01, 5, 30)).astype(np.float32)
    values[:, 0], values[:, 1], values[:, 2] = 0, np.abs(values[:, 1]) + 1, -np.abs(values[:, 2]) - 1
    rounded = _rounded(values)
    assert rounded["uint8"].dtype == rounded["zero"].dtype == np.uint8
    again = (rounded["uint8"].astype(np.float32) - rounded["zero"].astype(np.float32)) * rounded["scale"]
    assert (np.abs(again - values) <= 0.501 * rounded["scale"] + 1e-30).all()


def test_the_official_decoders_size(tmp_path: Path) -> None:
    """A 64 x 64 embedding; exporting needs no encoder, so TinyViT stands for all of them."""
    sam = build_sam("tiny_vit")
    model = session(sam, tmp_path / "decoder.onnx", quantised=False)
    embedding = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    logits, iou = from_onnx(model, embedding, "points", None)
    expected, expected_iou = from_torch(sam, embedding, "points", None)
    assert logits.shape == (1, 4, 256, 256)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(iou, expected_iou, atol=1e-5)


def test_without_the_extra_it_is_one_line(nano: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match=r"pip install 'sa-dataengine\[onnx\]'"):
        export_decoder(nano, tmp_path / "decoder.onnx")
