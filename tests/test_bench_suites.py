"""Every suite's smallest cases run: the gates pass, hold, and fail for an operator that computes something else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import sjd2_kernels.schemas as schemas
from bench import case, suites
from bench.case import Spec, WrongResult
from bench.clock import HostClock
from bench.grid import GRIDS, PREFIXES, VOCABULARIES, WINDOWS
from bench.harness import AGAIN, OURS
from bench.roofline import WORK, Ceilings

CLOCK, CEILINGS = HostClock(), Ceilings(1e10, {"float32": 1e11, "bfloat16": 1e11})
SMOKE = suites.specs("smoke")


@pytest.fixture(autouse=True)
def warm_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLOCK, "cold_bytes", 0)


@pytest.mark.parametrize("spec", SMOKE, ids=str)
def test_a_case_runs(spec: Spec) -> None:
    made = suites.build(spec, CLOCK, "cpu")
    found = case.run(made, CLOCK, CEILINGS, 0, 1)
    assert {OURS, AGAIN} < set(found.timings)
    assert (found.floor is None) == (spec.operator not in WORK)
    assert all(reason == "not installed" for reason in found.absent.values()), found.absent
    assert set(found.absent) <= {"flashinfer", "flash-attn"}
    if spec.suite == "decoder_step":
        ours, theirs = found.counts["sjd2"], found.counts["published loop"]
        assert ours["synchronisations"] == 0 < theirs["synchronisations"]
        assert {"published loop", "policy ar", "policy sjd2-exact"} < set(found.timings)
    else:
        assert any("eager" in name or "published" in name for name in found.timings)


@pytest.mark.parametrize("name", sorted(set(schemas.SCHEMAS)))
def test_gates_see_a_wrong_operator(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's first output is changed a little; the gate of every case with it must fail."""
    right = getattr(torch.ops.sjd2, name)

    def wrong(*args: Any, **kwargs: Any) -> Any:
        out = right(*args, **kwargs)
        first = out[0] if isinstance(out, tuple) else out
        first.view(-1)[0] += 1 if not first.is_floating_point() else 0.01 * float(first.abs().max())
        return out

    for spec in SMOKE:
        if name in spec.operator and not (name == "verify_accept" and "process" in spec.operator):
            made = suites.build(spec, CLOCK, "cpu")
            monkeypatch.setattr(torch.ops.sjd2, name, wrong)
            with pytest.raises(WrongResult):
                made.gate()
            monkeypatch.undo()
            monkeypatch.setattr(CLOCK, "cold_bytes", 0)


def test_the_decoders_gate_sees_a_step_that_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = (spec for spec in SMOKE if spec.suite == "decoder_step")
    from sjd2.decoder import Decoder

    made = suites.build(spec, CLOCK, "cpu")
    monkeypatch.setattr(Decoder, "step", lambda self: None)
    with pytest.raises(WrongResult, match="or none"):
        made.gate()


def test_a_peer_with_the_wrong_mask_is_seen() -> None:
    (spec,) = (spec for spec in SMOKE if spec.suite == "window_attention")
    made = suites.build(spec, CLOCK, "cpu")
    q, k, v, K, V, heads = made.buffers[0]
    right = torch.nn.functional.scaled_dot_product_attention
    open_eyed = case.Variant(lambda *_: right(heads, K, V, enable_gqa=True).transpose(1, 2))
    with pytest.raises(WrongResult, match="peer"):
        made.checks["sdpa"](open_eyed)


@pytest.mark.parametrize("grid", GRIDS)
def test_grids_hold_every_operator_once_a_case(grid: str) -> None:
    specs = suites.specs(grid)
    assert set(schemas.SCHEMAS) <= {spec.operator for spec in specs}
    assert max(Counter((spec.operator, spec.name) for spec in specs).values()) == 1


def test_the_full_grid_holds_every_shape_that_is_named() -> None:
    specs = suites.specs("full")
    sampling = {tuple(s.numbers.values()) for s in specs if s.operator == "process_logits + verify_accept"}
    assert sampling == {
        (B, L, V, k, dtype)
        for B in (1, 4, 16) for L in (16, 32, 64, 96, 128) for V in (8192, 16_384, 32_768, 65_536)
        for k in (2000, 0) for dtype in ("float32", "bfloat16")
    }  # fmt: skip
    attention = [s.numbers for s in specs if s.operator == "window_attention"]
    assert {(n["H"], n["Hkv"]) for n in attention} == {(32, 32), (32, 8)}
    assert {n["prefix"] for n in attention} == set(PREFIXES) >= {512, 9216}
    assert {n["L"] for n in attention} == {1, *WINDOWS}
    assert {n["B"] for n in attention} == {1, 4, 16}


def test_the_cpu_grid_holds_the_axes_that_are_plotted() -> None:
    specs = suites.specs("cpu")
    assert len(specs) < 80
    sampling = [s.numbers for s in specs if s.operator == "process_logits + verify_accept"]
    assert {n["V"] for n in sampling} == set(VOCABULARIES)
    assert {n["L"] for n in sampling} == set(WINDOWS)
    attention = [s.numbers for s in specs if s.operator == "window_attention"]
    assert {n["prefix"] for n in attention} >= set(PREFIXES)
    few = {(n["H"], n["Hkv"], n["D"], n["prefix"]) for n in attention if n["L"] == 97}
    assert few == {(*heads, D, prefix) for heads in ((8, 8), (32, 8)) for D in (64, 128) for prefix in (2048, 8192)}
    assert any(spec.headline for spec in specs)


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(ValueError, match="no suite sorcery; there are sampling"):
        suites.specs("cpu", ["sorcery"])
