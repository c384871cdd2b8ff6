"""Checkpoints are checked before they are trusted; the predictor answers in the image's own pixels."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dataengine.errors import EngineError
from dataengine.model import Predictor, Sam, build_sam, known_checkpoints, load_model, save_checkpoint
from dataengine.model.checkpoints import sha256_of
from schemas import CheckpointCard


@pytest.fixture(scope="module")
def nano() -> tuple[Sam, CheckpointCard]:
    return load_model("nano")


def test_the_bundled_model_loads_and_its_card_is_true(nano: tuple[Sam, CheckpointCard]) -> None:
    sam, card = nano
    status = next(status for status in known_checkpoints() if status.checkpoint.name == "nano")
    assert status.here and status.path is not None
    assert status.checkpoint.bytes == status.path.stat().st_size
    assert card.sha256 == sha256_of(status.path)
    assert card.parameters == sum(p.numel() for p in sam.parameters())
    assert (card.image_size, card.embedding_size, card.architecture) == (512, 32, "nano")
    assert not sam.training and next(sam.parameters()).dtype == torch.float32
    assert "non-commercial" in card.licence


def test_the_registry_says_what_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATAENGINE_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert {s.checkpoint.name: s.here for s in known_checkpoints()} == {
        "nano": True, "mobile_sam": False, "sam_vit_b": False, "sam_vit_l": False, "sam_vit_h": False
    }  # fmt: skip
    with pytest.raises(EngineError, match=r"run `dataengine models pull sam_vit_b`, or put sam_vit_b_01ec64.pth"):
        load_model("sam_vit_b")
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"not the real one")
    monkeypatch.setenv("DATAENGINE_MODELS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path)]))
    assert any(status.here for status in known_checkpoints() if status.checkpoint.name == "sam_vit_b")
    with pytest.raises(EngineError, match="sha256"):
        load_model("sam_vit_b")


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="neither a file nor a known checkpoint"):
        load_model("vit_q")
    with pytest.raises(EngineError, match="neither a file"):
        load_model(tmp_path / "gone.safetensors")


def test_saving_and_loading_again(nano: tuple[Sam, CheckpointCard], tmp_path: Path) -> None:
    sam, card = nano
    path = tmp_path / "mine.safetensors"
    written = save_checkpoint(sam, card.model_copy(update={"name": "mine", "sha256": ""}), path)
    again, loaded = load_model(path)
    assert loaded == written and loaded.name == "mine" and loaded.sha256 == card.sha256
    assert all(torch.equal(a, b) for a, b in zip(sam.state_dict().values(), again.state_dict().values(), strict=True))
    assert not list(tmp_path.glob("*.part"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(EngineError, match="damaged or was replaced"):
        load_model(path)


def test_a_pth_without_a_card_is_recognised_by_its_shapes(nano: tuple[Sam, CheckpointCard], tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    torch.save(nano[0].state_dict(), path)
    _, card = load_model(path)
    assert (card.architecture, card.licence, card.pred_iou_thresh) == ("nano", "unknown", 0.88)
    assert card.sha256 == sha256_of(path)


def test_a_mobile_sam_file_is_recognised_by_its_keys(tmp_path: Path) -> None:
    torch.save(build_sam("tiny_vit").state_dict(), tmp_path / "mobile.pt")
    sam, card = load_model(tmp_path / "mobile.pt")
    assert (card.architecture, card.image_size, card.embedding_size) == ("tiny_vit", 1024, 64)
    assert sam.encode_images([np.zeros((30, 40, 3), np.uint8)]).shape == (1, 256, 64, 64)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape", "alien"])
def test_wrong_keys_are_one_line(nano: tuple[Sam, CheckpointCard], tmp_path: Path, change: str) -> None:
    state = dict(nano[0].state_dict())
    if change == "missing":
        del state["mask_decoder.iou_token.weight"]
    elif change == "unexpected":
        state["mask_decoder.extra"] = torch.zeros(1)
    elif change == "shape":
        state["mask_decoder.iou_token.weight"] = torch.zeros(1, 128)
    else:
        state = {"model.weight": torch.zeros(1)}
    path = tmp_path / "wrong.pth"
    torch.save(state, path)
    with pytest.raises(EngineError, match="fit") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps({"weight": Bomb()}))
    with pytest.raises(EngineError) as caught:
        load_model(path)
    torch.save({"weight": Bomb()}, path)
    with pytest.raises(EngineError):
        load_model(path)
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(caught.value)


def test_a_broken_card_or_file_is_named(nano: tuple[Sam, CheckpointCard], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"rubbish")
    with pytest.raises(EngineError, match=r"x\.safetensors can't be read"):
        load_model(tmp_path / "x.safetensors")
    (tmp_path / "x.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(EngineError, match=r"x\.json is not a checkpoint card"):
        load_model(tmp_path / "x.safetensors")


def test_a_click_on_the_cup_selects_the_cup(nano: tuple[Sam, CheckpointCard], coffee: np.ndarray) -> None:
    predictor = Predictor(nano[0]).set_image(coffee)
    prediction = predictor.predict(points=[[295, 100]])
    assert prediction.masks.shape == (3, 400, 600) and prediction.masks.dtype == bool
    assert prediction.low_res_logits.shape == (3, 128, 128)
    cup = prediction.masks[prediction.best]
    assert cup[100, 295] and 5_000 < cup.sum() < 120_000
    assert not cup[380:, :60].any()  # the table's corner is not the cup
    again = predictor.predict(points=[[295, 100]], labels=[1], mask=prediction.low_res_logits[0], multimask=False)
    assert again.masks.shape == (1, 400, 600)
    boxed = predictor.predict(box=[200, 20, 410, 220], multimask=False)
    assert boxed.masks[0, 40:200, 230:390].mean() > boxed.masks[0, 300:, :].mean()


def test_bad_prompts(nano: tuple[Sam, CheckpointCard], coffee: np.ndarray) -> None:
    predictor = Predictor(nano[0])
    with pytest.raises(ValueError, match="set_image"):
        predictor.predict(points=[[1, 1]])
    with pytest.raises(ValueError, match="uint8"):
        predictor.set_image(coffee[..., 0])
    predictor.set_image(coffee)
    with pytest.raises(ValueError, match="needs points"):
        predictor.predict()
    with pytest.raises(ValueError, match="2 points but 1 labels"):
        predictor.predict(points=[[1, 1], [2, 2]], labels=[1])


def test_importing_the_package_is_instant_and_the_model_needs_no_ray() -> None:
    code = (
        "import sys, dataengine; assert 'torch' not in sys.modules; "
        "dataengine.Sam, dataengine.MaskGenerator; import dataengine.model, dataengine.masks; "
        "assert 'torch' in sys.modules and 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_random_weights_are_in_eval_mode() -> None:
    assert not build_sam("nano").training
