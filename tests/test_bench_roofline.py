"""Floors: counted by hand for one shape of each operator, and against the tensors that the operators really take."""

from __future__ import annotations

import pytest
import torch

from bench import roofline
from bench.roofline import Ceilings, Work, measure_ceilings

H100 = Ceilings(3.0e12, {"float32": 50e12, "bfloat16": 790e12})


def test_every_operator_has_one() -> None:
    import sjd2_kernels.schemas as schemas

    assert set(schemas.SCHEMAS) <= set(roofline.WORK)


@pytest.mark.parametrize(
    ("Hkv", "prefix", "us", "bound"),
    [
        (32, 4096, 46.8, "memory"),
        (8, 4096, 16.8, "arithmetic"),
        (32, 9216, 102.8, "memory"),
        (8, 2048, 8.7, "arithmetic"),
    ],
)
def test_attention_floors_of_an_h100(Hkv: int, prefix: int, us: float, bound: str) -> None:
    """Worked out apart: 96 rows, two model rows, 32 heads of 128, bfloat16. The rows themselves are a few percent."""
    work = roofline.window_attention(B=1, L=96, H=32, Hkv=Hkv, D=128, prefix=prefix, dtype="bfloat16")
    ms, by = H100.floor(work)
    assert by == bound
    assert 1e3 * ms == pytest.approx(us, rel=0.06)


def test_attention_counts_the_triangle() -> None:
    work = roofline.window_attention(B=1, L=3, H=1, Hkv=1, D=4, prefix=0, dtype="float32")
    assert work.operations == 2 * 4 * 4 * (1 + 2 + 3)  # two rows; two products of 2 operations; 6 pairs of 4 channels


def test_logits_bytes() -> None:
    work = roofline.process_logits(B=1, L=96, V=8192, dtype="bfloat16")
    assert work.bytes == pytest.approx(2 * 96 * 8192 * 2 + 96 * 8192 * 4, rel=0.001)
    assert 1e3 * H100.floor(Work(2 * 96 * 8192 * 2, 0))[0] == pytest.approx(1.05, rel=0.01)
    assert roofline.process_and_verify(B=1, L=96, V=8192, dtype="bfloat16") == work + roofline.verify_accept(
        B=1, L=96, V=8192
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_are_those_of_the_tensors(dtype: str) -> None:
    def size(*tensors: torch.Tensor) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    B, L, C, V, N = 2, 96, 512, 4096, 300
    kind = getattr(torch, dtype)
    state, rows = torch.empty(B, L, C), torch.empty(B, L, C, dtype=kind)
    assert roofline.noise_mix(B=B, L=L, C=C, dtype=dtype).bytes == pytest.approx(
        size(state, state, rows, rows), rel=0.02
    )
    table = torch.empty(V, C, dtype=kind)
    assert roofline.nearest_token(B=B, L=L, V=V, C=C, dtype=dtype).bytes == pytest.approx(size(table, state), rel=0.02)
    out = torch.empty(B, N, C, dtype=kind)
    assert roofline.noise_embed(B=B, N=N, C=C, dtype=dtype).bytes == pytest.approx(size(out, out), rel=0.02)
    p = torch.empty(B, 1, V)
    assert roofline.verify_accept(B=B, L=1, V=V).bytes == pytest.approx(size(p, p), rel=0.02)


def test_a_floor_is_the_larger_of_two_times() -> None:
    ceilings = Ceilings(copy=1e9, matrix={"float32": 1e12})
    assert ceilings.floor(Work(10**6, 10**6)) == (1.0, "memory")
    assert ceilings.floor(Work(10**3, 2 * 10**9)) == (2.0, "arithmetic")
    assert ceilings.floor(Work(0, 10**9, "bfloat16")) == (1.0, "arithmetic")  # a dtype that was not measured


def test_ceilings_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_best", lambda device, call, seconds: (call(), 0.5)[1])
    monkeypatch.setattr(roofline, "COPIED", {"cpu": 1000})
    monkeypatch.setattr(roofline, "ORDER", {"cpu": 10})
    found = measure_ceilings("cpu", 0.0)
    assert found.copy == 2 * 1000 / 0.5  # read and written
    assert found.matrix == {"float32": 2 * 10**3 / 0.5, "bfloat16": 2 * 10**3 / 0.5}


def test_the_best_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 1.0, 2.0, *[9.0] * 10**6])
    fake = type("Clock", (), {"prepare": lambda self, *a: type("P", (), {"measure": lambda self, i: next(times)})()})
    monkeypatch.setattr(roofline, "clock_of", lambda device: fake())
    assert roofline._best("cpu", lambda: None, 0.01) == 1.0
