"""Recipes say what the paper says; what a phase does to rates, layers and modes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataengine.errors import ConfigError
from dataengine.model import build_sam
from dataengine.model.checkpoints import load_model, save_checkpoint
from dataengine.model.image_encoder import Block
from dataengine.training.loop import input_size
from dataengine.training.optimizer import (
    build_optimizer,
    layer_scales,
    learning_rate,
    set_learning_rate,
    to_training_mode,
)
from dataengine.training.recipe import fresh_model, known_recipes, load_recipe
from schemas.records import CheckpointCard
from schemas.training import Phase


def test_recipes_hold_the_papers_numbers() -> None:
    assert known_recipes() == [
        "finetune_decoder", "nano", "nano_further", "paper_stage3", "paper_text", "paper_vit_b", "paper_vit_h"
    ]  # fmt: skip
    huge, base, stage3, text = (load_recipe(f"paper_{name}").phases[0] for name in ("vit_h", "vit_b", "stage3", "text"))
    assert (huge.steps, huge.images_per_step, huge.decay_at) == (90000, 256, [60000, 86666])
    assert (huge.learning_rate, huge.weight_decay, huge.warmup_steps, huge.betas) == (8e-4, 0.1, 250, (0.9, 0.999))
    assert (huge.layer_decay, huge.drop_path, huge.iterations, huge.jitter) == (0.8, 0.4, 11, None)
    assert (huge.masks_per_image, huge.max_mask_share) == (64, 0.9)
    assert (huge.loss.focal, huge.loss.dice, huge.loss.iou, huge.loss.supervise_all_iou) == (20, 1, 1, False)
    assert (base.steps, base.images_per_step, base.layer_decay, base.drop_path) == (180000, 128, 0.6, 0.6)
    assert (stage3.steps, stage3.jitter, stage3.first_prompt.point) == (177656, (0.1, 2.0), 1.0)
    assert 1 + stage3.corrections == 4 and load_recipe("paper_stage3").decoder_depth == 3
    assert text.text is not None and (text.steps, text.images_per_step, text.jitter) == (120000, 128, (0.1, 2.0))
    assert (text.text.clip, text.text.min_area, text.text.crop_scale, text.text.blank_background) == (
        "openai/clip-vit-large-patch14-336", 10000, (1, 2), 0.5
    )  # fmt: skip
    short = load_recipe("finetune_decoder").phases[0]
    assert (short.freeze, short.loss.iou, short.loss.supervise_all_iou) == ("encoder", 10, True)


def test_a_wrong_recipe_names_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: a\ndescription: b\nphases: [{steps: 0, lerning_rate: 1}]\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(path))
    assert "steps" in str(caught.value) and "lerning_rate" in str(caught.value)
    path.write_text("name: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_recipe(str(path))
    with pytest.raises(ConfigError, match="paper_vit_h"):
        load_recipe("paper_vit_x")
    with pytest.raises(ConfigError, match="no architecture"):
        fresh_model(load_recipe("finetune_decoder"))


def test_the_rate_warms_up_and_steps_down() -> None:
    phase = Phase(steps=100, learning_rate=1.0, warmup_steps=10, decay_at=[50, 80])
    rates = [learning_rate(phase, step) for step in (0, 4, 9, 49, 50, 79, 80)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1, 0.1, 0.1, 0.01])
    with pytest.raises(ValueError, match="beyond"):
        Phase(steps=100, decay_at=[100])


def test_one_step_of_adamw_by_hand() -> None:
    """After one step both moments are unbiased, so each number moves by its rate, against its gradient's sign."""
    sam = build_sam("nano")
    phase = Phase(steps=10, learning_rate=0.1, warmup_steps=2, weight_decay=0.5, layer_decay=0.5, decay_at=[])
    optimizer = build_optimizer(sam, phase)
    scales = layer_scales(sam.image_encoder, 0.5)
    named = dict(sam.named_parameters())
    before = {name: value.detach().clone() for name, value in named.items()}
    for value in named.values():
        value.grad = torch.full_like(value, -3.0)
    set_learning_rate(optimizer, learning_rate(phase, 0))  # the first of two steps of warm-up: 0.05
    optimizer.step()
    for name, decay, scale in (
        ("mask_decoder.iou_token.weight", 0.5, 1.0),
        ("mask_decoder.transformer.norm_final_attn.weight", 0.0, 1.0),
        ("image_encoder.lat.0.weight", 0.5, 1.0),
        ("image_encoder.net._blocks.15._project_conv.weight", 0.5, 0.5),
        ("image_encoder.net._conv_stem.weight", 0.5, scales["net._conv_stem.weight"]),
    ):
        rate = 0.05 * scale
        assert torch.allclose(named[name], before[name] * (1 - rate * decay) + rate, atol=1e-6), name
    assert scales["net._conv_stem.weight"] == 0.5**17


def test_layers_decay_from_the_neck_down() -> None:
    encoder = build_sam("vit_b").image_encoder
    scales = layer_scales(encoder, 0.5)
    assert scales["neck.0.weight"] == 1 and scales["blocks.11.mlp.lin1.weight"] == 0.5
    assert scales["blocks.0.norm1.bias"] == 0.5**12
    assert scales["pos_embed"] == scales["patch_embed.proj.bias"] == 0.5**13
    nano = layer_scales(build_sam("nano").image_encoder, 0.5)
    assert nano["lat.0.weight"] == 1 and nano["net._blocks.15._bn2.weight"] == 0.5
    assert nano["net._conv_stem.weight"] == 0.5**17


