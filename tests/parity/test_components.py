"""Encoder, prompt encoder and mask decoder give the public code's numbers, with the same random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from dataengine.model import Sam, build_sam
from tests.parity.components import (
    RELATIVE,
    VITS,
    all_prompts,
    any_embedding,
    decoder_differences,
    our_sam,
    public_side,
    relative,
)
from tests.parity.hugging_face import DEFAULT_EPS, HuggingFace, translated
from tests.parity.inputs import PROMPT_KINDS, normalised_image
from tests.parity.public import Official, mobile_sam, segment_anything

Encoded = tuple[Sam, torch.Tensor]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def check(found: dict[str, float]) -> None:
    for component, difference in found.items():
        assert difference < RELATIVE, f"{component}: differs by {difference:.1e} of the largest value"


@pytest.fixture(scope="module")
def vit_b() -> Encoded:
    """The whole ViT-B and its embedding of one image."""
    with torch.inference_mode():
        ours = our_sam("vit_b")
        return ours, ours.image_encoder(normalised_image())


@pytest.mark.slow
@pytest.mark.parametrize("package", ["segment_anything", "transformers"])
def test_vit_b_whole(vit_b: Encoded, package: str) -> None:
    ours, embedding = vit_b
    public = public_side(ours, "vit_b", package)
    check({"image encoder": relative(embedding, public.embed(normalised_image()))})
    check(decoder_differences(ours, public, embedding, all_prompts(ours)["points, box and mask"], True))


@pytest.mark.parametrize("package", ["segment_anything", "transformers"])
@pytest.mark.parametrize(
    "model", ["vit_b/2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vit_l/2", "vit_h/2"))]
)
def test_vits_at_depth_two(model: str, package: str) -> None:
    """One block with windows and one with global attention; the other blocks repeat them."""
    ours = our_sam(model)
    public = public_side(ours, model, package)
    check({"image encoder": relative(ours.image_encoder(normalised_image()), public.embed(normalised_image()))})


def test_tiny_vit_whole() -> None:
    ours = our_sam("tiny_vit")
    public = public_side(ours, "tiny_vit", "mobile_sam")
    embedding = ours.image_encoder(normalised_image())
    check({"image encoder": relative(embedding, public.embed(normalised_image()))})
    check(decoder_differences(ours, public, embedding, all_prompts(ours)["point and mask"], True))


@pytest.fixture(scope="module", params=["nano", "decoder"])
def decoder(request: pytest.FixtureRequest) -> tuple[str, Sam]:
    """`nano` has a 32 x 32 embedding and a narrower MLP, `decoder` the sizes of all the official models."""
    return request.param, our_sam(request.param)


@pytest.fixture(scope="module", params=["segment_anything", "transformers"])
def both(request: pytest.FixtureRequest, decoder: tuple[str, Sam]) -> tuple[Sam, Official | HuggingFace]:
    model, ours = decoder
    return ours, public_side(ours, model, request.param)


@pytest.mark.parametrize("kind", PROMPT_KINDS)
@pytest.mark.parametrize("multimask", [False, True])
def test_decoder(both: tuple[Sam, Official | HuggingFace], kind: str, multimask: bool) -> None:
    ours, public = both
    check(decoder_differences(ours, public, any_embedding(ours), all_prompts(ours)[kind], multimask))


def test_the_default_eps_of_transformers_is_a_difference(decoder: tuple[str, Sam]) -> None:
    """Why it is set to the official one: the tolerance is narrow enough to see it."""
    ours = decoder[1]
    public = HuggingFace(ours, None, eps=DEFAULT_EPS)
    found = decoder_differences(ours, public, any_embedding(ours), all_prompts(ours)["points"], True)
    assert found["sparse prompts"] < RELATIVE
    assert RELATIVE < found["low resolution logits"] < 1e-3


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_state_dicts_have_the_same_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, public = build_sam(name), segment_anything().sam_model_registry[name]()
    assert shapes(ours) == shapes(public)


def test_mobile_sams_state_dict_has_the_same_names_and_shapes() -> None:
    assert shapes(build_sam("tiny_vit")) == shapes(mobile_sam().sam_model_registry["vit_t"]())


def test_every_tensor_has_its_place_in_transformers() -> None:
    """All of ours are used, once each but the Gaussian matrix, and none of transformers' is left over."""
    ours = our_sam("vit_b/2")
    state = ours.state_dict()
    renamed = translated(state)
    theirs = HuggingFace(ours, VITS["vit_b/2"]).model.state_dict()
    assert {name: value.shape for name, value in renamed.items()} == {n: v.shape for n, v in theirs.items()}
    assert all(torch.equal(theirs[name], value) for name, value in renamed.items())
    assert {id(value) for value in renamed.values()} == {id(value) for value in state.values()}
    assert len(renamed) == len(state) + 1


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
