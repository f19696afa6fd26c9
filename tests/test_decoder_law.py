"""The lossless policies through the whole loop: the joint law of a picture's tokens against enumeration.

The model's cache, positions and masks matter, guidance and grid are on, thousands of pictures of two prompts decode in
one ragged batch. A wrong decoder must fail the same test: each control below breaks one thing and is caught.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats
from sjd2 import decoder as decoder_module
from sjd2 import shadow as shadow_rows
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import get_policy
from torch import Tensor
from toy_backbone import FIRST_IMAGE, Toy

V, L = 3, 5
SAMPLING = Sampling(guidance=1.7, temperature=0.9)
SIZE = (2, 2)
ALPHA = 1e-5  # per test; the controls below reach far less


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
    B = 2000 if options.get("shadow") else 6000  # shadow rows run through the reference attention
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
    cell = (codes * V ** torch.arange(3, -1, -1)).sum(-1)
    return decoder, min(chi_square(cell[i::2], law(prompt)) for i, prompt in enumerate(("a", "bcd")))


def chi_square(cell: Tensor, law: Tensor) -> float:
    """p-value; cells with fewer than 8 expected pictures are pooled."""
    seen, expected = torch.bincount(cell, minlength=len(law)).double(), law * len(cell)
    small = expected < 8
    if bool(small.any()):
        seen = torch.cat([seen[~small], seen[small].sum()[None]])
        expected = torch.cat([expected[~small], expected[small].sum()[None]])
    return float(stats.chisquare(seen.numpy(), expected.numpy() * float(seen.sum() / expected.sum())).pvalue)


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("ar", {}),
        ("jacobi", {}),
        ("match", {"initial": "left"}),
        ("sjd", {}),
        ("sjd", {"initial": "above"}),
        ("gumbel", {}),
        ("coupled", {}),
        ("coupled", {"initial": "left"}),
        ("sjd2-exact", {}),
        ("sjd2-exact", {"shadow": 2}),
        ("sjd2-exact", {"shadow": 4, "levels": 2}),
    ],
)
def test_lossless_policies_have_the_autoregressive_law(policy: str, options: dict[str, object]) -> None:
    decoder, p_value = decode(policy, **options)
    assert decoder.policy.lossless
    assert p_value > ALPHA
    if policy != "ar":  # and they do decode in parallel
        assert decoder.window.epoch.double().mean() < 0.93 * decoder.window.N


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
        ("coupled", old_law_for_kept_tokens),
    ],
)
def test_a_wrong_decoder_fails(policy: str, tamper: Callable[[Decoder], None]) -> None:
    assert decode(policy, tamper)[1] < ALPHA / 1e3


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
    assert decode("sjd")[1] < ALPHA / 1e3


def test_shadow_drafts_under_the_plain_law_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first trap of sjd2-exact: tokens coupled to p', but q := p."""

    def wrong(draft: Tensor, plain: Tensor, shadow: Tensor) -> tuple[Tensor, Tensor]:
        tokens, left = choose(draft, plain, shadow)
        return tokens, torch.ones_like(left)

    choose = shadow_rows.choose
    monkeypatch.setattr(shadow_rows, "choose", wrong)
    assert decode("sjd2-exact", shadow=4, levels=2)[1] < ALPHA / 1e3


def test_noisy_context_would_not_be_lossless_without_the_stop() -> None:
    """sjd2 commits behind noisy rows and keeps by ratio: fast, and visibly not the autoregressive law."""
    decoder, p_value = decode("sjd2")
    assert not decoder.policy.lossless
    assert p_value < ALPHA


def test_shadow_scan_equals_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    plain, shadow = (torch.rand(200, 13, generator=draw) < 0.5 for _ in range(2))
    expected = torch.empty_like(plain)
    for b in range(len(plain)):
        before = True
        for j in range(13):
            before = bool(plain[b, j]) if before else bool(shadow[b, j])
            expected[b, j] = before
    assert torch.equal(shadow_rows.kept(plain, shadow), expected)
