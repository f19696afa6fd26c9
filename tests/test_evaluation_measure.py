"""What every model's pictures are judged by: bits of its own law and counts, in any batch."""

from __future__ import annotations

import torch
from sjd2.decoder import Sampling
from sjd2.evaluation.bits import bits_per_token
from sjd2.evaluation.decoding import decode
from sjd2.evaluation.measure import Measure
from sjd2.evaluation.same_law import group_counts
from sjd2.evaluation.settings import parse
from sjd2.evaluation.task import Prompt
from toy_backbone import Toy

TOY = Toy(dtype=torch.float32)
SAMPLING = Sampling(guidance=1.5, top_k=4)


def test_bits_and_counts_are_those_of_the_pictures() -> None:
    grid, given = TOY.grid((5, 3)), [Prompt("ab"), Prompt("cde")]
    tokens = decode(TOY, parse("sjd 4"), [each.caption for each in given], [1, 2], SAMPLING, grid).tokens
    measure = Measure(TOY, SAMPLING, grid)
    found = measure.judge(tokens, given)
    prompts = TOY.encode(["ab", "cde"], size=(5, 3))
    assert found["bits"] == [round(b, 4) for b in bits_per_token(TOY, prompts, grid, tokens, SAMPLING).tolist()]
    assert found["counts"] == group_counts(TOY.codes(tokens, grid))
    assert measure.judge(tokens[1:], given[1:]) == {key: value[1:] for key, value in found.items()}
    assert measure.true(given) is None
    assert Measure(TOY, SAMPLING).grid.size == TOY.default_size
