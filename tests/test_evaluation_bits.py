"""Bits per token: those of the plain model, whatever the lengths of the prompts."""

from __future__ import annotations

import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation.bits import MOST, bits_per_token
from sjd2.finetune.sequences import picture_tokens
from sjd2.heroes.model import NAMES, Shape, build
from sjd2.heroes.stream import batch
from torch import Tensor

TINY = Shape(C=32, layers=2, H=2, ffn=32)


def model(name: str):
    made = build(name, TINY)
    with torch.no_grad():
        for parameter in [*made.text.parameters(), *made.lm_head.parameters()]:
            if parameter.dim() == 2:
                parameter.mul_(6)  # laws that are far from uniform
    return made


def literal(backbone, row: tuple[int, ...], picture: Tensor) -> Tensor:
    """[N, V] logits by one call of the plain model."""
    ids = torch.tensor([[*row, *picture[:-1].tolist()]])
    hidden = backbone.text(input_ids=ids, use_cache=False).last_hidden_state[0, -len(picture) :]
    return backbone.lm_head(hidden)[:, backbone.ids[: backbone.V]].double()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(guidance=2.5), Sampling(temperature=0.7, top_k=40)],
    ids=["plain", "guided", "cut"],
)
@torch.no_grad()
def test_bits_are_those_of_the_plain_model(name: str, sampling: Sampling) -> None:
    backbone = model(name)
    grid = backbone.grid()
    captions, codes = batch(1, 0, 3, TINY.codes, full=True)
    captions[1] = captions[1].split(",")[0]  # another length
    tokens = picture_tokens(backbone, grid, torch.from_numpy(codes))
    prompts = backbone.encode(captions, guidance=sampling.guidance != 1)
    assert len({len(prompt.cond) for prompt in prompts}) > 1
    found = bits_per_token(backbone, prompts, grid, tokens, sampling)
    for b, prompt in enumerate(prompts):
        scores = literal(backbone, prompt.cond, tokens[b])
        if prompt.uncond:
            uncond = literal(backbone, prompt.uncond, tokens[b])
            scores = uncond + sampling.guidance * (scores - uncond)
        scores = scores / sampling.temperature
        if sampling.top_k:
            scores[scores < scores.topk(sampling.top_k).values[:, -1:]] = -torch.inf
        bits = -scores.log_softmax(-1)[grid.forced < 0].gather(1, torch.from_numpy(codes[b]).view(-1, 1)) / 0.6931471805
        assert abs(float(bits.clamp(max=MOST).mean()) - float(found[b])) < 1e-3
    assert float(found.max() - found.min()) > 0.05  # a mix-up of the pictures would show


@torch.no_grad()
def test_a_token_without_a_chance_costs_the_most_and_not_infinity() -> None:
    backbone = build(NAMES[0], TINY)
    grid = backbone.grid()
    codes = torch.arange(256).view(1, 16, 16)
    tokens = picture_tokens(backbone, grid, codes)
    (found,) = bits_per_token(backbone, backbone.encode(["a"], guidance=False), grid, tokens, Sampling(top_k=1))
    assert MOST * 0.9 < found <= MOST
