"""Right parts of a model in training: a good model has many, and the weights of the moment are those that count."""

from __future__ import annotations

import sjd2
import torch
from sjd2.heroes import stream
from sjd2.heroes.model import SMALL
from sjd2.heroes.right_parts import RightParts


def test_the_weights_of_the_moment_are_judged_and_left_alone() -> None:
    backbone = sjd2.load("heroes-lumina").backbone
    given = [stream.example(0, 2**40 + at, held_out=True, full=True, mottled=False) for at in range(4)]
    parts = RightParts(backbone, SMALL, {"flat_parts": given})
    before = {name: value.clone() for name, value in backbone.text.state_dict().items()}
    good = parts()
    assert good["flat_parts"] > 0.75
    assert parts() == good, "the same seeds at every call"
    assert all(torch.equal(value, before[name]) for name, value in backbone.text.state_dict().items())
    with torch.no_grad():
        backbone.lm_head.weight.zero_()
    assert parts()["flat_parts"] < good["flat_parts"] - 0.2
