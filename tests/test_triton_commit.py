"""commit in Triton, step by step beside the native kernel and the token-by-token simulation."""

from __future__ import annotations

import pytest
import torch
from _commit_cases import Decoder
from _live import TRITON_DEVICE, live
from _sampler_cases import LAYOUTS
from _triton import assert_same, moved
from torch import Tensor

from sjd2_kernels import commit


def arguments(decoder: Decoder, window: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return window | {"ids": decoder.ids, "prompt_len": decoder.prompt_len, "n_tokens": decoder.limit}


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize(("L", "A", "G"), [(1, 1, 1), (4, 1, 2), (7, 16, 1), (33, 5, 2), (16, 3, 3)])
def test_whole_pictures(L: int, A: int, G: int, levels: bool) -> None:
    """Output ids, positions, cache lengths, re-feed rows and flags after every step until all images are done."""
    decoder = Decoder(B=4, L=L, A=A, G=G, N=24, seed=100 * L + A)
    for _ in range(30):
        window = decoder.draw(levels)
        counts, want = decoder.simulate(window)
        state = moved(decoder.state)
        n_commit = commit(**moved(arguments(decoder, window)), **state, backend="triton")
        assert_same("n_commit", n_commit, torch.tensor(counts, dtype=torch.int32))
        for name, value in want.items():
            assert_same(name, state[name], value)
        decoder.state = want
    assert want["done"].all()


def random_state(B: int, L: int, N: int, A: int, G: int, seed: int) -> dict[str, Tensor]:
    """Values that no decoder reaches: positions outside the picture, ids outside the table, lengths out of step."""
    g = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int, kind: torch.dtype = torch.int64) -> Tensor:
        return torch.randint(low, high, shape, generator=g).to(kind)

    half = torch.int32
    tokens = draw(-2, 12, B, L)
    return {
        "tokens": tokens,
        "draft": torch.where(torch.rand(B, L, generator=g) < 0.8, tokens, draw(-2, 12, B, L)),
        "accept_len": draw(0, L + 1, B, kind=half),
        "ids": draw(1000, 2000, 9),
        "prompt_len": draw(0, 9, G * B, kind=half),
        "n_tokens": draw(0, N + 4, B),
        "out": draw(0, 99, B, N),
        "pos": draw(-3, N + 3, B),
        "kv_len": draw(0, 30, G * B, kind=half),
        "q_start": draw(0, A + 1, G * B, kind=half),
        "refeed": draw(0, 99, B, A),
        "epoch": draw(0, 50, B),
        "done": (torch.rand(B, generator=g) < 0.3).to(half),
        "level": draw(0, 2, B, L, kind=half),
    }


STATE = ("out", "pos", "kv_len", "q_start", "refeed", "epoch", "done")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 6, 20, 4, 2), (3, 1, 1, 1, 1), (4, 9, 0, 3, 0), (0, 3, 4, 2, 2)])
def test_any_state_in_any_layout(shape: tuple[int, int, int, int, int], layout: str) -> None:
    """The native kernel's results, with the state written where it lies (B21)."""
    for seed in range(3):
        case = random_state(*shape, seed=seed)
        native = {k: v.clone() for k, v in case.items()}
        want = commit(**native, backend=live("commit")[0])
        ours = {k: LAYOUTS[layout](v.clone().to(TRITON_DEVICE)) for k, v in case.items()}
        assert_same("n_commit", commit(**ours, backend="triton"), want)
        for name in STATE:
            assert torch.equal(ours[name].cpu(), native[name]), name
