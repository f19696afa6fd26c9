"""Every lossless policy against enumeration on a model that is a table, where a noisy position is a mixture of codes:
many pictures, so small mistakes show. The decoder is the real one, with guidance, temperature and a grid.

Power: a wrong law p' is found with probability 0.99 when B sum((p' - p)^2 / p) >= 101 (64 cells, p < 1e-4) or 170 (256
cells), which at B = 2^14 is a total variation of at most 0.040 or 0.051. Draws depend on the seeds alone, so no run
fails by chance. Every trap below, a small change that has been made or proposed somewhere, is found with p < 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from _chains import p_value
from scipy import stats
from sjd2 import decoder as decoder_module
from sjd2 import shadow as shadow_rows
from sjd2 import window as window_module
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import Policy, get_policy
from table_backbone import Table
from torch import Tensor

B, PASS, TRAPPED = 2**14, 1e-4, 1e-12
SAMPLING = Sampling(guidance=1.2, temperature=1.1)
OPERATORS = ("process_logits", "verify_accept", "commit", "noise_mix", "noise_embed", "nearest_token")
# codes, width, height, window: the traps show where the laws of neighbouring prefixes differ much
SHAPES = {"long": (2, 6, 1, 6), "wide": (4, 4, 1, 4)}


@cache
def model(shape: str) -> tuple[Table, np.ndarray]:
    V, width, height, _ = SHAPES[shape]
    made = Table(V, width, height, seed={"long": 3, "wide": 0}[shape])
    return made, made.joint("a", SAMPLING.guidance, SAMPLING.temperature).numpy()


def decode(shape: str, policy: str | Policy, **options: Any) -> tuple[Decoder, float]:
    """B pictures, and the p-value of their counts."""
    table, joint = model(shape)
    made = Decoder(
        table, get_policy(policy, **options), table.encode(["a"]) * B, [table.grid()] * B, range(B),
        L=SHAPES[shape][3], denoise_steps=2, sampling=SAMPLING,
    )  # fmt: skip
    made.run()
    assert not bool(made.window.status.any())
    return made, p_value(table.codes(made.window.out, table.grid()).flatten(1), joint, table.V)


def test_power() -> None:
    """The numbers of the docstring."""
    for shape, needed, variation in (("long", 101, 0.040), ("wide", 170, 0.051)):
        cells = len(model(shape)[1])
        assert model(shape)[1].sum() == pytest.approx(1)
        assert stats.ncx2.sf(stats.chi2.isf(PASS, cells - 1), cells - 1, needed) == pytest.approx(0.99, abs=0.005)
        assert 0.5 * (needed / B) ** 0.5 < variation  # sum |p' - p| <= sqrt(sum (p' - p)^2 / p)


LOSSLESS: list[tuple[str, str, dict[str, Any]]] = [
    ("long", "ar", {}),
    ("long", "jacobi", {}),
    ("long", "match", {}),
    ("long", "sjd", {}),
    ("long", "sjd", {"initial": "left", "draft_epoch": "fixed", "verify_epoch": "fixed"}),
    ("long", "gumbel", {"initial": "left"}),
    ("long", "coupled", {}),
    ("wide", "coupled", {"initial": "left", "draft_epoch": "fixed"}),
    ("long", "sjd2-exact", {}),
    ("wide", "sjd2-exact", {"levels": 3}),
    ("long", "sjd2-exact", {"redraw": "fresh", "levels": 2, "refeed": 3}),
    ("wide", "sjd2-exact", {"shadow": 3}),
    ("long", "sjd2-exact", {"shadow": 1, "levels": 2}),
]


@pytest.mark.parametrize(("shape", "policy", "options"), LOSSLESS)
def test_lossless(shape: str, policy: str, options: dict[str, Any]) -> None:
    made, p = decode(shape, policy, **options)
    assert made.policy.lossless
    assert p > PASS
    assert (made.window.epoch < made.window.N).any() == (policy != "ar")


@pytest.mark.parametrize(
    ("policy", "options"),
    [("sjd2", {}), ("sjd2", {"accept": "pure"}), ("sjd++", {}), ("coupled", {"verify_epoch": "fixed"})],
)
def test_lossy_ones_say_so(policy: str, options: dict[str, Any]) -> None:
    """The last one couples with the same uniforms in every iteration."""
    made, p = decode("long", policy, **options)
    assert not made.policy.lossless
    assert p < TRAPPED


# traps of sjd2-exact


def replace_operators(monkeypatch: pytest.MonkeyPatch, module: Any, **changed: Callable[..., Any]) -> None:
    held = {name: getattr(torch.ops.sjd2, name) for name in OPERATORS}
    monkeypatch.setattr(module, "ops", SimpleNamespace(**{**held, **changed}))


def test_trap_shadow_draft_under_the_plain_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens coupled to p', but q := p."""
    choose = shadow_rows.choose

    def wrong(*args: Tensor) -> tuple[Tensor, Tensor]:
        tokens, left = choose(*args)
        return tokens, torch.ones_like(left)

    monkeypatch.setattr(shadow_rows, "choose", wrong)
    assert decode("wide", "sjd2-exact", shadow=3)[1] < TRAPPED


