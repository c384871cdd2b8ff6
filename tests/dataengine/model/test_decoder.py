"""The decoder that shares the image side equals the plain one that copies it for every prompt."""

import math

import pytest
import torch
from torch import nn

from dataengine.model import mask_decoder
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from dataengine.model.transformer import Attention


@pytest.fixture(scope="module")
def parts() -> tuple[PromptEncoder, MaskDecoder]:
    torch.manual_seed(1)
    prompts, decoder = PromptEncoder(embedding_size=8, image_size=128), MaskDecoder(mlp_width=64)
    for parameter in [*prompts.parameters(), *decoder.parameters()]:
        nn.init.normal_(parameter, std=0.08)
    return prompts.eval(), decoder.eval()


def attend(layer: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention as in the paper: project, split, softmax, join, project."""
    q, k, v = (
        part.reshape(*part.shape[:2], layer.heads, -1).transpose(1, 2)
        for part in (layer.q_proj(q), layer.k_proj(k), layer.v_proj(v))
    )
    weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), dim=-1)
    return layer.out_proj((weights @ v).transpose(1, 2).flatten(2))


def plain_decoder(
    decoder: MaskDecoder, embedding: torch.Tensor, pe: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Everything copied per prompt, nothing folded: masks (B, 4, 4e, 4e) and predicted IoU (B, 4)."""
    batch, side = len(sparse), embedding.shape[-1]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).repeat(batch, 1, 1)
    points = torch.cat([own, sparse], dim=1)
    keys = (embedding.repeat(batch // len(embedding), 1, 1, 1) + dense).flatten(2).transpose(1, 2)
    key_pe = pe.repeat(batch, 1, 1, 1).flatten(2).transpose(1, 2)
    queries = points
    for index, layer in enumerate(decoder.transformer.layers):
        q = queries if index == 0 else queries + points
        attended = attend(layer.self_attn, q, q, queries)
        queries = layer.norm1(attended if index == 0 else queries + attended)
        attended = attend(layer.cross_attn_token_to_image, queries + points, keys + key_pe, keys)
        queries = layer.norm2(queries + attended)
        queries = layer.norm3(queries + layer.mlp(queries))
        attended = attend(layer.cross_attn_image_to_token, keys + key_pe, queries + points, queries)
        keys = layer.norm4(keys + attended)
    final = decoder.transformer.final_attn_token_to_image
    queries = queries + attend(final, queries + points, keys + key_pe, keys)
    queries = decoder.transformer.norm_final_attn(queries)
    up = decoder.output_upscaling(keys.transpose(1, 2).reshape(batch, -1, side, side))
    weights = torch.stack([m(queries[:, 1 + i]) for i, m in enumerate(decoder.output_hypernetworks_mlps)], 1)
    masks = torch.einsum("bkc,bchw->bkhw", weights, up)
    return masks, decoder.iou_prediction_head(queries[:, 0])


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("with_mask", [False, True])
@torch.no_grad()
def test_equals_the_plain_decoder(parts: tuple[PromptEncoder, MaskDecoder], batch: int, with_mask: bool) -> None:
    prompts, decoder = parts
    embedding = torch.randn(1, 256, 8, 8)
    masks = torch.randn(batch, 1, 32, 32) if with_mask else None
    points, labels = torch.rand(batch, 3, 2) * 128, torch.randint(0, 2, (batch, 3))
    sparse, dense = prompts(points, labels, torch.rand(batch, 4) * 128, masks)
    assert dense.shape == ((batch, 256, 8, 8) if with_mask else (1, 256, 1, 1))
    pe = prompts.dense_positions()
    expected, expected_iou = plain_decoder(decoder, embedding, pe, sparse, dense)
    logits, iou = decoder(embedding, pe, sparse, dense, multimask_output=True)
    assert logits.shape == (batch, 3, 32, 32) and iou.shape == (batch, 3)
    assert torch.allclose(logits, expected[:, 1:], atol=1e-4)
    assert torch.allclose(iou, expected_iou[:, 1:], atol=1e-5)
    single, single_iou = decoder(embedding, pe, sparse, dense, multimask_output=False)
    assert torch.allclose(single, expected[:, :1], atol=1e-4)
    assert torch.allclose(single_iou, expected_iou[:, :1], atol=1e-5)


@torch.no_grad()
def test_one_image_per_prompt(parts: tuple[PromptEncoder, MaskDecoder]) -> None:
    prompts, decoder = parts
    embedding = torch.randn(4, 256, 8, 8)
    sparse, dense = prompts(torch.rand(4, 1, 2) * 128, torch.ones(4, 1))
    logits, iou = decoder(embedding, prompts.dense_positions(), sparse, dense, True)
    for index in range(4):
        alone = decoder(embedding[index : index + 1], prompts.dense_positions(), sparse[index : index + 1], dense, True)
        assert torch.allclose(logits[index], alone[0][0], atol=1e-4)
        assert torch.allclose(iou[index], alone[1][0], atol=1e-5)


@pytest.mark.parametrize("images", [1, 4])
@torch.no_grad()
def test_an_image_side_serves_any_number_of_times(parts: tuple[PromptEncoder, MaskDecoder], images: int) -> None:
    """The second block writes over its cells, the first must not: they are the caller's."""
    prompts, decoder = parts
    sparse, dense = prompts(torch.rand(4, 1, 2) * 128, torch.ones(4, 1))
    image = decoder.image_side(torch.randn(images, 256, 8, 8), prompts.dense_positions(), dense)
    before = image.cells.clone()
    decoder.decode_tokens(image, sparse)
    assert torch.equal(image.cells, before)


@pytest.mark.parametrize("cells_at_once", [1024, 24, 5])
@torch.no_grad()
def test_iou_is_known_before_masks_and_masks_come_for_the_chosen(
    parts: tuple[PromptEncoder, MaskDecoder], cells_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_decoder, "CELLS_AT_ONCE", cells_at_once)
    prompts, decoder = parts
    sparse, dense = prompts(torch.rand(6, 1, 2) * 128, torch.ones(6, 1))
    image = decoder.image_side(torch.randn(1, 256, 8, 8), prompts.dense_positions(), dense)
    decoded = decoder.decode_tokens(image, sparse)
    assert decoded.predicted_iou.shape == (6, 4)
    everything = decoder.mask_logits(decoded)
    assert everything.shape == (6, 4, 32, 32)
    chosen = torch.zeros(6, 4, dtype=torch.bool)
    assert decoder.chosen_logits(decoded, chosen).shape == (0, 32, 32)
    chosen[1, 3] = chosen[4, 0] = chosen[4, 2] = True
    assert torch.allclose(decoder.chosen_logits(decoded, chosen), everything[[1, 4, 4], [3, 0, 2]], atol=1e-5)


def test_parts_of_one_prompt_and_of_all_prompts_agree(parts: tuple[PromptEncoder, MaskDecoder]) -> None:
    """Without gradients a CPU takes prompt by prompt, with them all together, as a GPU does."""
    prompts, decoder = parts
    sparse, dense = prompts(torch.rand(5, 1, 2) * 128, torch.ones(5, 1))
    image = decoder.image_side(torch.randn(1, 256, 8, 8), prompts.dense_positions(), dense)
    together = decoder.decode_tokens(image, sparse)
    with torch.no_grad():
        alone = decoder.decode_tokens(image, sparse)
    assert [len(part) for part in together.cells] == [5]
    assert [len(part) for part in alone.cells] == [1] * 5
    assert torch.allclose(together.predicted_iou, alone.predicted_iou, atol=1e-5)
    assert torch.allclose(torch.cat(together.cells), torch.cat(alone.cells), atol=1e-4)
    chosen = torch.rand(5, 4) > 0.5
    ours, theirs = decoder.chosen_logits(alone, chosen), decoder.chosen_logits(together, chosen)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_gradients_reach_every_decoder_parameter(parts: tuple[PromptEncoder, MaskDecoder]) -> None:
    prompts, decoder = parts
    sparse, dense = prompts(torch.rand(2, 1, 2) * 128, torch.ones(2, 1))
    image = decoder.image_side(torch.randn(1, 256, 8, 8), prompts.dense_positions(), dense)
    decoded = decoder.decode_tokens(image, sparse)
    (decoder.mask_logits(decoded).sum() + decoded.predicted_iou.sum()).backward()
    without = [name for name, p in decoder.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    # Folded keys drop the key bias, to which softmax is blind; its gradient is 0 in any implementation.
    assert all(name.endswith("token_to_image.k_proj.bias") for name in without), without


@torch.no_grad()
def test_prompt_tokens(parts: tuple[PromptEncoder, MaskDecoder]) -> None:
    prompts, _ = parts
    point, box = torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1.0, 2.0, 30.0, 40.0]])
    one = torch.ones(1, 1, dtype=torch.int64)
    sparse, dense = prompts(point, one)
    assert sparse.shape == (1, 2, 256)  # the point and a padding point
    assert torch.equal(sparse[0, 1], prompts.not_a_point_embed.weight[0])
    centre = prompts.pe_layer((point + 0.5) / 128)[0, 0]
    assert torch.allclose(sparse[0, 0], centre + prompts.point_embeddings[1].weight[0], atol=1e-6)
    background, _ = prompts(point, 0 * one)
    assert torch.allclose(background[0, 0], centre + prompts.point_embeddings[0].weight[0], atol=1e-6)
    with_box, _ = prompts(point, one, box)
    assert with_box.shape == (1, 3, 256)  # no padding point beside a box
    corner = prompts.pe_layer((box[0, 2:] + 0.5) / 128)
    assert torch.allclose(with_box[0, 2], corner + prompts.point_embeddings[3].weight[0], atol=1e-5)
    assert torch.equal(dense, prompts.no_mask_embed.weight.reshape(1, 256, 1, 1))
    assert prompts(masks=torch.zeros(3, 1, 32, 32))[0].shape == (3, 0, 256)
    with pytest.raises(ValueError, match="labels"):
        prompts(point)


@torch.no_grad()
def test_dense_positions_are_those_of_the_cell_centres(parts: tuple[PromptEncoder, MaskDecoder]) -> None:
    prompts, _ = parts
    dense = prompts.dense_positions()
    assert dense.shape == (1, 256, 8, 8)
    assert torch.allclose(dense[0, :, 2, 5], prompts.pe_layer(torch.tensor([5.5 / 8, 2.5 / 8])), atol=1e-5)
