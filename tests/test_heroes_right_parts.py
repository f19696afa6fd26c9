"""Right parts of a model in training: a good model has many, and the weights of the moment are those that count."""

from __future__ import annotations

import sjd2
import torch
from sjd2.heroes import stream
from sjd2.heroes.model import SMALL, build
from sjd2.heroes.right_parts import RightParts


def test_the_weights_of_the_moment_are_judged_and_left_alone() -> None:
    """All of them: also the embeddings, of which a backbone keeps tables."""
    good, backbone = sjd2.load("heroes-lumina").backbone, build("heroes-lumina")
    given = [stream.example(0, 2**40 + at, held_out=True, full=True, mottled=False) for at in range(4)]
    parts = RightParts(backbone, SMALL, {"flat_parts": given})
    assert parts()["flat_parts"] < 0.6
    state = {name: value.float() for name, value in good.text.state_dict().items()}
    backbone.text.load_state_dict(state), backbone.lm_head.load_state_dict(good.lm_head.state_dict())
    found = parts()
    assert found["flat_parts"] > 0.75
    assert parts() == found, "the same seeds at every call"
    assert all(torch.equal(value, state[name]) for name, value in backbone.text.state_dict().items())
