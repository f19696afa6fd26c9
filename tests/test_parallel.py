"""Work shared among threads: results do not depend on the number of threads, concurrent callers, or a fork."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from _live import live

import sjd2_kernels
from sjd2_kernels import native

built = pytest.mark.parametrize("backend", [name for name in live("process_logits") if name == "native"])
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


@built
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_each_chunk_once(backend: str, count: int, threads: int) -> None:
    assert native.module().visits(count, threads).tolist() == [1] * count


@built
@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_chunk_throws_reaches_the_caller(backend: str, threads: int) -> None:
    for fail in (0, 57, 99):
        with pytest.raises(RuntimeError, match=f"chunk {fail}"):
            native.module().visits(100, threads, fail)
    assert native.module().visits(100, threads, 100).tolist() == [1] * 100


THREADS = """
import os, torch
torch.set_num_threads(3)
torch.randn(1 << 22).add_(1)  # PyTorch's team is there
before = len(os.listdir("/proc/self/task"))
import sjd2_kernels
from sjd2_kernels import native
for _ in range(5):
    sjd2_kernels.process_logits(torch.randn(2, 24, 8192), seed=5)
    assert native.module().visits(2, 3).tolist() == [1, 1]  # fewer chunks than threads
    torch.randn(1 << 22).add_(1)
print(len(os.listdir("/proc/self/task")) - before, "one thread" in native.describe())
"""


@built
def test_the_threads_are_those_of_torch(backend: str) -> None:
    """Threads of our own would wait for cores on which PyTorch's still spin after its last operator."""
    done = subprocess.run([sys.executable, "-c", THREADS], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "0 False\n"


FORK = """
import os, sys
import torch
import sjd2_kernels
from sjd2_kernels import native

cond = torch.randn(1, 24, 8192)
draw = lambda: torch.ops.sjd2.process_logits(cond)[1]
torch.set_num_threads(1)
expected = draw()
torch.set_num_threads(2)  # now the threads start, for an operator of ours or one of PyTorch's
draw() if sys.argv[1] == "ours" else torch.randn(1 << 22).add_(1)
child = os.fork()
alone = native.why_not() is None and "one thread" in native.describe()
right = torch.equal(draw(), expected)
if child == 0:
    os._exit(0 if right and alone == (native.why_not() is None) else 1)
sys.exit(os.WEXITSTATUS(os.waitpid(child, 0)[1]) or alone or not right)
"""


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_forked_child_works_alone(first: str) -> None:
    """The parent's threads do not exist in a forked child, as in a data loader; waiting for them would hang."""
    subprocess.run([sys.executable, "-c", FORK, first], check=True, timeout=60)
