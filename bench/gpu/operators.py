"""Every operator on the device: the CPU's results first, then its time beside its floor.

No time is taken of a wrong result. On a CUDA device the calls are captured in a graph, one call per copy of the inputs,
over more memory than the second-level cache holds, and the graph is replayed: what is timed is the device's work.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sjd2_kernels import backends

from . import cases
from .cases import Case, Inputs
from .verdict import FAIL, Setting, Verdict, judged

COLD_BYTES = 256 << 20  # the inputs of a graph's calls together; five times an H100's second-level cache
MOST_COPIES, REPLAYS = 48, 20
LEAST_SECONDS = 5.0  # of the time left, below which no further case is begun


def check(setting: Setting) -> Iterator[Verdict]:
    """The rates of the device, then all cases on all backends that serve them."""
    found: dict[str, Any] = {}
    yield judged("operators", "rates", lambda: _rates(setting, found))
    rates = found.get("rates", cases.H100)
    for case in cases.SMALL if setting.small else cases.FULL:
        _expected.cache_clear()
        for backend in _backends(case.operator, setting):
            name = f"{case.operator}, {case.name}, {backend}"
            if setting.left < LEAST_SECONDS:
                yield Verdict("operators", name, FAIL, "out of time")
                continue
            yield judged("operators", name, lambda case=case, backend=backend: _case(case, backend, setting, rates))


def _backends(operator: str, setting: Setting) -> list[str]:
    """Those that serve the device's tensors and are live; on the CPU, Triton's interpreter."""
    if setting.device == "cpu":
        return [name for name in ("native", "triton") if backends.why_not(name) is None]
    names = ("triton", "cuda", "reference")
    return [n for n in names if n in backends.served_by(operator, "cuda") and backends.why_not(n) is None]


def _case(case: Case, backend: str, setting: Setting, rates: tuple[float, float]) -> tuple[str, dict[str, Any]]:
    error = compare(case, backend, setting.device)
    data: dict[str, Any] = {"operator": case.operator, "case": case.name, "backend": backend, "error": error}
    if backend == "reference":  # it is there to compare with, and may wait for the device
        return f"error {error:.1e}", data
    timing = measure(case, backend, setting)
    floor = case.floor(rates)
    data |= {"floor_us": 1e6 * floor, **timing}
    text = f"{timing['median']:.1f} us ({timing['p20']:.1f} to {timing['p80']:.1f}), floor {1e6 * floor:.1f} us"
    return f"{text}, {100e6 * floor / timing['median']:.0f} % of the time; error {error:.1e}", data


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


def measure(case: Case, backend: str, setting: Setting) -> dict[str, float]:
    """Microseconds of a call: median, 20th and 80th percentile, minimum."""
    inputs, _ = _expected(case)
    size = sum(v.numel() * v.element_size() for v in inputs.values() if isinstance(v, Tensor))
    copies = 1 if setting.small else max(2, min(MOST_COPIES, -(-COLD_BYTES // max(size, 1))))
    calls = [moved(inputs, setting.device) for _ in range(copies)]

    def run() -> list[Any]:
        return [case.run(call, backend) for call in calls]

    times = on_cuda(run) if setting.device == "cuda" else on_cpu(run)
    us = sorted(1e6 * seconds / copies for seconds in times)
    spread = {"p20": us[len(us) // 5], "p80": us[len(us) * 4 // 5], "minimum": us[0]}
    return {"median": statistics.median(us), **spread, "calls": float(copies * len(us))}


def on_cuda(run: Callable[[], Any]) -> list[float]:
    """Seconds of each replay of a graph of ``run``."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()  # compiles, and warms the allocator
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()  # noqa: F841  the outputs live as long as the graph
    for _ in range(3):
        graph.replay()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
    for mark in marks[:-1]:
        mark.record()
        graph.replay()
    marks[-1].record()
    torch.cuda.synchronize()
    return [1e-3 * a.elapsed_time(b) for a, b in itertools.pairwise(marks)]


def on_cpu(run: Callable[[], Any]) -> list[float]:
    """Seconds of a call."""
    begin = time.perf_counter()
    run()
    return [time.perf_counter() - begin]


def _rates(setting: Setting, found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Bytes a second of a copy, operations a second of a bfloat16 product, as the device gives them now."""
    size, n = (1 << 20, 64) if setting.small else (1 << 30, 8192)
    source = torch.ones(size, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    a, b = (torch.randn(n, n, device=setting.device).to(torch.bfloat16) for _ in range(2))
    times = on_cuda if setting.device == "cuda" else on_cpu
    copied = 2 * size / min(times(lambda: target.copy_(source)))
    multiplied = 2 * n**3 / min(times(lambda: a @ b))
    found["rates"] = (copied, multiplied)
    data = {"bytes_per_second": copied, "operations_per_second": multiplied}
    return f"copy {copied / 1e12:.3f} TB/s, bfloat16 product {multiplied / 1e12:.3f} TFLOP/s", data
