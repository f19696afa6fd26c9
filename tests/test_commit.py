"""commit: against a simulation that owns a real cache, token by token, and both backends bit for bit on any state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _commit_cases import Decoder, V
from _noise_cases import assert_fake_matches, assert_same, generator, layouts, on_backends
from torch import Tensor

import sjd2_kernels

OP = torch.ops.sjd2.commit
STATE = ("out", "pos", "kv_len", "q_start", "refeed", "epoch", "done")


@on_backends
@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize(
    ("A", "L", "G"), [(1, 1, 1), (1, 6, 2), (4, 6, 1), (4, 9, 2), (16, 7, 2), (16, 12, 3), (2, 12, 1)]
)
def test_decoding_with_a_simulated_cache(backend: str, A: int, L: int, G: int, levels: bool) -> None:
    """B5, B16: 60 images decoded to the end; after each step the whole state and every key in every cache are right."""
    decoder = Decoder(B=60, L=L, A=A, G=G, N=25, seed=A + 10 * L + 100 * levels)
    before = decoder.state["pos"].clone()
    for _ in range(200):
        window = decoder.draw(levels)
        active = decoder.state["done"] == 0
        counts, want = decoder.simulate(window)
        n_commit = decoder.call(window, decoder.state, backend)
        assert n_commit.dtype == torch.int32
        assert n_commit.tolist() == counts
        for name in STATE:
            assert_same(decoder.state[name], want[name], name)
        progress = decoder.state["pos"] - before
        assert (progress[active] >= 1).all(), "every step commits a token"
        assert (decoder.state["pos"] <= decoder.limit.clamp(max=decoder.N)).all()
        fed_again = decoder.prompt_len + decoder.state["pos"].repeat(G) - decoder.state["kv_len"]
        assert (fed_again >= 1).all()
        assert (fed_again <= A).all()
        before = decoder.state["pos"].clone()
        if not active.any():
            break
    assert (decoder.state["done"] == 1).all()


def call(
    L: int = 5, A: int = 4, c: int = 3, again: int = 1, prompt: int = 6, N: int = 20, **change: Any
) -> dict[str, Any]:
    """One image in the middle of decoding: c tokens committed, `again` of them fed again in this step, all accepted."""
    tokens = 10 + torch.arange(L)[None]
    out = torch.full((1, N), -5)
    out[0, :c] = torch.arange(c)
    return {
        "tokens": tokens,
        "draft": tokens.clone(),
        "accept_len": torch.tensor([L], dtype=torch.int32),
        "ids": torch.arange(100),
        "prompt_len": torch.tensor([prompt], dtype=torch.int32),
        "n_tokens": torch.tensor([N]),
        "out": out,
        "pos": torch.tensor([c]),
        "kv_len": torch.tensor([prompt + c - again], dtype=torch.int32),
        "q_start": torch.tensor([A - again], dtype=torch.int32),
        "refeed": torch.zeros(1, A, dtype=torch.int64),
        "epoch": torch.tensor([7]),
        "done": torch.tensor([0], dtype=torch.int32),
    } | change


def after(a: dict[str, Any], backend: str) -> dict[str, Any]:
    """The results as Python numbers."""
    n_commit = sjd2_kernels.commit(**a, backend=backend)
    return {"n_commit": n_commit.tolist()} | {name: a[name].tolist() for name in STATE}


@on_backends
def test_all_accepted(backend: str) -> None:
    """No bonus token: L are committed, the last of them is fed again though its key is right."""
    got = after(call(), backend)
    assert got["n_commit"] == [5]
    assert got["out"][0][:9] == [0, 1, 2, 10, 11, 12, 13, 14, -5]
    assert (got["pos"], got["kv_len"], got["q_start"]) == ([8], [6 + 7], [3])
    assert got["refeed"] == [[14, 14, 14, 14]]
    assert (got["epoch"], got["done"]) == ([8], [0])


@on_backends
@pytest.mark.parametrize("n", range(5))
def test_rejection_at_every_slot(backend: str, n: int) -> None:
    """B5: the accepted prefix and the residual token are committed; the residual's key is not in the cache."""
    a = call(accept_len=torch.tensor([n], dtype=torch.int32))
    a["draft"][0, n] = 99
    got = after(a, backend)
    assert got["n_commit"] == [n + 1]
    assert got["out"][0][3 : 4 + n] == list(range(10, 11 + n))
    assert (got["kv_len"], got["q_start"], got["refeed"][0][-1]) == ([6 + 3 + n], [3], 10 + n)


