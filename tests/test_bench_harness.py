"""Interleaving, percentiles, ratios, and the noise of a run."""

from __future__ import annotations

from typing import Any

import pytest

from bench import harness
from bench.harness import AGAIN, OURS, Comparison, Timing, interleave


def test_percentiles() -> None:
    found = Timing.of([0.01, 0.002, 0.003, 0.004, 0.005], "graph")
    assert (found.minimum, found.median, found.p20, found.p80, found.how) == pytest.approx((2, 4, 3, 10, "graph"))


def test_every_variant_has_its_turn_at_every_place() -> None:
    order: list[str] = []
    rounds: dict[str, list[int]] = {name: [] for name in "abc"}

    def measure(name: str) -> Any:
        def run(i: int) -> float:
            order.append(name)
            rounds[name].append(i)
            return 1.0 + i

        return run

    taken = interleave({name: measure(name) for name in "abc"}, seconds=0, rounds=6)
    assert "".join(order) == "abcbcacab" * 2
    assert all(taken[name] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] for name in "abc")
    assert all(rounds[name] == list(range(6)) for name in "abc")


def test_rounds_go_on_for_the_seconds_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(now))
    assert len(interleave({"a": lambda i: 0.0}, seconds=20, rounds=2)["a"]) == 21
    assert len(interleave({"a": lambda i: 0.0}, seconds=10**6, rounds=2)["a"]) == 2 * harness.MAX_ROUNDS


def comparison(ours: float = 2.0, again: float = 2.0, peer: float = 8.0) -> Comparison:
    timings = {OURS: ours, AGAIN: again, "eager": peer}
    return Comparison(
        "process_logits", "V 8", {name: Timing(ms, ms, ms, ms / 2) for name, ms in timings.items()},
        floor={"bytes": 1, "operations": 1, "ms": 0.5, "bound": "memory"},
    )  # fmt: skip


def test_a_record_holds_ratios_and_the_floor() -> None:
    held = comparison(peer=10.0).record()
    assert held["ratios"] == {"eager": 5.0}
    assert held["ratios_of_minima"] == {"eager": 5.0}
    assert held["percent_of_floor"] == 25.0
    assert held["timings"][AGAIN]["median"] == 2.0
    without = comparison()
    without.floor = None
    assert without.record()["percent_of_floor"] is None


def test_noise_is_twice_what_separates_equal_variants() -> None:
    records = [comparison(again=2.0 * (1 + 0.02 * i)).record() for i in range(11)]
    assert harness.noise(records) == pytest.approx(2 * 0.18)
    assert harness.noise(records[:2]) == harness.LEAST_NOISE
    assert harness.noise([]) == harness.LEAST_NOISE
    assert harness.noise([comparison(again=1.0).record()]) == 1.0  # faster the second time is as far apart
