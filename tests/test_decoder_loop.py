"""The loop itself: match against ar, ragged batches, the end of the picture, the cache, faults in one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sjd2.backbones.base import Attend, Prompt
from sjd2.decoder import Decoder, Sampling
from sjd2.grid import raster
from sjd2.policies import POLICIES, get_policy
from torch import Tensor
from toy_backbone import Toy

PROMPTS = ["ab", "a longer one", "", "xyz", "ab"]
SEEDS = [5, 6, 7, -1, 2**63 + 11]
GUIDED = Sampling(guidance=2.0, temperature=0.8, top_k=4, top_p=0.97)


def decoder(
    model: Toy,
    policy: str,
    which: Sequence[int] = range(5),
    L: int = 5,
    sizes: Sequence[tuple[int, int]] | None = None,
    sampling: Sampling = GUIDED,
    **options: Any,
) -> Decoder:
    prompts = model.encode([PROMPTS[i] for i in which])
    grids = [model.grid(sizes[i] if sizes else (4, 2)) for i in which]
    seeds = [SEEDS[i] for i in which]
    policy_ = get_policy(policy, **options)
    return Decoder(model, policy_, prompts, grids, seeds, L=L, denoise_steps=3, sampling=sampling)


def tokens(model: Toy, policy: str, *args: Any, **kwargs: Any) -> Tensor:
    made = decoder(model, policy, *args, **kwargs)
    made.run()
    return made.window.out


def test_ar_is_one_token_per_step_and_incremental_equals_full_recomputation() -> None:
    """Greedy, so that any difference in the logits shows as a token; every prefix is recomputed from scratch."""
    model = Toy()
    made = decoder(model, "ar", sampling=Sampling(guidance=2.0, temperature=0.0))
    made.run()
    grid = model.grid()
    assert made.window.epoch.tolist() == [grid.n_tokens] * 5
    for b, prompt in enumerate(made.prompts):
        assert prompt.uncond is not None
        for i in range(grid.n_tokens):
            if grid.forced[i] >= 0:
                expected = int(model.ids[grid.forced[i]])
            else:
                done = made.window.out[b, :i]
                cond, uncond = (
                    model.next_logits(torch.cat([torch.tensor(row), done])[None])[0, -1]
                    for row in (prompt.cond, prompt.uncond)
                )
                expected = int(model.ids[(uncond + 2.0 * (cond - uncond)).argmax()])
            assert made.window.out[b, i] == expected


def test_match_equals_ar_for_every_window_and_batch() -> None:
    model = Toy()
    expected = tokens(model, "ar")
    N = expected.shape[1]
    for L in (*range(1, N + 1), N + 7):
        assert torch.equal(tokens(model, "match", L=L), expected)
    for initial in ("left", "above"):
        assert torch.equal(tokens(model, "match", L=6, initial=initial), expected)
    for which in ([0], [3, 1], [4, 2, 0, 1]):
        assert torch.equal(tokens(model, "match", which, L=6), expected[which])


@pytest.mark.parametrize(
    ("policy", "options"),
    [*((name, {}) for name in POLICIES), ("sjd2-exact", {"shadow": 3}), ("sjd", {"initial": "above"})],
)
def test_an_image_is_the_same_alone_and_in_any_ragged_batch(policy: str, options: dict[str, Any]) -> None:
    """Different prompts, seeds and picture sizes; images finish at different steps."""
    model = Toy()
    sizes = [(4, 2), (2, 3), (5, 1), (3, 3), (4, 2)]
    together = decoder(model, policy, sizes=sizes, **options)
    together.run()
    w = together.window
    for b in range(5):
        alone = decoder(model, policy, [b], sizes=sizes, **options)
        alone.run()
        n = int(w.n_tokens[b])
        assert torch.equal(w.out[b, :n], alone.window.out[0, :n])
        assert (w.out[b, n:] == -1).all()
        assert w.epoch[b] == alone.window.epoch[0]
        assert torch.equal(w.accepted[b, :n], alone.window.accepted[0, :n])
        assert int(w.accepted[b].sum()) == n


def test_forced_positions_hold_their_token_and_free_ones_an_image_token() -> None:
    model, grid = Toy(), Toy().grid()
    for name in POLICIES:
        out = tokens(model, name)
        local = out - int(model.ids[0])
        assert torch.equal(local[:, grid.forced >= 0], grid.forced[grid.forced >= 0].expand(5, -1))
        assert (local[:, grid.forced < 0] < model.V).all()
        assert (local >= 0).all()


def test_rejected_keys_are_gone() -> None:
    """What the cache holds before kv_len is what a clean forward over the committed tokens computes (B16)."""
    model = Toy()
    for name in ("sjd", "coupled", "sjd2", "sjd2-exact"):
        made = decoder(model, name)
        made.prefill()
        for _ in range(4):
            made.step()
        w = made.window
        for b, prompt in enumerate(made.prompts):
            for r, row in ((b, prompt.cond), (b + 5, prompt.uncond)):
                n = int(w.kv_len[r])
                ids = torch.cat([torch.tensor(row), w.out[b, : w.pos[b]]])[None, :n]
                k, v = (torch.full_like(made.k_cache[:, :1], torch.nan) for _ in range(2))
                zero = torch.zeros(1, dtype=torch.int32)
                model.forward(model.rows(ids), torch.arange(n)[None], Attend(k, v, zero, zero))
                torch.testing.assert_close(made.k_cache[:, r, :, :n], k[:, 0, :, :n], rtol=1e-12, atol=1e-12)
                torch.testing.assert_close(made.v_cache[:, r, :, :n], v[:, 0, :, :n], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_lies_beyond_a_rows_length_is_never_read(policy: str) -> None:
    """B16: keys and values of rejected drafts are poisoned before every step; the pictures do not notice."""
    model = Toy()
    expected = tokens(model, policy)
    made = decoder(model, policy)
    step = made.step

    def poisoned() -> None:
        for row, n in enumerate(made.window.kv_len.tolist()):
            made.k_cache[:, row, :, n:] = torch.nan
            made.v_cache[:, row, :, n:] = torch.nan
        step()

    made.step = poisoned  # type: ignore[method-assign]
    made.run()
    assert torch.equal(made.window.out, expected)
    assert not bool(made.window.status.any())


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "ar"])
def test_the_parallel_phase_runs_to_the_last_token(policy: str) -> None:
    """B17: the tail of forced tokens is committed in one step at every offset in the window, and never one by one."""
    model = Toy()
    tail = [model.V + 2, model.V + 1, model.V + 2, model.V]
    for L in (1, 2, 3, 4, 5, 9):
        grids = [raster(1, width, (width, 1), tail=tail) for width in range(1, 8)]
        prompts = model.encode(["ab"] * len(grids))
        made = Decoder(
            model, get_policy(policy), prompts, grids, range(len(grids)), L=L, denoise_steps=2, sampling=GUIDED
        )
        made.run()
        w = made.window
        for b, grid in enumerate(grids):
            assert torch.equal(w.out[b, grid.width : grid.n_tokens], model.ids[torch.tensor(tail)])
            end = 0
            for chunk in w.accepted[b, : int(w.epoch[b])].tolist():
                end += chunk
                assert chunk == L or not grid.width < end < grid.n_tokens  # inside the tail only the window's end stops


class Faulty(Toy):
    """NaN in the hidden states of one image from a certain forward pass on."""

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        hidden = super().forward(rows, positions, attend)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 3:
            hidden[1] = torch.nan
        return hidden


@pytest.mark.parametrize("policy", ["ar", "coupled", "sjd2", "sjd2-exact"])
def test_nan_in_one_image_is_reported_and_the_others_finish(policy: str) -> None:
    expected = tokens(Toy(), policy)
    made = decoder(Faulty(), policy)
    made.run()
    assert made.window.status.tolist() == [0, 1, 0, 0, 0]
    others = [0, 2, 3, 4]
    assert torch.equal(made.window.out[others], expected[others])
    assert bool(made.window.done.all())


def test_committed_tokens_are_reported_and_no_others() -> None:
    """NaN behind a draft that is then rejected is nobody's business; +inf in the middle of a chunk is."""

    class Touchy(Toy):
        """NaN in the law of slot 3 in the first step, which does not commit that far."""

        def head(self, hidden: Tensor) -> Tensor:
            logits = super().head(hidden)
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 1:
                logits[1::5, 3] = torch.nan
            return logits

    class Second(Toy):
        """+inf in the law of every second slot: seen only where more than one token is committed."""

        def head(self, hidden: Tensor) -> Tensor:
            logits = super().head(hidden)
            logits[1::5, 1] = torch.inf
            return logits

    made = decoder(Second(), "coupled", sampling=Sampling(guidance=2.0))
    made.run()
    assert int(made.window.accepted[1].max()) > 1
    assert made.window.status[[0, 2, 3, 4]].tolist() == [0] * 4
    assert int(made.window.status[1]) > 0
    made = decoder(Touchy(), "sjd")
    made.prefill()
    made.step()
    assert int(made.window.accepted[1, 0]) < 4
    assert int(made.window.forced_line[1, 3]) < 0
    assert made.window.status.tolist() == [0] * 5
    made.run()
    assert made.window.status.tolist() == [0] * 5