@on_backends
def test_rejected_token_that_equals_its_draft_is_fed_again(backend: str) -> None:
    """accept_len says what is trusted: slot 2 holds its draft by a redraw, its key does not count."""
    got = after(call(accept_len=torch.tensor([2], dtype=torch.int32)), backend)
    assert (got["n_commit"], got["kv_len"], got["q_start"]) == ([3], [6 + 5], [3])


@on_backends
@pytest.mark.parametrize(("A", "committed"), [(1, 2), (2, 3), (4, 5), (16, 5)])
def test_noisy_rows_leave_no_key_and_the_cap_bounds_what_is_fed_again(backend: str, A: int, committed: int) -> None:
    """Slot 1 is noisy: slots from it on are fed again, so with A rows 1 + A tokens can be committed."""
    level = torch.tensor([[0, 3, 0, 0, 0]], dtype=torch.int32)
    a = call(A=A, level=level, q_start=torch.tensor([A - 1], dtype=torch.int32), refeed=torch.zeros(1, A).long())
    got = after(a, backend)
    assert got["n_commit"] == [committed]
    assert got["kv_len"] == [6 + 3 + 1]
    assert got["q_start"] == [A - (committed - 1)]
    again = list(range(11, 10 + committed))
    assert got["refeed"] == [[again[-1]] * (A - len(again)) + again]


@on_backends
def test_tokens_fed_again_become_keys(backend: str) -> None:
    """Three tokens were fed again in front of the window: afterwards their keys count."""
    got = after(call(c=3, again=3), backend)
    assert (got["n_commit"], got["kv_len"], got["q_start"]) == ([5], [6 + 7], [3])


@on_backends
@pytest.mark.parametrize(("limit", "committed"), [(4, 1), (6, 3), (8, 5), (9, 5), (3, 0), (2, 0)])
def test_never_beyond_n_tokens(backend: str, limit: int, committed: int) -> None:
    """B17: the end inside the window; the surplus is dropped, done is set exactly when the count is reached."""
    got = after(call(n_tokens=torch.tensor([limit])), backend)
    assert (got["n_commit"], got["pos"], got["done"]) == ([committed], [3 + committed], [int(3 + committed >= limit)])
    assert got["out"][0][3 + committed :] == [-5] * (17 - committed)


@on_backends
def test_n_tokens_is_read_as_at_most_the_room(backend: str) -> None:
    got = after(call(N=6, n_tokens=torch.tensor([1000])), backend)
    assert (got["n_commit"], got["done"], got["out"]) == ([3], [1], [[0, 1, 2, 10, 11, 12]])


@on_backends
def test_nothing_wanted_leaves_the_prompts_end_to_feed(backend: str) -> None:
    a = call(c=0, n_tokens=torch.tensor([0]), refeed=torch.tensor([[7, 8, 9, 55]]))
    got = after(a, backend)
    assert (got["n_commit"], got["done"], got["refeed"], got["kv_len"]) == ([0], [1], [[7, 8, 9, 55]], [5])


@on_backends
def test_first_step(backend: str) -> None:
    """The state before the first step feeds the prompt's last token; the last committed one takes its place."""
    got = after(call(c=0, refeed=torch.tensor([[0, 0, 0, 55]])), backend)
    assert (got["n_commit"], got["kv_len"], got["q_start"], got["refeed"]) == ([5], [6 + 4], [3], [[14] * 4])