def test_trap_commit_behind_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A noisy slot counts as accepted, so slots behind it are committed whose laws saw noise in its place. With one
    re-feed row the cap of `commit` would cut them off."""

    def verify(
        draft: Tensor, p: Tensor, q: Tensor, seed: Tensor, pos: Tensor, fresh: Tensor, *rest: Any, **kw: Any
    ) -> Any:
        noisy = draft < 0
        draft, q = torch.where(noisy, fresh, draft), torch.where(noisy[..., None], p, q)
        return torch.ops.sjd2.verify_accept(draft, p, q, seed, pos, fresh, *rest, **kw)

    replace_operators(monkeypatch, decoder_module, verify_accept=verify)
    assert decode("long", "sjd2-exact", refeed=6)[1] < TRAPPED


def becoming_clean(monkeypatch: pytest.MonkeyPatch, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Noisy slots turn clean, with their draw as draft and q := p, where ``rule(p, draw, draw before)`` says so."""
    laws: list[Tensor] = []
    before = torch.full((B, 30), -1)

    def process(*args: Any) -> Any:
        out = torch.ops.sjd2.process_logits(*args)
        laws[:] = [out[0]]
        return out

    def mix(state: Tensor, level: Tensor, tokens: Tensor, fresh: Tensor, shift: Tensor, *args: Any) -> Any:
        if laws:
            place = (args[5] - shift)[:, None] + torch.arange(level.shape[1])
            turns = rule(laws[0], fresh.clamp(0, laws[0].shape[-1] - 1), before.gather(1, place))
            before.scatter_(1, place, fresh)
            level = torch.where(level > 0, 2 - turns.int(), 0)
        return torch.ops.sjd2.noise_mix(state, level, tokens, fresh, shift, *args)

    replace_operators(monkeypatch, decoder_module, process_logits=process)
    replace_operators(monkeypatch, window_module, noise_mix=mix)


def test_trap_clean_when_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law of a draft that was drawn twice is p p' / Z, not p."""
    becoming_clean(monkeypatch, lambda p, fresh, before: fresh == before)
    assert decode("long", "sjd2-exact", levels=2)[1] < TRAPPED


def test_trap_clean_when_the_draw_is_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the draft's law is the truncated p."""
    becoming_clean(monkeypatch, lambda p, fresh, before: p.gather(-1, fresh[..., None])[..., 0] > 0.4)
    assert decode("long", "sjd2-exact", levels=2)[1] < TRAPPED


def test_what_depends_on_the_left_context_only_may_choose_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machinery, but clean where the law itself is sharp: exact, and another course than without the rule."""
    plain, _ = decode("long", "sjd2-exact", levels=2)
    becoming_clean(monkeypatch, lambda p, fresh, before: p.amax(-1) > 0.7)
    made, p = decode("long", "sjd2-exact", levels=2)
    assert p > PASS
    assert not torch.equal(made.window.epoch, plain.window.epoch)
