"""The simulated person: how many prompts, of which kind, and what reaches the model."""

from __future__ import annotations

import pytest
import torch

from dataengine.model import Sam, build_sam
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from dataengine.prompts import Frame
from dataengine.training.seeds import generator_of
from dataengine.training.simulate import adds_point, simulate
from schemas.training import FirstPrompt, LossWeights, Phase


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(2)
    model = build_sam("nano")
    model.prompt_encoder = PromptEncoder(embedding_size=8, image_size=128)
    model.mask_decoder = MaskDecoder(mlp_width=64)
    return model


TRUTH = torch.zeros(6, 24, 32, dtype=torch.bool)
for _index in range(6):
    TRUTH[_index, 3 + _index : 15 + _index, 4 * _index : 4 * _index + 9] = True
FRAME = Frame(image_size=128, side=32)


def test_the_paper_has_eleven_iterations_of_which_two_bring_nothing_new() -> None:
    phase = Phase(steps=1)
    assert phase.iterations == 11
    schedules = [adds_point(phase, generator_of(seed)) for seed in range(40)]
    assert all(len(s) == 10 and sum(s) == 8 and s[-1] is False for s in schedules)
    assert len({s[:-1].index(False) for s in schedules}) == 9  # anywhere among the corrections
    assert adds_point(Phase(steps=1, corrections=0, empty_iterations=0), generator_of(1)) == []
    assert adds_point(Phase(steps=1, corrections=3, empty_iterations=1), generator_of(1)) == [True] * 3 + [False]


def test_prompts_grow_as_in_inference_and_one_mask_follows_three(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[list[int]], bool, bool]] = []
    encode, decode = PromptEncoder.embed_points, MaskDecoder.forward

    def seen_points(self: PromptEncoder, coords: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        asked.append((kinds.tolist(), False, False))
        assert coords.shape[:2] == kinds.shape
        return encode(self, coords, kinds)

    def seen_decode(self: MaskDecoder, *args: torch.Tensor, **kwargs: bool) -> tuple[torch.Tensor, torch.Tensor]:
        asked[-1] = (asked[-1][0], bool(args[4]), args[3].shape[-1] > 1)
        return decode(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(PromptEncoder, "embed_points", seen_points)
    monkeypatch.setattr(MaskDecoder, "forward", seen_decode)
    embedding = torch.randn(1, 256, 8, 8, generator=generator_of(0))
    for choice, start in (
        (FirstPrompt(point=1, box=0), [1, -1]),
        (FirstPrompt(point=0, box=1), [2, 3]),
        (FirstPrompt(point=0, box=0, mask=1), []),
    ):
        asked.clear()
        phase = Phase(steps=1, corrections=2, empty_iterations=1, first_prompt=choice)
        with torch.no_grad():
            list(simulate(sam, embedding, TRUTH, (96, 128), FRAME, phase, generator_of(1)))
        assert [multimask for _, multimask, _ in asked] == [True, False, False, False]
        assert [dense for _, _, dense in asked] == [not start, True, True, True]
        pad = [] if start else [-1]
        # The last iteration brings no point; labels of corrections are 0 or 1.
        assert [len(kinds[0]) for kinds, _, _ in asked] == [len(start) + n + bool(n) * len(pad) for n in (0, 1, 2, 2)]
        for kinds in asked[-1][0]:
            assert kinds[: len(start or pad)] == (start or pad) and set(kinds[len(start or pad) :]) <= {0, 1}


def test_iterations_stand_alone_and_reach_all_parts(sam: Sam) -> None:
    embedding = torch.randn(1, 256, 8, 8, generator=generator_of(0)).requires_grad_()
    choice = FirstPrompt(point=0.4, box=0.3, mask=0.3)
    phase = Phase(steps=1, corrections=2, empty_iterations=1, first_prompt=choice, loss=LossWeights(focal=1))
    counts = torch.zeros(4)
    sam.train()
    for iteration, losses in simulate(sam, embedding, TRUTH, (96, 128), FRAME, phase, generator_of(1)):
        counts[iteration] += len(losses.total)
        assert losses.true_iou.shape[1] == (1 if iteration else 3)
        losses.total.sum().backward()  # would fail if a graph were shared and freed
    assert counts.tolist() == [6] * 4
    assert embedding.grad is not None and embedding.grad.abs().sum() > 0
    untouched = [
        name
        for part in ("prompt_encoder", "mask_decoder")
        for name, p in getattr(sam, part).named_parameters(part)
        if p.grad is None or not p.grad.abs().sum()
    ]
    # A softmax doesn't see its keys' bias, and of the three masks one may never have been the best.
    idle = {name.split(".")[2] for name in untouched if "hypernetworks" in name}
    assert idle < {"1", "2", "3"}
    assert [name for name in untouched if not name.endswith("k_proj.bias") and "hypernetworks" not in name] == []
    sam.zero_grad()


def test_the_same_seed_gives_the_same_iterations_and_bf16_runs(sam: Sam) -> None:
    embedding = torch.randn(1, 256, 8, 8, generator=generator_of(0))

    def losses(seed: int, precision: str = "fp32") -> list[float]:
        phase = Phase(steps=1, corrections=2, precision=precision)  # type: ignore[arg-type]
        with torch.no_grad():
            found = simulate(sam, embedding, TRUTH, (96, 128), FRAME, phase, generator_of(seed))
            return [float(step.total.sum()) for _, step in found]

    assert losses(1) == losses(1) != losses(2)
    assert losses(1, "bf16")[0] == pytest.approx(losses(1)[0], rel=0.05)