@on_backends
def test_unknown_tokens_are_written_as_minus_one(backend: str) -> None:
    """B15: -1 and ids past the table are never used as an index."""
    tokens = torch.tensor([[-1, 100, 99, -(2**40), 2**40]])
    got = after(call(tokens=tokens, draft=tokens.clone()), backend)
    assert got["out"][0][3:8] == [-1, -1, 99, -1, -1]
    empty = after(call(ids=torch.zeros(0, dtype=torch.int64)), backend)
    assert empty["out"][0][3:8] == [-1] * 5


@on_backends
def test_done_images_are_left_alone(backend: str) -> None:
    """The flag may hold any value but 0; every tensor of the image keeps its bits."""
    decoder = Decoder(B=6, L=5, A=4, G=2, N=30, seed=3)
    for _ in range(3):
        decoder.call(decoder.draw(True), decoder.state, backend)
    decoder.state["done"][:] = torch.tensor([0, 1, 0, 2, -1, 0])
    before = {name: value.clone() for name, value in decoder.state.items()}
    n_commit = decoder.call(decoder.draw(True), decoder.state, backend)
    flagged = torch.tensor([1, 3, 4])
    assert n_commit[flagged].eq(0).all()
    for name in STATE:
        rows = torch.cat([flagged, flagged + 6]) if name in ("kv_len", "q_start") else flagged
        assert_same(decoder.state[name][rows], before[name][rows], name)
    assert (decoder.state["epoch"] - before["epoch"]).tolist() == [1, 0, 1, 0, 0, 1]


