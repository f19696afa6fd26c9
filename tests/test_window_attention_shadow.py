"""Shadow rows of window_attention: what they see, that none sees them, in every dtype and across chunks and blocks."""

from __future__ import annotations

import pytest
import torch
from _attention_cases import NAN, caches_after, case, clones, oracle, rounding, run
from _noise_cases import REAL, assert_same, on_backends


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("refeed", [0, 1, 5])
def test_many_shadow_rows(refeed: int, dtype: torch.dtype) -> None:
    """More rows than a chunk holds, more keys than a block, in every dtype; the other rows keep their bits."""
    M, shadow = 97, 32
    c = case(M + shadow, [250, 125], 8, 2, 24, dtype=dtype, q_start=[0, refeed // 2])
    c |= {"shadow": shadow, "refeed": refeed}
    out, *caches = run(c, "native")
    error = (out.double() - oracle(c)).abs()
    assert bool((error <= rounding(dtype, oracle(c).abs()) + 8 * torch.finfo(torch.float32).eps).all())
    assert_same(tuple(caches), caches_after(c), "cache")
    plain = {name: c[name][:, :M] if name in ("q", "k", "v", "level") else c[name] for name in c}
    without, *_ = run(plain | {"shadow": 0}, "native")
    assert_same(out[:, :M], without)


@on_backends
def test_a_shadow_row_is_seen_by_none_and_sees_neither_its_twin_nor_others(backend: str) -> None:
    c = case(20 + 8, [126, 0], q_start=[0, 0]) | {"shadow": 8, "refeed": 2}
    before, *caches = run(c, backend)
    for changed_row, still in ((20 + 3, [*range(23), *range(24, 28)]), (2 + 3, [*range(5), *range(20, 24)])):
        changed = clones(c)
        changed["k"][:, changed_row] = changed["v"][:, changed_row] = NAN
        after, *_ = run(changed, backend)
        assert_same(after[:, still], before[:, still])
        assert bool(after[:, changed_row].isnan().all())


@on_backends
@pytest.mark.parametrize(("M", "shadow", "refeed"), [(10, 3, 2), (12, 5, 1), (7, 1, 3), (6, 3, 0)])
def test_shadow_rows(M: int, shadow: int, refeed: int, backend: str) -> None:
    c = case(M, [20, 5, 29, 0], R=4, S=33, q_start=[0, 1, 0, M], dtype=torch.float64)
    c |= {"shadow": shadow, "refeed": refeed}
    out, *caches = run(c, backend)
    torch.testing.assert_close(out, oracle(c), rtol=0, atol=1e-13)
    assert_same(tuple(caches), caches_after(c), "cache")
    plain = {name: c[name][:, : M - shadow] if name in ("q", "k", "v", "level") else c[name] for name in c}
    del plain["shadow"], plain["refeed"]
    rest, *_ = run(plain, backend)
    torch.testing.assert_close(out[:, : M - shadow], rest, rtol=0, atol=1e-13)  # nothing attends to a shadow
