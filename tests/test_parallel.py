"""The kernels' own thread pool: results do not depend on the number of threads, concurrent callers, or a fork."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
import threading
from pathlib import Path

import torch

import sjd2_kernels

COND = torch.randn(2, 24, 8192, generator=torch.Generator().manual_seed(0))


def _run() -> list[torch.Tensor]:
    p, fresh, status = sjd2_kernels.process_logits(COND, top_k=300, seed=5)
    return [p, fresh, status, *sjd2_kernels.verify_accept(fresh.flip(0), p, p.flip(0), 5, 0, redraw="couple")]


def _same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_thread_counts() -> None:
    expected, before = _run(), torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            assert _same(_run(), expected), f"{threads} threads"
    finally:
        torch.set_num_threads(before)


def test_concurrent_callers() -> None:
    expected, good = _run(), []
    callers = [
        threading.Thread(target=lambda: good.append(all(_same(_run(), expected) for _ in range(5)))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert good == [True] * 4


def _slice_ns(thread: int) -> int:
    """What Linux says of a thread's time slice (sched_getattr, the field sched_runtime); 0 before Linux 6.12."""
    number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(number, thread, attributes, len(attributes), 0) == 0
    runtime: int = struct.unpack_from("=IIQiIQQQ", attributes)[5]
    return runtime


def test_workers_ask_for_short_slices() -> None:
    """Else they wait for a spinning OpenMP thread to use up its own slice of 3 ms, longer than most calls take."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        _run()
    finally:
        torch.set_num_threads(before)
    slices = [_slice_ns(int(task.name)) for task in Path("/proc/self/task").iterdir()]
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert (100_000 in slices) == (version >= (6, 12))
    assert _slice_ns(0) != 100_000, "the caller's own slice is left alone"


FORK = """
import os, sys
import torch
import sjd2_kernels

cond = torch.randn(1, 24, 8192)
expected = torch.ops.sjd2.process_logits(cond)[1]
child = os.fork()
again = torch.ops.sjd2.process_logits(cond)[1]
if child == 0:
    sys.exit(0 if torch.equal(again, expected) else 1)
sys.exit(os.WEXITSTATUS(os.waitpid(child, 0)[1]))
"""


def test_forked_child_has_its_own_pool() -> None:
    """The workers of the parent do not exist in a forked child, as in a data loader; waiting for them would hang."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