def test_callback_sees_the_tokens_grow_one_step_late() -> None:
    seen: list[tuple[int, list[int]]] = []
    made = decoder(Toy(), "coupled")
    made.run(progress=lambda steps, committed: seen.append((steps, committed)))
    assert [steps for steps, _ in seen] == list(range(2, len(seen) + 2))
    total = [sum(committed) for _, committed in seen]
    assert total == sorted(total)
    assert seen[-1][1] == made.window.n_tokens.tolist()
    assert len(seen) == int(made.window.epoch.max())


def test_bad_requests_say_what_to_do() -> None:
    model = Toy(max_positions=20)
    with pytest.raises(
        ValueError, match=r"prompt 1 is too long: 13 tokens and 11 .* 20 positions of toy; .* by 4 tokens"
    ):
        decoder(model, "sjd")
    grid, prompt = model.grid(), Prompt((1, 2), (1, 2))
    with pytest.raises(ValueError, match="prompt 0 must have at least one token in each of its 2 rows"):
        Decoder(model, get_policy("sjd"), [Prompt((1, 2))], [grid], [0], L=4, sampling=GUIDED)
    with pytest.raises(ValueError, match="one per image, at least one image; got 1, 1, 2"):
        Decoder(model, get_policy("sjd"), [prompt], [grid], [0, 1], L=4)
    with pytest.raises(ValueError, match="L must be at least 1 slot, got 0"):
        Decoder(model, get_policy("sjd"), [prompt], [grid], [0], L=0)
    with pytest.raises(ValueError, match="graph=True needs a CUDA device, the model is on cpu"):
        decoder(Toy(), "sjd").run(graph=True)


