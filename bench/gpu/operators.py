"""Every operator on the device: the CPU's results first, then its time beside its floor.

No time is taken of a wrong result. On a CUDA device calls are captured in a graph (bench/clock.py), which shows as well
that none of them waits for the host.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sjd2_kernels import backends

from ..clock import MAX_SETS, Clock, Variant, clock_of
from ..roofline import Ceilings, measure_ceilings
from . import cases
from .cases import Case, Inputs
from .verdict import FAIL, Setting, Verdict, judged

ROUNDS = 20
LEAST_SECONDS = 5.0  # of the time left, below which no further case is begun


def check(setting: Setting) -> Iterator[Verdict]:
    """The ceilings of the device, then all cases on all backends that serve them."""
    found: dict[str, Any] = {}
    yield judged("operators", "ceilings", lambda: _ceilings(setting, found))
    ceilings, clock = found.get("ceilings", cases.H100), clock_of(setting.device)
    for case in cases.SMALL if setting.small else cases.FULL:
        _expected.cache_clear()
        for backend in _backends(case.operator, setting):
            name = f"{case.operator}, {case.name}, {backend}"
            if setting.left < LEAST_SECONDS:
                yield Verdict("operators", name, FAIL, "out of time")
                continue
            yield judged("operators", name, lambda c=case, b=backend: _case(c, b, setting, ceilings, clock))


def _backends(operator: str, setting: Setting) -> list[str]:
    """Those that serve the device's tensors and are live; on the CPU, Triton's interpreter."""
    if setting.device == "cpu":
        return [name for name in ("native", "triton") if backends.why_not(name) is None]
    names = ("triton", "cuda", "reference")
    return [n for n in names if n in backends.served_by(operator, "cuda") and backends.why_not(n) is None]


def _case(case: Case, backend: str, setting: Setting, ceilings: Ceilings, clock: Clock) -> tuple[str, dict[str, Any]]:
    error = compare(case, backend, setting.device)
    data: dict[str, Any] = {"operator": case.operator, "case": case.name, "backend": backend, "error": error}
    if backend == "reference":  # it is there to compare with, and may wait for the device
        return f"error {error:.1e}", data
    timing, (floor, bound) = measure(case, backend, setting, clock), ceilings.floor(case.work)
    data |= {"floor_us": 1e3 * floor, "bound": bound, **timing}
    text = f"{timing['median']:.1f} us ({timing['p20']:.1f} to {timing['p80']:.1f}), floor {1e3 * floor:.1f} us"
    return f"{text} ({bound}), {1e5 * floor / timing['median']:.0f} % of the time; error {error:.1e}", data


def moved(inputs: Inputs, device: str) -> Inputs:
    """Copies of the inputs on ``device``."""
    return {k: v.to(device, copy=True) if isinstance(v, Tensor) else v for k, v in inputs.items()}


@cache
def _expected(case: Case) -> tuple[Inputs, list[Tensor]]:
    """A case's inputs, and the CPU's results."""
    inputs = case.make(1)
    return inputs, case.run(moved(inputs, "cpu"), None)


def compare(case: Case, backend: str, device: str) -> float:
    """Run a case there and on the CPU; returns the largest error of a number, over the largest number.

    Raises: AssertionError where outputs that must be the same bits are not, or others differ by more than the case's
        tolerance.
    """
    inputs, want = _expected(case)
    largest = 0.0
    for i, (a, b) in enumerate(zip(case.run(moved(inputs, device), backend), want, strict=True)):
        a = a.cpu()
        if (case.exact or not b.is_floating_point()) and not torch.equal(a, b):
            where = (a != b).nonzero()
            raise AssertionError(f"output {i}: {len(where)} of {b.numel()} differ, first at {where[0].tolist()}")
        if b.is_floating_point() and b.numel():
            error = (a.double() - b.double()).abs().max().item() / max(b.double().abs().max().item(), 1e-30)
            if not error <= case.tolerance:
                raise AssertionError(
                    f"output {i} is off by {error:.1e} of its largest number, not {case.tolerance:.1e}"
                )
            largest = max(largest, error)
    return largest


def measure(case: Case, backend: str, setting: Setting, clock: Clock) -> dict[str, float]:
    """Microseconds of a call: median, 20th and 80th percentile, minimum.

    Raises: AssertionError where a call on a GPU waits for the host, so that it cannot be captured.
    """
    inputs, _ = _expected(case)
    size = sum(v.numel() * v.element_size() for v in inputs.values() if isinstance(v, Tensor))
    sets = 1 if setting.small else max(2, min(MAX_SETS, -(-clock.cold_bytes // max(size, 1))))
    buffers = [(moved(inputs, setting.device),) for _ in range(sets)]
    prepared = clock.prepare(Variant(lambda call: case.run(call, backend)), buffers)
    if setting.device == "cuda" and prepared.how != "graph":
        raise AssertionError("a call waits for the host: no graph can hold it")
    us = sorted(1e6 * prepared.measure(i) for i in range(1 if setting.small else ROUNDS))
    spread = {"p20": us[len(us) // 5], "p80": us[len(us) * 4 // 5], "minimum": us[0]}
    return {"median": statistics.median(us), **spread, "rounds": float(len(us))}


def _ceilings(setting: Setting, found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    found["ceilings"] = made = measure_ceilings(setting.device, seconds=0.01 if setting.small else 0.3)
    products = ", ".join(f"{dtype} product {rate / 1e12:.3g} TFLOP/s" for dtype, rate in made.matrix.items())
    return f"copy {made.copy / 1e12:.3g} TB/s, {products}", made.record()
