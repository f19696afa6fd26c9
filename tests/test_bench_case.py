"""Running a case: the error gate comes first, absent peers are named, wrong ones stop the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_bench_clock import FakeCuda

from bench.case import Case, Missing, Spec, WrongResult, run, within
from bench.clock import CudaClock, HostClock, Variant
from bench.harness import AGAIN, OURS
from bench.roofline import Ceilings

CEILINGS = Ceilings(1e9, {"float32": 1e9})
SPEC = Spec("noise", "noise_mix", {"B": 1, "L": 2, "C": 4, "dtype": "float32", "top_k": 0}, headline=True)


def case(**changed: Any) -> Case:
    fields: dict[str, Any] = {"gate": lambda: within(0.0, 1.0, "x")} | changed
    return Case(SPEC, [(torch.ones(4),), (torch.ones(4),)], Variant(lambda x: x + 1), **fields)


def test_names() -> None:
    assert SPEC.name == "B 1, L 2, C 4, float32, top-k off"
    assert str(SPEC) == f"noise_mix: {SPEC.name}"


def test_nothing_is_timed_when_the_gate_fails() -> None:
    called = []

    def gate() -> dict[str, float]:
        return within(2.0, 1.0, "noise_mix")

    wrong = Case(SPEC, [()], Variant(lambda: called.append(1)), gate)
    with pytest.raises(WrongResult, match=r"noise_mix: error 2, at most 1"):
        run(wrong, HostClock(), CEILINGS, 0, 1)
    assert not called
    with pytest.raises(WrongResult):
        within(float("nan"), 1.0, "x")


def test_peers_are_timed_named_when_missing_and_never_wrong() -> None:
    def missing() -> Variant:
        raise Missing("not installed")

    def broken() -> Variant:
        raise ValueError("no kernel\nfor this shape")

    peers = {"eager": lambda: Variant(lambda x: x + 1), "flash": missing, "flex": broken}
    found = run(case(peers=peers, targets={"eager": 1.0, "flash": 2.0}), HostClock(), CEILINGS, 0, 3)
    assert set(found.timings) == {OURS, AGAIN, "eager"}
    assert found.absent == {"flash": "not installed", "flex": "failed: ValueError: no kernel"}
    assert found.targets == {"eager": 1.0}
    assert found.error == {"found": 0.0, "allowed": 1.0}
    assert (found.suite, found.headline) == ("noise_mix", True)
    assert found.floor is not None
    assert found.floor["ms"] == pytest.approx(1e3 * found.floor["bytes"] / 1e9)

    def check(variant: Variant) -> None:
        within(float((variant.call(torch.ones(4)) - 2).abs().max()), 0.0, "peer")

    assert "eager" in run(case(peers=peers, checks={"eager": check}), HostClock(), CEILINGS, 0, 1).timings
    peers["eager"] = lambda: Variant(lambda x: x + 2)
    with pytest.raises(WrongResult, match="peer"):
        run(case(peers=peers, checks={"eager": check}), HostClock(), CEILINGS, 0, 1)


def test_on_a_gpu_ours_is_also_timed_without_a_graph() -> None:
    cuda = FakeCuda()
    made = case()
    made.ours = Variant(lambda x: cuda.work("ours", 1.0))
    made.peers = {"eager": lambda: Variant(lambda x: (cuda.work("peer", 4.0), cuda.read()))}
    found = run(made, CudaClock("cpu", cuda), CEILINGS, 0, 2)
    how = {name: timing.how for name, timing in found.timings.items()}
    assert how == {OURS: "graph", AGAIN: "graph", "sjd2, call by call": "events", "eager": "events"}
    assert found.ratio("eager") == pytest.approx(4.0)
