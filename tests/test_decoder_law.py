"""The lossless policies through the whole loop, with a small transformer: the joint law against enumeration.

The model's cache, positions and masks matter, guidance and grid are on, thousands of pictures of two prompts decode in
one ragged batch. A wrong decoder must fail the same test: each control below breaks one thing and is caught. What
concerns the samplers and noise is tested with far more pictures on a table (tests/test_decoder_table.py).

Power: at 3000 pictures of a prompt a wrong law p' is found (p < 1e-4) with probability 0.99 when 3000 sum((p' - p)^2 /
p) >= 109, a total variation of at most 0.096. The controls reach p < 1e-12.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import copy
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from _chains import p_value
from scipy import stats
from sjd2 import decoder as decoder_module
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import get_policy
from torch import Tensor
from toy_backbone import FIRST_IMAGE, Toy

V, L = 3, 5
SAMPLING = Sampling(guidance=1.7, temperature=0.9)
SIZE = (2, 2)
PASS, TRAPPED = 1e-4, 1e-12


@cache
def toy() -> Toy:
    return Toy(V, seed=3, sharpness=2.0)


@cache
def law(prompt: str) -> Tensor:
    """[V^4] probability of every picture under plain autoregressive sampling, by enumeration on full recomputation."""
    model = toy()
    grid = model.grid(SIZE)
    free = (grid.forced < 0).nonzero().flatten()
    pictures = torch.tensor(list(itertools.product(range(V), repeat=len(free))))
    tokens = grid.forced.expand(len(pictures), -1).clone()
    tokens[:, free] = pictures
    [rows] = model.encode([prompt])
    scores = []
    for row in (rows.cond, rows.uncond):
        assert row is not None
        ids = torch.cat([torch.tensor(row).expand(len(pictures), -1), tokens + FIRST_IMAGE], 1)
        scores.append(model.next_logits(ids)[:, len(row) - 1 : -1])
    cond, uncond = scores
    log_p = torch.log_softmax((uncond + SAMPLING.guidance * (cond - uncond)) / SAMPLING.temperature, -1)
    return log_p[:, free].gather(-1, pictures[..., None])[..., 0].sum(-1).exp()


def decode(policy: str, tamper: Callable[[Decoder], None] | None = None, **options: object) -> tuple[Decoder, float]:
    """Thousands of pictures, half of them of another prompt; the smaller p-value of the two chi-square tests."""
    model = toy()
    B = 6000
    prompts = model.encode(["a", "bcd"] * (B // 2))
    decoder = Decoder(
        model, get_policy(policy, **options), prompts, [model.grid(SIZE)] * B, range(B),
        L=L, denoise_steps=2, sampling=SAMPLING,
    )  # fmt: skip
    if tamper is not None:
        tamper(decoder)
    decoder.run()
    grid = model.grid(SIZE)
    codes = model.codes(decoder.window.out, grid).flatten(1)
    return decoder, min(p_value(codes[i::2], law(prompt).numpy(), V) for i, prompt in enumerate(("a", "bcd")))


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("ar", {}),
        ("jacobi", {}),
        ("match", {"initial": "left"}),
        ("sjd", {}),
        ("gumbel", {"initial": "above"}),
        ("coupled", {}),
        ("sjd2-exact", {}),
        ("sjd2-exact", {"shadow": 4, "levels": 2}),
    ],
)
def test_lossless_policies_have_the_autoregressive_law(policy: str, options: dict[str, object]) -> None:
    decoder, p = decode(policy, **options)
    assert decoder.policy.lossless
    assert p > PASS
    if policy != "ar":  # and they do decode in parallel
        assert decoder.window.epoch.double().mean() < 0.93 * decoder.window.N


def test_power() -> None:
    """The numbers of the docstring."""
    assert stats.ncx2.sf(stats.chi2.isf(PASS, 80), 80, 109) == pytest.approx(0.99, abs=0.005)
    assert 0.5 * (109 / 3000) ** 0.5 < 0.096  # sum |p' - p| <= sqrt(sum (p' - p)^2 / p)


def test_the_law_is_far_from_uniform_and_from_the_other_prompts() -> None:
    a, other = law("a"), law("bcd")
    assert abs(float(a.sum()) - 1) < 1e-9
    assert float((a - other).abs().sum()) > 0.2
    assert float(a.max()) > 3 / len(a)


def _after_step(decoder: Decoder, change: Callable[[Decoder], None]) -> None:
    step = decoder.step

    def changed() -> None:
        step()
        change(decoder)

    decoder.step = changed  # type: ignore[method-assign]


def trim_one_too_few(decoder: Decoder) -> None:
    """A rejected token's key stays in the cache (B16): the published bug of three packages."""
    _after_step(decoder, lambda d: d.window.kv_len.add_((d.window.pos < d.window.n_tokens).repeat(2).int()))


def position_one_off(decoder: Decoder) -> None:
    """Window rows stand one position too far to the right, re-fed rows where they should."""
    feed = decoder.feed

    def wrong() -> Any:
        rows, positions, attend = feed()
        return rows, positions + (torch.arange(positions.shape[1]) > 0), attend

    decoder.feed = wrong  # type: ignore[method-assign]


def drafts_one_slot_off(decoder: Decoder) -> None:
    """Every slot is fed with the draft of the one behind it."""
    feed = decoder.feed

    def wrong() -> Any:
        rows, positions, attend = feed()
        rows = rows.clone()
        rows[:, 1:-1] = rows[:, 2:]
        return rows, positions, attend

    decoder.feed = wrong  # type: ignore[method-assign]


def guidance_rows_exchanged(decoder: Decoder) -> None:
    """u + g (c - u) with c and u exchanged."""
    head = decoder.backbone.head
    decoder.backbone = copy(decoder.backbone)
    decoder.backbone.head = lambda hidden: head(hidden).roll(decoder.B, 0)  # type: ignore[method-assign]


def old_law_for_kept_tokens(decoder: Decoder) -> None:
    """Under coupling a kept token keeps the q of its first draw; it must be p of the last step."""
    window, advance = decoder.window, decoder.window.advance

    def wrong(p: Tensor, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor) -> None:
        advance(torch.where((tokens == window.draft)[..., None], window.q, p), tokens, fresh, accept_len, n_commit)

    window.advance = wrong  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("policy", "tamper"),
    [
        ("sjd", trim_one_too_few),
        ("sjd", position_one_off),
        ("sjd", drafts_one_slot_off),
        ("sjd", guidance_rows_exchanged),
        ("coupled", old_law_for_kept_tokens),
    ],
)
def test_a_wrong_decoder_fails(policy: str, tamper: Callable[[Decoder], None]) -> None:
    assert decode(policy, tamper)[1] < TRAPPED


def test_a_plain_draw_for_the_residual_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rejected slot takes a sample of p instead of norm(max(0, p - q))."""
    plain = torch.ops.sjd2

    def verify(
        draft: Tensor, p: Tensor, q: Tensor, seed: Tensor, pos: Tensor, fresh: Tensor, *args: Any, **kwargs: Any
    ):  # type: ignore[no-untyped-def]
        accept_len, tokens, ratio = plain.verify_accept(draft, p, q, seed, pos, fresh, *args, **kwargs)
        return accept_len, torch.where(torch.arange(L) == accept_len[:, None], fresh, tokens), ratio

    known = {name: getattr(plain, name) for name in ("process_logits", "commit")}
    monkeypatch.setattr(decoder_module, "ops", SimpleNamespace(verify_accept=verify, **known))
    assert decode("sjd")[1] < TRAPPED
