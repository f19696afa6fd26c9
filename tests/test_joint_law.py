"""The one property that matters: every lossless policy gives exactly the law of plain autoregressive sampling.

Whole decodings of toy models (tests/_chains.py) with prefix-dependent laws, 3 symbols x 4 tokens and 6 symbols x 3
tokens, compared with enumeration by chi-square over whole sequences. Seeds are fixed and draws are bitwise reproducible
(rung L3), so a run cannot fail by chance; a test passes at p > 1e-4.

Power: with B images a wrong law p' is found with probability 0.99 when B sum((p' - p)^2 / p) >= 110 (81 cells) or 158
(216 cells). At B = 2^15 that is a total variation of at most 0.029 or 0.035. The traps at the end, each a small change
of the decoder that is known to be wrong, are all found with p < 1e-12.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _chains import POLICIES, Decoder, Model, Policy, p_value
from _live import live, on_backends
from scipy import stats
from torch import Tensor

from sjd2_kernels import rng, verify_accept

both = on_backends("process_logits", "verify_accept")
MODELS = {"3x4": Model.random(3, 4, 1), "6x3": Model.random(6, 3, 2, concentration=0.3)}
BEST = live("verify_accept")[0]
PASS, TRAPPED = 1e-4, 1e-12


def images(backend: str) -> Tensor:
    """Seeds: fewer for backends but the first, whose draws are bit for bit those of the first."""
    return torch.arange(2**15 if backend == BEST else 2**12)


def test_power() -> None:
    """The numbers of the docstring above."""
    for cells, needed, variation in ((81, 110, 0.029), (216, 158, 0.035)):
        critical = stats.chi2.isf(PASS, cells - 1)
        assert stats.ncx2.sf(critical, cells - 1, needed) == pytest.approx(0.99, abs=0.005)
        assert 0.5 * (needed / 2**15) ** 0.5 < variation  # sum |p' - p| <= sqrt(sum (p' - p)^2 / p)


@both
@pytest.mark.parametrize("start", ["uniform", "onehot"])
@pytest.mark.parametrize("shape", MODELS)
@pytest.mark.parametrize("policy", POLICIES)
def test_lossless(backend: str, policy: str, shape: str, start: str) -> None:
    model = MODELS[shape]
    out, steps = Decoder(model, POLICIES[policy], model.N, backend, start)(images(backend))
    assert p_value(out, model.joint(), model.K) > PASS
    assert steps <= model.N


@both
@pytest.mark.parametrize("start", ["uniform", "onehot", "none"])
@pytest.mark.parametrize("draft_epoch", [False, True])
def test_epoch_zero_is_exact_with_redraw_fresh(backend: str, draft_epoch: bool, start: str) -> None:
    """One set of uniforms per position for all iterations: still exact, since each is used by one committed token."""
    model = MODELS["6x3"]
    policy = Policy(draft_epoch=draft_epoch, verify_epoch=False)
    assert p_value(Decoder(model, policy, 3, backend, start)(images(backend))[0], model.joint(), 6) > PASS


@both
@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("policy", ["sjd", "coupled"])
def test_every_window(backend: str, policy: str, window: int) -> None:
    """Windows shorter than the sequence, so that new slots enter behind kept ones; new slots without a draft, too."""
    model = MODELS["3x4"]
    for start in ("uniform", "none"):
        out, _ = Decoder(model, POLICIES[policy], window, backend, start)(images(backend))
        assert p_value(out, model.joint(), 3) > PASS


@both
@pytest.mark.parametrize("policy", ["sjd", "coupled", "gumbel"])
def test_lossless_with_processing(backend: str, policy: str) -> None:
    """Guidance, temperature, top-k and top-p: the law is that of the processed model, truncated rows included."""
    model, seed = MODELS["3x4"], images(backend)
    B = len(seed)
    process = (
        ("guidance", torch.full((B,), 1.5)), ("temperature", torch.full((B,), 0.8)),
        ("top_k", torch.full((B,), 2)), ("top_p", torch.full((B,), 0.95)),
    )  # fmt: skip
    guided = (1.5 * model.logits - 0.5 * model.logits.roll(1, -1)).double().numpy() / 0.8
    law = np.exp(guided - guided.max(-1, keepdims=True))
    law[guided < np.sort(guided)[:, 1:2]] = 0
    law /= law.sum(-1, keepdims=True)
    law[(law < 0.05) & (law > 0)] = 0
    law /= law.sum(-1, keepdims=True)
    out, _ = Decoder(model, POLICIES[policy], 4, backend, process=process)(seed)
    cell = (out * 3 ** torch.arange(3, -1, -1)).sum(-1)
    assert (model.joint(law)[cell.numpy()] > 0).all()
    assert p_value(out, model.joint(law), 3) > PASS


@both
@pytest.mark.parametrize("policy", POLICIES)
def test_lossless_around_a_forced_token(backend: str, policy: str) -> None:
    """Position 1 must be token K (an end of line): it is, and the other three have the law given it."""
    model = MODELS["3x4"]
    out, _ = Decoder(model, POLICIES[policy], 3, backend, forced=(-1, 3))(images(backend))
    assert (out[:, 1] == 3).all()
    joint = model.joint().reshape(3, 3, 9)  # the forced token counts as symbol 0 in the prefix
    free = joint[:, 0] / joint[:, 0].sum(-1, keepdims=True) * joint.sum((1, 2))[:, None]
    assert p_value(out[:, [0, 2, 3]], free.ravel(), 3) > PASS


@both
def test_match_equals_ar_for_every_window(backend: str) -> None:
    """Token for token with the same seeds, whatever the window and the first drafts; and it does save steps."""
    model, seed = MODELS["3x4"], torch.arange(3000) * 977 - 10**9
    expected, steps = Decoder(model, POLICIES["ar"], 1, backend)(seed)
    assert steps == model.N
    for window in (1, 2, 3, 4, 6):
        for start in ("uniform", "onehot", "none"):
            decoder = Decoder(model, POLICIES["match"], window, backend, start)
            assert torch.equal(decoder(seed)[0], expected), (window, start)


@both
def test_a_ragged_batch_equals_one_image_at_a_time(backend: str) -> None:
    """B6. Images of a batch stand at different positions after the first iteration; alone, each gets the same
    tokens."""
    decoder = Decoder(MODELS["3x4"], POLICIES["coupled"], 3, backend)
    seed = torch.arange(40) - 20
    together, _ = decoder(seed)
    assert torch.equal(torch.cat([decoder(s[None])[0] for s in seed]), together)


# traps: decoders that look right. Each must be found, or the tests above prove nothing.


def trapped(decoder: Decoder) -> None:
    p = p_value(decoder(images(BEST))[0], decoder.model.joint(), decoder.model.K)
    assert p < TRAPPED, f"the test does not see this mistake: p = {p}"


def with_residual(weight_of, stream: int, stop_epoch: int | None = None):
    """verify_accept whose first rejected slot is redrawn from ``weight_of(p, q)`` by ``stream``."""

    def verify(draft, p, q, seed, pos, fresh, epoch, *, forced, done, accept, redraw, backend):
        n, tokens, ratio = verify_accept(
            draft,
            p,
            q,
            seed,
            pos,
            fresh,
            epoch,
            forced=forced,
            done=done,
            accept=accept,
            redraw=redraw,
            backend=backend,
        )
        at = torch.full_like(seed, epoch if stop_epoch is None else stop_epoch)
        words = rng.words(seed[:, None], pos[:, None] + torch.arange(draft.shape[1]), stream, at[:, None], p.shape[-1])
        wrong = rng.race(weight_of(p, q), words)
        first = (torch.arange(draft.shape[1]) == n[:, None]) & (draft >= 0)
        return n, torch.where(first, wrong, tokens), ratio

    return verify


def test_trap_residual_from_p() -> None:
    """Resampling from P instead of the residual (total variation about 0.1)."""
    verify = with_residual(lambda p, q: p, rng.STREAM_RESIDUAL)
    for name in ("sjd", "coupled"):
        trapped(Decoder(MODELS["3x4"], POLICIES[name], 4, verify=verify))


def test_trap_old_q_for_kept_drafts() -> None:
    """Under coupling a kept draft has the law P by now; carrying its old Q along is not lossless (total variation
    0.03-0.06)."""

    def old_q(p: Tensor, q: Tensor, draft: Tensor, tokens: Tensor) -> Tensor:
        return torch.where((tokens == draft)[..., None], q, p)

    trapped(Decoder(MODELS["3x4"], POLICIES["coupled"], 4, carry_q=old_q))


def test_trap_residual_shares_the_noise_of_the_draft() -> None:
    """B3. Stream 0 again for the residual, with drafts coupled across iterations; needs more than 3 symbols to show."""
    verify = with_residual(lambda p, q: (p - q).clamp(min=0), rng.STREAM_DRAFT, stop_epoch=0)
    trapped(Decoder(MODELS["6x3"], POLICIES["gumbel"], 3, start="none", verify=verify))


def test_trap_match_with_a_residual() -> None:
    """Under match the fresh sample itself must be committed; a residual in its place is biased."""
    verify = with_residual(lambda p, q: (p - q).clamp(min=0), rng.STREAM_RESIDUAL)
    trapped(Decoder(MODELS["3x4"], POLICIES["jacobi"], 4, verify=verify))


def test_trap_soft_q_for_a_fixed_draft() -> None:
    """B1. A deterministic draft whose q is said to be uniform: the ratio test then accepts it too often."""
    for name in ("sjd", "coupled"):
        trapped(Decoder(MODELS["3x4"], POLICIES[name], 4, start="soft"))


def test_trap_accept_uniform_used_again() -> None:
    """B4. The accept uniform (stream 1) as the threshold of an inverse-CDF residual: given a rejection it is not
    uniform."""

    def verify(draft, p, q, seed, pos, fresh, epoch, *, forced, done, accept, redraw, backend):
        n, tokens, ratio = verify_accept(
            draft,
            p,
            q,
            seed,
            pos,
            fresh,
            epoch,
            forced=forced,
            done=done,
            accept=accept,
            redraw=redraw,
            backend=backend,
        )
        slots = pos[:, None] + torch.arange(draft.shape[1])
        u = rng.uniform(rng.words(seed[:, None], slots, rng.STREAM_ACCEPT, torch.full_like(slots, epoch), 1))
        cdf = (p - q).clamp(min=0).cumsum(-1)
        wrong = (cdf < u * cdf[..., -1:]).sum(-1).clamp(max=p.shape[-1] - 1)
        first = (torch.arange(draft.shape[1]) == n[:, None]) & (draft >= 0)
        return n, torch.where(first, wrong, tokens), ratio

    trapped(Decoder(MODELS["6x3"], POLICIES["sjd"], 3, verify=verify))
