"""RNG v1 (docs/rng.md): known answers, golden values, the counter layout, disjoint streams, the uniform's ends."""

from __future__ import annotations

import _oracle as oracle
import numpy as np
import pytest
import torch
from _live import REQUIRE_NATIVE, on_backends
from _oracle import from_bits, page_table
from scipy import stats

import sjd2_kernels
from sjd2_kernels import arithmetic, native, rng

INT64 = (-(2**63), -(2**33) - 5, -1, 0, 1, 7847, 2**31, 2**32 - 1, 2**32, 2**63 - 1)


def hexes(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def tensor_words(seed: int, pos: int, stream: int, epoch: int, count: int) -> np.ndarray:
    at = (torch.tensor([x]) for x in (seed, pos))
    return rng.words(*at, stream, torch.tensor([epoch]), count)[0].numpy().astype(np.uint32)


def test_native_is_live_where_it_is_required() -> None:
    """A wheel without its kernels must not pass by falling back: SJD2_REQUIRE_NATIVE=1 turns every skip into a
    failure."""
    if REQUIRE_NATIVE:
        assert native.why_not() is None


@pytest.mark.parametrize(("counter", "key", "answer"), page_table("Known answers (Random123)"))
def test_known_answers(counter: str, key: str, answer: str) -> None:
    c, k = hexes(counter), hexes(key)
    assert oracle.philox(tuple(c), tuple(k)) == tuple(hexes(answer))
    out = rng.philox(tuple(torch.tensor(x) for x in c), tuple(torch.tensor(x) for x in k))
    assert [int(w) for w in out] == hexes(answer)


def test_known_answers_native() -> None:
    if native.why_not() is not None:
        return
    counter, key, answer = (
        np.array([hexes(row[i]) for row in page_table("Known answers (Random123)")], np.uint32) for i in range(3)
    )
    assert (native.module().philox(counter, key) == answer).all()


def test_philox_native_equals_python_integers() -> None:
    """A million random counters and keys, and all corners of {0, 1, 2^31, 2^32 - 1}^6; without C++, scalar against
    vector."""
    random = np.random.default_rng(1).integers(0, 2**32, (1_000_000, 6), dtype=np.uint32)
    corners = np.stack(np.meshgrid(*[np.array([0, 1, 2**31, 2**32 - 1], np.uint32)] * 6), -1).reshape(-1, 6)
    both = np.concatenate([random, corners])
    wide = both.astype(np.uint64)
    with np.errstate(over="ignore"):
        expected = np.stack(oracle.philox(tuple(wide[:, :4].T), tuple(wide[:, 4:].T)), -1)
    if native.why_not() is None:
        assert (native.module().philox(both[:, :4], both[:, 4:]) == expected).all()
    scalar = [oracle.philox(tuple(map(int, row[:4])), tuple(map(int, row[4:]))) for row in both[:50]]
    assert (expected[:50] == np.array(scalar, np.uint64)).all()


def test_words_are_those_of_the_page() -> None:
    for *at, expected, u, E in page_table("Words, uniforms, exponentials"):
        seed, pos, stream, epoch, index = map(int, at)
        got = tensor_words(seed, pos, stream, epoch, index + 1)[-1:]
        assert got[0] == int(expected, 16) == oracle.word(seed, pos, stream, epoch, index), at
        uniform = rng.uniform(torch.from_numpy(got.astype(np.int64)))
        assert uniform.numpy()[0] == from_bits(u) == oracle.uniform(got)[0]
        assert arithmetic.exponential(uniform).numpy()[0] == from_bits(E) == oracle.exponential(oracle.uniform(got))[0]
        if native.why_not() is None:
            assert native.module().word(seed, pos, stream, epoch, index) == got[0]
            assert native.module().uniform(got)[0] == from_bits(u)
            assert native.module().exponential(oracle.uniform(got))[0] == from_bits(E)


def test_words_of_any_int64() -> None:
    """Negative and 64-bit seeds, positions and epochs are taken mod 2^32 (the seed in two words), in every
    implementation."""
    random = np.random.default_rng(2)
    for _ in range(200):
        seed, pos, epoch = (int(random.choice(INT64)) for _ in range(3))
        stream, count = int(random.integers(5)), int(random.integers(1, 40))
        expected = [oracle.word(seed, pos, stream, epoch, i) for i in range(count)]
        assert tensor_words(seed, pos, stream, epoch, count).tolist() == expected
        assert oracle.words(seed, pos, stream, epoch, count).tolist() == expected
        if native.why_not() is None:
            got = [native.module().word(seed, pos, stream, epoch, i) for i in range(count)]
            assert got == expected, (seed, pos, stream, epoch)


def test_position_and_epoch_wrap_but_the_seed_has_64_bits() -> None:
    base = tensor_words(5, 6, 0, 7, 64)
    assert (tensor_words(5, 6 + 2**32, 0, 7 - 2**32, 64) == base).all()
    for other in ((5 + 2**32, 6, 0, 7), (5, 7, 0, 7), (5, 6, 1, 7), (5, 6, 0, 8), (-5, 6, 0, 7)):
        assert (tensor_words(*other, 64) != base).mean() > 0.9, other


def test_streams_positions_epochs_and_seeds_are_disjoint() -> None:
    """B3. 5 streams x 8 positions x 4 epochs x 4 seeds x 64 ids: as many equal words as chance gives.

    40,960 words make 8.4e8 pairs, so 0.2 pairs are expected to be equal; more than 5 has a probability below 1e-7.
    """
    all_words = np.concatenate(
        [
            tensor_words(seed, pos, stream, epoch, 64)
            for stream in range(5)
            for pos in range(8)
            for epoch in range(4)
            for seed in (0, 1, -1, 2**32)
        ]
    )
    assert len(all_words) - len(np.unique(all_words)) <= 5


def test_accept_and_residual_uniforms_are_independent() -> None:
    """B4. The uniform of stream 1 and those of streams 0 and 2 at id 0, over 2^16 seeds: chi-square on a 16 x 16 grid,
    p > 1e-4.

    Reusing one word gives a diagonal table (chi-square of 15 * 2^16); a correlation of 0.03 is found with probability
    0.99.
    """
    seed = torch.arange(2**16)
    zero = torch.zeros_like(seed)
    u = {s: rng.uniform(rng.words(seed, zero, s, zero, 1)[:, 0]).numpy() for s in (0, 1, 2)}
    for a, b in ((0, 1), (1, 2), (0, 2)):
        grid = np.histogram2d(u[a], u[b], bins=16, range=[[0, 1]] * 2)[0]
        assert stats.chi2_contingency(grid).pvalue > 1e-4, (a, b)
        assert abs(np.corrcoef(u[a], u[b])[0, 1]) < 4 / 2**8


def test_uniform_lies_strictly_inside_the_unit_interval() -> None:
    """B8. Words 0, 1 and 0xFFFFFFFF through every implementation; 0 or 1 would make one token win, or never win."""
    for word, u, E in page_table("The ends of the uniform"):
        w = np.array([int(word, 16)], np.uint32)
        for got in (rng.uniform(torch.from_numpy(w.astype(np.int64))).numpy()[0], oracle.uniform(w)[0]):
            assert got == from_bits(u), word
            assert 0 < got < 1, word
        exponential = arithmetic.exponential(torch.from_numpy(oracle.uniform(w))).numpy()[0]
        assert exponential == from_bits(E)
        assert np.isfinite(exponential)
        assert exponential > 0
        assert np.isfinite(-np.log(exponential))  # as a Gumbel variate too


def test_uniform_is_equal_everywhere() -> None:
    """Two million random words, and every word near a power of two, where the rounding of float32(word) changes its
    step."""
    edges = [np.arange(max(0, 2**k - 300), min(2**32, 2**k + 300), dtype=np.int64) for k in range(33)]
    random = np.random.default_rng(3).integers(0, 2**32, 2_000_000)
    w = np.unique(np.concatenate([*edges, random]))
    got = rng.uniform(torch.from_numpy(w)).numpy()
    assert (got == oracle.uniform(w.astype(np.uint32))).all()
    assert (np.diff(got) >= 0).all()
    assert got[0] > 0
    assert got[-1] < 1
    exact = (w + 0.5) * 2.0**-32
    assert (np.abs(got - exact) <= 2.0**-23 * exact).all()  # two roundings
    if native.why_not() is None:
        assert (native.module().uniform(w.astype(np.uint32)) == got).all()


def test_race_prefers_candidates_and_low_ids() -> None:
    tiny = 1e-45
    word = torch.full((6,), 2**31)  # the same E everywhere: all ties
    weight = torch.tensor(
        [
            [0, 0, 1, 1, 0, 1],
            [0, 0, 0, 0, 0, 0],
            [-1, float("nan"), 0, 0, 0, 2],
            [0, 0, 0, tiny, tiny, 0],
            [0, 0, tiny, 0, 1, 0],
        ]
    )
    assert rng.race(weight, word.expand(5, 6)).tolist() == [2, 0, 5, 3, 4]
    assert [oracle.race(row.numpy(), word.numpy()) for row in weight] == [2, 0, 5, 3, 4]


@on_backends("process_logits", "verify_accept")
def test_draws_of_the_page(backend: str) -> None:
    ids = torch.arange(1000)
    a = (((ids * 37) % 101).float() / 16).expand(1, 8, 1000)
    b = (((ids * 53) % 101).float() / 16).expand(1, 8, 1000)
    for seed, fresh in page_table("Draws"):
        got = sjd2_kernels.process_logits(a, seed=int(seed), pos=12340, backend=backend)[1]
        assert " ".join(map(str, got[0].tolist())) == fresh
    for seed, fresh in page_table("Draws after processing"):
        got = sjd2_kernels.process_logits(a, None, None, 0.5, 40, 0.8, int(seed), 12340, 3, backend=backend)[1]
        assert " ".join(map(str, got[0].tolist())) == fresh
    for seed, n, draft, tokens in page_table("Verification"):
        q, drawn, _ = sjd2_kernels.process_logits(b, seed=int(seed), pos=12340, epoch=3, backend=backend)
        p, fresh, _ = sjd2_kernels.process_logits(a, seed=int(seed), pos=12340, epoch=4, backend=backend)
        got = sjd2_kernels.verify_accept(
            drawn, p, q, int(seed), 12340, fresh, epoch=4, redraw="couple", backend=backend
        )
        assert " ".join(map(str, drawn[0].tolist())) == draft
        assert (str(got[0].item()), " ".join(map(str, got[1][0].tolist()))) == (n, tokens)


def test_normals_of_the_page() -> None:
    for seed, pos, values in page_table("Normals to six digits"):
        got = rng.normals(torch.tensor([int(seed)]), torch.tensor([int(pos)]), 8)[0]
        torch.testing.assert_close(got, torch.tensor([float(v) for v in values.split()]), rtol=1e-5, atol=1e-6)


def test_normals_are_normal() -> None:
    """2^18 normals: Kolmogorov-Smirnov p > 1e-4 (a shift of 0.01, or a scale off by 1 %, fails with probability 0.98),
    and neighbouring channels, which share a radius, are uncorrelated in value and in square."""
    seed = torch.arange(2**12)
    x = rng.normals(seed, torch.zeros_like(seed), 64, torch.float64).numpy()
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-4
    first, second = x[:, 0::2].ravel(), x[:, 1::2].ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / first.size**0.5
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 4 / first.size**0.5
