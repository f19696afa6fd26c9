"""Noise in the window: the one-position offset, timesteps, re-feeding, and what is left of sjd2 without noise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sjd2.backbones.base import Attend
from sjd2.decoder import Decoder, Sampling
from sjd2.grid import raster
from sjd2.policies import POLICIES, get_policy
from sjd2.schedule import SPACINGS, time_grid
from torch import Tensor
from toy_backbone import Toy

TIMES = time_grid(3)


def decoder(model: Toy, policy: str, L: int = 6, size: tuple[int, int] = (4, 5), **options: Any) -> Decoder:
    prompts, grid = model.encode(["ab", "hello", ""]), model.grid(size)
    sampling = Sampling(guidance=2.0)
    return Decoder(
        model, get_policy(policy, **options), prompts, [grid] * 3, [1, 2, 3], L=L, denoise_steps=3, sampling=sampling
    )


class Counter(Toy):
    """Its row at position i says with certainty: the next token is number i + 1 - prompt length, mod V."""

    prompt = 3

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return (positions[..., None] + 1 - self.prompt).to(rows.dtype).expand(rows.shape)

    def head(self, hidden: Tensor) -> Tensor:
        wanted = hidden[..., :1].round().long() % self.V
        return 100.0 * (torch.arange(self.V) == wanted).to(hidden.dtype)


@pytest.mark.parametrize("policy", POLICIES)
def test_slot_j_is_refined_by_the_row_before_it(policy: str) -> None:
    """The one-position offset: with a model that knows the index, every token is its index, whatever the policy."""
    model = Counter()
    grid = raster(1, 17, (17, 1))
    made = Decoder(
        model, get_policy(policy), model.encode(["ab"], guidance=False), [grid], [4], L=6, denoise_steps=3
    )  # fmt: skip
    made.prefill()
    for _ in range(3):
        made.step()
    w = made.window
    index = (int(w.pos) + w.slot) % model.V
    known = (w.draft[0] >= 0) & (w.slot < made.L - int(w.accepted[0, int(w.epoch) - 1]))  # carried over
    if w.level is not None:
        known = known & (w.level[0] == 0)
    assert torch.equal(w.draft[0][known], index[known])
    made.run()
    assert torch.equal(w.out[0], model.ids[torch.arange(17) % model.V])


def test_a_noisy_slot_moves_toward_the_prediction_of_the_row_before_it() -> None:
    model = Counter()
    grid = raster(1, 17, (17, 1))
    made = Decoder(model, get_policy("sjd2"), model.encode(["ab"], guidance=False), [grid], [4], L=6, denoise_steps=3)
    made.prefill()
    before = made.window.state.clone()
    made.step()
    w = made.window
    n = int(w.pos)
    kept = slice(0, 6 - n)
    a = float(TIMES[2] / TIMES[3])
    target = model.table[(n + w.slot) % model.V].double()
    torch.testing.assert_close(w.state[0, kept], a * before[0, n:] + (1 - a) * target[kept], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("sjd2", {"refeed": 1}),
        ("sjd2", {"refeed": 4}),
        ("sjd2", {"refeed": 16}),
        ("sjd2", {"refeed": 16, "accept": "pure"}),
        ("sjd2", {"refeed": 4, "draft": "sampled"}),
        ("sjd2-exact", {}),
        ("coupled", {}),
    ],
)
def test_every_row_equals_recomputing_the_whole_sequence(policy: str, options: dict[str, Any]) -> None:
    """Re-feeding and timestep keys against one forward over prompt, clean committed tokens and window, with explicit
    timestep rows and an explicit mask; in every step until all are done."""
    model = Toy(layers=2)
    made = decoder(model, policy, **options)
    A, L, w = made.policy.refeed, made.L, made.window
    made.prefill()
    noisy = 0
    while not bool(w.done.all()):
        rows, positions, attend = made.feed()
        attend.k_cache, attend.v_cache = made.k_cache.clone(), made.v_cache.clone()
        hidden = model.forward(rows, positions, attend)[:, A - 1 :]
        for b in range(3):
            if bool(w.done[b]):
                continue
            inside = min(L - 1, int(w.n_tokens[b] - w.pos[b]))
            for r, row in ((b, made.prompts[b].cond), (b + 3, made.prompts[b].uncond)):
                clean = model.rows(torch.cat([torch.tensor(row), w.out[b, : w.pos[b]]]))
                level = torch.zeros(len(clean) + inside, dtype=torch.int32)
                if w.level is not None:
                    level[len(clean) :] = w.level[b, :inside]
                    noisy += int((level > 0).sum())
                whole = model.recompute(torch.cat([clean, w.rows[b, :inside]])[None], level, w.times)
                torch.testing.assert_close(hidden[r, : inside + 1], whole[0, len(clean) - 1 :], rtol=1e-10, atol=1e-10)
        made.step()
    assert (noisy > 50) == made.policy.noisy
    assert torch.equal(w.pos, w.n_tokens)


def test_more_refeed_rows_commit_no_less() -> None:
    """A = 1 cuts commits behind noisy slots short; at A >= L nothing is cut, and more rows change nothing."""
    model = Toy(sharpness=0.4)
    made = {A: decoder(model, "sjd2", refeed=A) for A in (1, 6, 16)}
    for each in made.values():
        each.run()
    steps = {A: int(each.window.epoch.sum()) for A, each in made.items()}
    assert steps[1] > steps[6] == steps[16]
    assert torch.equal(made[6].window.out, made[16].window.out)


def test_sjd2_with_all_slots_clean_is_the_keep_rule() -> None:
    """One step from the same state: the tokens committed, the drafts carried over and their laws are those of sjd++."""
    model = Toy(sharpness=0.8)
    plain, noisy = decoder(model, "sjd++"), decoder(model, "sjd2", refeed=1)
    plain.prefill()
    moved = 0
    for _ in range(6):
        noisy.k_cache.copy_(plain.k_cache)
        noisy.v_cache.copy_(plain.v_cache)
        w, other = plain.window, noisy.window
        names = ("draft", "forced", "rows", "q", "pos", "epoch", "done", "kv_len", "q_start", "refeed", "out")
        for name in names:
            getattr(other, name).copy_(getattr(w, name))
        other.level.zero_()
        other.state.copy_(w.rows)
        before = w.pos.clone()
        plain.step()
        noisy.step()
        for name in ("pos", "epoch", "done", "kv_len", "q_start", "refeed", "out", "forced"):
            assert torch.equal(getattr(other, name), getattr(w, name)), name
        for b, n in enumerate((w.pos - before).tolist()):
            carried = slice(0, plain.L - n)
            moved += plain.L - n
            assert torch.equal(other.draft[b, carried], w.draft[b, carried])
            assert torch.equal(other.q[b, carried], w.q[b, carried])
            inside = w.draft[b, carried] >= 0
            assert torch.equal(other.rows[b, carried][inside], w.rows[b, carried][inside])
    assert moved > 20


def test_pure_acceptance_takes_at_most_its_share_and_only_clean_slots() -> None:
    made = decoder(Toy(), "sjd2", L=7, accept="pure")
    made.prefill()
    share, w = math.ceil(7 / 3), made.window
    while not bool(w.done.all()):
        run = (w.level == 0).int().cumprod(-1).sum(-1)
        left, draft, before = w.n_tokens - w.pos, w.draft.clone(), w.pos.clone()
        made.step()
        n = w.pos - before
        assert torch.equal(n, torch.minimum(run.clamp(1, share), left) * (left > 0))
        for b in range(3):
            take = min(int(n[b]), int(run[b]))
            start = int(before[b])
            assert torch.equal(w.out[b, start : start + take], made.backbone.ids[draft[b, :take]])


def test_sampled_drafts_are_the_predictions_and_their_laws() -> None:
    """draft="sampled": a noisy slot that is carried over is judged by what it was denoised toward, drawn from its q. At
    a rejection of such a slot the residual is sound; nearest drafts, which no q drew, take a fresh draw instead."""
    made = decoder(Toy(sharpness=0.5), "sjd2", draft="sampled")
    made.prefill()
    w, seen, noisy_residuals = made.window, [], 0
    advance = w.advance

    def watch(p: Tensor, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor) -> None:
        seen[:] = [p.clone(), tokens.clone(), fresh.clone(), accept_len.clone(), w.level.clone(), w.draft.clone()]
        advance(p, tokens, fresh, accept_len, n_commit)

    w.advance = watch  # type: ignore[method-assign]
    judged = 0
    while not bool(w.done.all()):
        before = w.pos.clone()
        active = w.done == 0
        made.step()
        p, tokens, fresh, accept_len, level, draft = seen
        for b, n in enumerate((w.pos - before).tolist()):
            if not bool(active[b]):
                continue
            carried = slice(0, made.L - n)
            still = w.level[b, carried] > 0
            assert torch.equal(w.draft[b, carried][still], fresh[b, n:][still])
            assert torch.equal(w.q[b, carried], p[b, n:])
            judged += int(still.sum())
            f = int(accept_len[b])
            if f < made.L and level[b, f] > 0 and draft[b, f] >= 0:
                assert tokens[b, f] != draft[b, f]
                noisy_residuals += int(tokens[b, f] != fresh[b, f])
    assert judged > 30
    assert noisy_residuals > 0
    assert (w.out >= 0).all()


def test_nearest_drafts_are_the_nearest_codes_of_the_state() -> None:
    """And where one is rejected, a fresh draw takes its place: no law drew it, so there is no residual."""
    made = decoder(Toy(), "sjd2")
    made.prefill()
    w, compared, rejected = made.window, 0, 0
    advance = w.advance

    def watch(p: Tensor, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor) -> None:
        nonlocal rejected
        for b, f in enumerate(accept_len.tolist()):
            if f < made.L and w.level[b, f] > 0 and not bool(w.done[b]):
                assert tokens[b, f] == fresh[b, f]
                rejected += int(w.draft[b, f] >= 0)
        advance(p, tokens, fresh, accept_len, n_commit)

    w.advance = watch  # type: ignore[method-assign]
    table = (made.backbone.table[:5].double() - made.backbone.mean) / made.backbone.std
    while not bool(w.done.all()):
        for b, j in ((w.level > 0) & (w.draft >= 0)).nonzero().tolist():
            e = (w.state[b, j] - made.backbone.mean) / made.backbone.std
            assert int(w.draft[b, j]) == int(torch.nn.functional.cosine_similarity(e, table, -1).argmax())
            compared += 1
        made.step()
    assert compared > 50
    assert rejected > 3


def test_new_slots_of_sjd2_exact_are_noise_for_one_iteration() -> None:
    made = decoder(Toy(), "sjd2-exact")
    made.prefill()
    w = made.window
    fed_noisy: set[tuple[int, int]] = set()
    while not bool(w.done.all()):
        for b, j in (w.level > 0).nonzero().tolist():
            slot = (b, int(w.pos[b]) + j)
            assert slot not in fed_noisy
            assert w.draft[b, j] == -1
            fed_noisy.add(slot)
        made.step()
    assert len(fed_noisy) > 30


def test_a_shadow_row_is_the_noise_that_its_position_entered_with() -> None:
    made = decoder(Toy(), "sjd2-exact", shadow=4)
    made.prefill()
    w, entered, compared = made.window, dict[tuple[int, int], Tensor](), 0
    while not bool(w.done.all()):
        for b, j in (w.level > 0).nonzero().tolist():
            entered.setdefault((b, int(w.pos[b]) + j), w.rows[b, j].clone())
        shadow = made.feed()[0][:3, -4:]
        for b in range(3):
            for j in range(4):
                noise = entered.get((b, int(w.pos[b]) + j))
                if noise is not None:
                    assert torch.equal(shadow[b, j], noise)
                    compared += 1
        made.step()
    assert compared > 60


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_users_steps_and_spacing_make_the_time_grid(spacing: str) -> None:
    model, prompts = Toy(), Toy().encode(["a"])
    for policy, T in (("sjd2", 4), ("sjd2-exact", 1)):
        made = Decoder(
            model, get_policy(policy), prompts, [model.grid()], [1], L=4, denoise_steps=4, spacing=spacing,
            sampling=Sampling(2.0),
        )  # fmt: skip
        assert torch.equal(made.window.times, time_grid(T, spacing))
        assert int(made.window.level.max()) == T
        expected = model.timestep_kv(time_grid(T, spacing))
        assert all(torch.equal(*pair) for pair in zip(made.time_k, expected[0], strict=True))


def test_shadow_rows_change_drafts_only() -> None:
    """They are seen by none: the laws of the window rows, and so the first commits, are those without them."""
    model = Toy()
    plain, shadow = decoder(model, "sjd2-exact"), decoder(model, "sjd2-exact", shadow=4)
    for made in (plain, shadow):
        made.prefill()
        for _ in range(3):
            made.step()
    assert torch.equal(plain.window.accepted[:, :2], shadow.window.accepted[:, :2])
    rows, positions, attend = shadow.feed()
    assert rows.shape[1] == 1 + 5 + 4
    assert (attend.level[:, -4:] == made.T).all()
    assert torch.equal(positions[:, -4:], positions[:, 1:5])
    assert torch.equal(rows[:, -4:], rows[3:].repeat(2, 1, 1)[:, -4:])  # both guidance rows see the same noise