def test_prompt_rows_may_end_in_different_tokens() -> None:
    """Class-conditional models: the class against the null class. Greedy, against full recomputation."""
    model, grid = Toy(), Toy().grid()
    prompts = [Prompt((11, 12), (13,)), Prompt((14,), (13,)), Prompt((12, 13), (13,))]
    for policy in ("ar", "coupled", "sjd2-exact"):
        sampling = Sampling(guidance=2.0, temperature=0.0)
        made = Decoder(model, get_policy(policy), prompts, [grid] * 3, SEEDS[:3], L=4, sampling=sampling)
        made.run()
        for b, prompt in enumerate(prompts):
            assert prompt.uncond is not None
            cond, uncond = (
                model.next_logits(torch.cat([torch.tensor(row), made.window.out[b]])[None])[0, len(row) - 1 : -1]
                for row in (prompt.cond, prompt.uncond)
            )
            expected = torch.where(grid.forced >= 0, grid.forced, (uncond + 2.0 * (cond - uncond)).argmax(-1))
            assert torch.equal(made.window.out[b], model.ids[expected])


@pytest.mark.parametrize("policy", ["ar", "coupled", "sjd2", "match"])
def test_a_stop_token_ends_an_image_wherever_it_stands_in_the_chunk(policy: str) -> None:
    model = Toy()
    prompts, grid = model.encode(PROMPTS), model.grid((9, 2))
    runs = []
    for stop_ids in ((), (int(model.ids[0]), int(model.ids[1]))):
        made = Decoder(
            model,
            get_policy(policy),
            prompts,
            [grid] * 5,
            SEEDS,
            L=5,
            denoise_steps=2,
            sampling=GUIDED,
            stop_ids=stop_ids,
        )
        made.run()
        runs.append(made.window)
    free, stopped = runs
    lengths = []
    for b in range(5):
        hits = torch.isin(free.out[b], model.ids[:2]).nonzero().flatten().tolist()
        lengths.append(hits[0] + 1 if hits else made.window.N)
        assert torch.equal(stopped.out[b, : lengths[b]], free.out[b, : lengths[b]])
    assert stopped.n_tokens.tolist() == lengths
    assert min(lengths) < made.window.N
