"""A decoder put back before every call: same state, same step."""

from __future__ import annotations

import torch
from sjd2.backbones.tiny import tiny_emu3
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import get_policy

from bench.replay import WARM_UP, Replayed


def test_the_same_step_again_and_again() -> None:
    backbone = tiny_emu3()
    grid = backbone.grid((40, 20))
    for policy, at in (("sjd", 0), ("sjd2", 0), ("sjd", 60), ("sjd2", 60)):
        decoder = Decoder(
            backbone, get_policy(policy), backbone.encode(["a", "bc"]), [grid] * 2, [1, 2], L=4, denoise_steps=5,
            sampling=Sampling(2.0),
        )  # fmt: skip
        replayed = Replayed(decoder, at)
        w = decoder.window
        start = w.pos.clone()
        assert (start >= at + WARM_UP).all()  # a step commits at least one token
        assert torch.isfinite(decoder.k_cache[:, :, :, :20]).all() or at == 0
        seen = []
        for _ in range(2):
            replayed.variant().setup()  # type: ignore[misc]
            assert torch.equal(w.pos, start)
            replayed.variant().call()
            assert (w.pos > start).all()
            seen.append([x.clone() for x in (w.pos, w.kv_len, w.out, w.draft, w.rows)])
        assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
        assert int(w.status.sum()) == 0