def any_state(seed: int, B: int = 200) -> dict[str, Any]:
    """Numbers without sense, also far outside their ranges: what a broken caller may hand in."""
    g = generator(seed)
    L, A, G, N = (torch.randint(1, top, (1,), generator=g).item() for top in (9, 7, 4, 12))

    def ints(low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.randint(low, high, shape, generator=g).to(dtype)

    pos = ints(-3, N + 4, B)
    pos[:4] = torch.tensor([2**63 - 1, 2**63 - 2, -(2**63), 1 - 2**63])[:B]  # sums with them wrap
    tokens = ints(-3, V + 3, B, L)
    draft = torch.where(torch.rand(B, L, generator=g) < 0.8, tokens, ints(0, V, B, L))
    return {
        "tokens": tokens,
        "draft": draft,
        "accept_len": ints(-2, L + 3, B, dtype=torch.int32),
        "ids": ints(0, 10**6, V),
        "prompt_len": ints(-1, 9, G * B, dtype=torch.int32),
        "n_tokens": ints(-1, N + 5, B),
        "out": ints(0, 9, B, N),
        "pos": pos,
        "kv_len": ints(-2, 14, G * B, dtype=torch.int32),
        "q_start": ints(-2, A + 2, G * B, dtype=torch.int32),
        "refeed": ints(0, 9, B, A),
        "epoch": ints(0, 9, B),
        "done": (torch.rand(B, generator=g) < 0.1).int(),
        "level": ints(-1, 3, B, L, dtype=torch.int32) if seed % 2 else None,
    }


@on_backends
def test_bit_for_bit_on_any_state(backend: str) -> None:
    """12,000 states, most of them inconsistent: the same integers as the reference, nothing written outside (L3)."""
    for seed in range(60):
        a, b = any_state(seed), any_state(seed)
        n = sjd2_kernels.commit(**a, backend=backend)
        assert_same(n, sjd2_kernels.commit(**b, backend="reference"), f"n_commit of case {seed}")
        for name, value in a.items():
            if value is not None:
                assert_same(value, b[name], f"{name} of case {seed}")
            if name not in STATE and value is not None:
                assert_same(value, any_state(seed)[name], f"{name}, an input, of case {seed}")


@on_backends
def test_any_layout(backend: str) -> None:
    """B21: the state is written where it lies, whatever its strides, and nothing beside it."""
    dense = any_state(5)
    n_dense = sjd2_kernels.commit(**dense, backend=backend)
    for layout in range(1, 4):
        a = {}
        for name, value in any_state(5).items():
            views = list(layouts(value))
            a[name] = views[min(layout, len(views) - 1)]
        around = {name: a[name]._base.clone() for name in STATE if a[name]._base is not None}
        assert_same(sjd2_kernels.commit(**a, backend=backend), n_dense)
        for name in STATE:
            assert_same(a[name], dense[name], f"{name} in layout {layout}")
            if name in around:
                a[name].zero_()
                changed = a[name]._base.clone()
                around_view = around[name].as_strided(a[name].shape, a[name].stride(), a[name].storage_offset())
                around_view.zero_()
                assert torch.equal(changed, around[name]), f"{name}: written outside the view"


@on_backends
def test_independent_of_the_batch(backend: str) -> None:
    """B6: permuted and split images."""
    B = 200
    whole = any_state(7)
    n = sjd2_kernels.commit(**whole, backend=backend)
    for images in (torch.randperm(B, generator=generator(1)), torch.tensor([17])):
        G = len(whole["prompt_len"]) // B
        rows = torch.cat([images + k * B for k in range(G)])
        part = any_state(7)
        for name, value in part.items():
            if name != "ids" and value is not None:
                part[name] = value[rows if name in ("prompt_len", "kv_len", "q_start") else images]
        assert_same(sjd2_kernels.commit(**part, backend=backend), n[images])
        for name in STATE:
            assert_same(part[name], whole[name][rows if name in ("kv_len", "q_start") else images], name)


@on_backends
@pytest.mark.parametrize(("B", "G", "N"), [(0, 1, 5), (3, 0, 5), (2, 1, 0)])
def test_empty_axes(backend: str, B: int, G: int, N: int) -> None:
    """B19: no image; no model row (then only the counts matter); no room for a token."""
    rows, whole = torch.zeros(G * B, dtype=torch.int32), torch.zeros(B, dtype=torch.int64)
    tokens = torch.zeros(B, 4, dtype=torch.int64)
    done = torch.zeros(B, dtype=torch.int32)
    n_commit = sjd2_kernels.commit(
        tokens, tokens, torch.full((B,), 2, dtype=torch.int32), torch.arange(3), rows + 4, whole + 9,
        torch.zeros(B, N, dtype=torch.int64), whole.clone(), rows + 3, rows.clone(), tokens[:, :1].clone(),
        whole.clone(), done, backend=backend,
    )  # fmt: skip
    assert n_commit.tolist() == [min(3, N)] * B
    assert done.tolist() == [int(N == 0)] * B


def test_operator_properties() -> None:
    for seed in (2, 3):  # without and with level
        a = any_state(seed, B=3)
        torch.library.opcheck(OP.default, (), {k: v for k, v in a.items() if v is not None})
        assert_fake_matches(OP, a)


def test_compiles_in_one_graph() -> None:
    def step(**a: Any) -> Tensor:
        return OP(**a) + a["pos"]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for seed in (4, 5):
        a, b = any_state(seed), any_state(seed)
        assert_same(compiled(**a), step(**b))
        for name in STATE:
            assert_same(a[name], b[name], name)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"refeed": torch.zeros(1, 0).long()}, ValueError, r"commit: refeed must have at least one row .*got A = 0"),
        (
            {"kv_len": torch.zeros(2).int()},
            ValueError,
            r"kv_len must have shape \[1\] to match prompt_len \[1\], got \(2,\)",
        ),
        ({"pos": torch.zeros(1).int()}, TypeError, "pos must have dtype int64, got int32"),
        ({"draft": torch.zeros(1, 4).long()}, ValueError, r"draft must have shape \[1, 5\] .*got \(1, 4\)"),
        ({"level": torch.zeros(1, 5).long()}, TypeError, "level must have dtype int32, got int64"),
        ({"out": torch.zeros(20).long()}, ValueError, r"out must have shape \[B, N\]|out must have shape \[1, N\]"),
    ],
)
def test_wrong_arguments(change: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OP(**call() | change)