def test_only_what_learns_is_optimised_and_plain_parameters_do_not_decay() -> None:
    sam = build_sam("nano")
    for freeze, parts in (
        ("nothing", {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ("trunk", {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ("encoder", {"prompt_encoder", "mask_decoder"}),
    ):
        optimizer = build_optimizer(sam, Phase(steps=1, freeze=freeze))  # type: ignore[arg-type]
        held = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        learning = {name for name, p in sam.named_parameters() if p.requires_grad}
        assert {name.split(".")[0] for name in learning} == parts
        assert learning == {name for name, p in sam.named_parameters() if id(p) in held}
        assert any(name.startswith("image_encoder.net.") for name in learning) == (freeze == "nothing")
        for name, parameter in sam.named_parameters():
            if id(parameter) in held:
                assert held[id(parameter)]["weight_decay"] == (0.0 if parameter.ndim == 1 else 0.1), name
    with pytest.raises(ConfigError, match="trunk"):
        build_optimizer(build_sam("tiny_vit"), Phase(steps=1, freeze="trunk"))


def test_drop_path_leaves_out_branches_in_training_only() -> None:
    block = Block(width=16, heads=2, window=0, side=4)
    block.drop_path = 0.5
    x = torch.randn(400, 4, 4, 16)
    block.eval()
    with torch.no_grad():
        whole = block(x)
        block.train()
        torch.manual_seed(0)
        dropped = block(x)
    untouched = (dropped == x).flatten(1).all(1).float().mean().item()
    assert untouched == pytest.approx(0.25, abs=0.07)  # both branches gone
    assert (whole != x).flatten(1).any(1).all()
    # Where only the second branch is kept it counts double, so that its mean is what it is in evaluation.
    with torch.no_grad():
        second = block.mlp(block.norm2(x))
    alone = torch.isclose(dropped, x + 2 * second, atol=1e-5).flatten(1).all(1)
    assert alone.float().mean().item() == pytest.approx(0.25, abs=0.07)
    sam = build_sam("vit_b")
    to_training_mode(sam, Phase(steps=1, drop_path=0.4))
    rates = [b.drop_path for b in sam.image_encoder.blocks]  # type: ignore[union-attr]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.4) and rates == sorted(rates)


def test_decoder_dropout_works_in_training_only() -> None:
    sam = build_sam("nano")
    transformer = sam.mask_decoder.transformer
    tokens, cells, places = torch.randn(2, 7, 256), torch.randn(1, 9, 256), torch.randn(1, 9, 256)

    def twice() -> bool:
        with torch.no_grad():
            first, again = (
                transformer(tokens, cells, transformer.project(cells, places), outputs=5)[0] for _ in range(2)
            )
        return torch.equal(first, again)

    to_training_mode(sam, Phase(steps=1))
    assert twice()
    to_training_mode(sam, Phase(steps=1, decoder_dropout=0.1))
    assert not twice()
    sam.eval()
    assert twice()


def test_batch_norms_keep_their_statistics() -> None:
    sam = build_sam("nano")
    to_training_mode(sam, Phase(steps=1))
    norms = [m for m in sam.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and sam.training and not any(norm.training for norm in norms)


def test_only_convolutional_encoders_take_another_input_size() -> None:
    sam = build_sam("nano")
    with input_size(sam, Phase(steps=1, image_size=256)):
        assert (sam.image_size, sam.embedding_size) == (256, 16)
    assert (sam.image_size, sam.embedding_size) == (512, 32)
    with pytest.raises(ConfigError, match="1024"), input_size(build_sam("tiny_vit"), Phase(steps=1, image_size=512)):
        pass


def test_a_three_layer_decoder_is_saved_and_loaded(tmp_path: Path) -> None:
    sam = build_sam("nano", decoder_depth=3)
    card = CheckpointCard(
        name="deep", architecture="nano", sha256="", licence="", description="", image_size=0, embedding_size=0,
        parameters=0, pred_iou_thresh=0.5, stability_score_thresh=0.5,
    )  # fmt: skip
    save_checkpoint(sam, card, tmp_path / "deep.safetensors")
    assert len(load_model(tmp_path / "deep.safetensors")[0].mask_decoder.transformer.layers) == 3


def test_nano_starts_from_imagenet() -> None:
    """The bundled checkpoint came from there: batch norms kept their statistics, filters moved a little."""
    fresh, bundled = fresh_model(load_recipe("nano")), load_model("nano")[0]
    for (name, ours), theirs in zip(
        fresh.image_encoder.net.state_dict().items(), bundled.image_encoder.net.state_dict().values(), strict=True
    ):
        if "running_" in name:
            assert torch.allclose(ours.float(), theirs.float(), rtol=2e-3, atol=1e-6), name
        elif ours.ndim == 4:
            assert torch.cosine_similarity(ours.flatten(), theirs.float().flatten(), dim=0) > 0.9, name
    again = fresh_model(load_recipe("nano"), seed=1).state_dict()
    assert not torch.equal(again["mask_decoder.iou_token.weight"], fresh.mask_decoder.iou_token.weight)
    with pytest.raises(ConfigError, match="is for nano"):
        fresh_model(load_recipe("nano").model_copy(update={"architecture": "vit_b"}))
