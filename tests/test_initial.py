"""What new slots hold, and the law they are said to be drawn from: a wrong draw decodes correctly, only slower."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from sjd2.decoder import Decoder, Sampling
from sjd2.grid import raster
from sjd2.initial import random_tokens, repeated_tokens, stride_of
from sjd2.policies import get_policy
from toy_backbone import Toy


def test_random_tokens_are_uniform_over_the_image_ids_and_belong_to_seed_and_position() -> None:
    seed = torch.arange(40)
    tokens = random_tokens(seed, 1000, 7)
    assert stats.chisquare(torch.bincount(tokens.flatten(), minlength=7).numpy()).pvalue > 1e-3
    assert torch.equal(random_tokens(seed[[3]], 10, 7)[0], tokens[3, :10])
    # neighbours in position or seed are independent
    for a, b in ((tokens[:, 1:], tokens[:, :-1]), (tokens[1:], tokens[:-1])):
        table = torch.bincount((7 * a + b).flatten(), minlength=49).reshape(7, 7)
        assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3
    assert int(random_tokens(seed, 1000, 65536).max()) > 65000


def test_stride() -> None:
    grid = raster(3, 4, (4, 3), head=[9, 9], eol=8)
    assert stride_of(grid, "left") == 1
    assert stride_of(grid, "above") == 5
    assert stride_of(raster(2, 6, (6, 2)), "above") == 6
    assert stride_of(raster(1, 6, (6, 1)), "above") == 6  # there is no row above


def test_repetition_reaches_back_to_what_is_known() -> None:
    line = torch.tensor([[0, 1, 2, 9, -1, -1, -1, -1, -1, -1]])
    position = torch.tensor([[3, 4, 5, 6, 7]])
    known = torch.tensor([3])
    token, usable = repeated_tokens(line, known, position, torch.tensor([1]), V=5)
    assert token.tolist() == [[2, 2, 2, 2, 2]]
    assert usable.all()
    token, usable = repeated_tokens(line, known, position, torch.tensor([2]), V=5)
    assert token.tolist() == [[1, 2, 1, 2, 1]]
    token, usable = repeated_tokens(line, torch.tensor([4]), position[:, 1:], torch.tensor([4]), V=5)
    assert token.tolist() == [[0, 1, 2, 9]]
    assert usable.tolist() == [[True, True, True, False]]  # a forced token is not repeated
    _, usable = repeated_tokens(line, torch.tensor([0]), position, torch.tensor([1]), V=5)
    assert not usable.any()


@pytest.mark.parametrize("initial", ["random", "left", "above"])
def test_new_slots_and_their_laws_in_the_loop(initial: str) -> None:
    model = Toy()
    grid, V, L = model.grid((4, 5)), model.V, 7
    made = Decoder(
        model, get_policy("coupled", initial=initial), model.encode(["a", "bc"]), [grid] * 2, [1, 2],
        L=L, sampling=Sampling(2.0),
    )  # fmt: skip
    made.prefill()
    w, stride, repeats = made.window, stride_of(grid, initial), 0
    for _ in range(4):
        before = w.pos.clone()
        made.step()
        for b in range(2):
            first = int(w.pos[b])
            newest = {i: int(token) - 3 for i, token in enumerate(w.out[b, :first])}
            old_end = int(before[b]) + L
            newest |= {first + j: int(w.draft[b, j]) for j in range(L) if first + j < old_end}
            for j in range(L):
                i = first + j
                if i < old_end or i >= grid.n_tokens or grid.forced[i] >= 0:
                    continue
                source = i - stride
                while source >= old_end:
                    source -= stride
                law = torch.full((V,), 1.0 / V)
                expected = int(w.random[b, i])
                if initial != "random" and 0 <= newest.get(source, -1) < V:
                    expected, repeats = newest[source], repeats + 1
                    law = torch.nn.functional.one_hot(torch.tensor(expected), V).float()
                assert w.draft[b, j] == expected
                assert torch.equal(w.q[b, j], law)
    assert (repeats > 5) == (initial != "random")


def test_carried_slots_keep_the_law_of_the_last_iteration() -> None:
    """Q := P for every slot that is carried over, kept ones too; the draft lies in the law's support."""
    model = Toy()
    made = Decoder(
        model, get_policy("coupled"), model.encode(["a", "bc"]), [model.grid((4, 5))] * 2, [1, 2],
        L=6, sampling=Sampling(2.0, top_k=3),
    )  # fmt: skip
    made.prefill()
    laws: list[torch.Tensor] = []
    advance = made.window.advance

    def watch(p: torch.Tensor, *args: torch.Tensor) -> None:
        laws.append(p.clone())
        advance(p, *args)

    made.window.advance = watch  # type: ignore[method-assign]
    for _ in range(4):
        before = made.window.pos.clone()
        made.step()
        w = made.window
        for b, n in enumerate((w.pos - before).tolist()):
            assert torch.equal(w.q[b, : 6 - n], laws[-1][b, n:])
            for j in range(6 - n):
                if 0 <= w.draft[b, j] < model.V:
                    assert w.q[b, j, w.draft[b, j]] > 0
