"""compute-sanitizer over small calls of the kernels: memcheck, racecheck, initcheck.

The calls are made by this file itself, as a program of its own, so that the sanitizer watches little else. Racecheck
sees shared memory only. PyTorch's allocator keeps no memory back, so that every tensor has ends that memcheck knows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from ..aot import ROOT
from .process import environment, module
from .verdict import ABSENT, FAIL, PASS, Setting, Verdict, judged

TOOLS = ("memcheck", "racecheck", "initcheck")
SIZES = (31, 999, 4097, 8192)  # V: less than a block, odd, two quads to a thread, a cluster of blocks in verify_accept
# substrings of the names of our kernels: those of csrc/cuda lie in namespace sjd2
OURS = {"cuda": ("sjd2",), "triton": ("process_logits_kernel", "verify_accept_")}
UNSUPPORTED = "Device not supported"
SUMMARY = re.compile(r"^=+ (?:ERROR|RACECHECK) SUMMARY: .*$", re.MULTILINE)


def find_sanitizer() -> str | None:
    """compute-sanitizer on the path or in the toolkit's usual folder."""
    return shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")


def check(setting: Setting) -> Iterator[Verdict]:
    """Every tool over the CUDA C++ kernels, and memcheck over Triton's."""
    for tool, backend in [*((tool, "cuda") for tool in TOOLS), ("memcheck", "triton")]:
        name = f"{tool}, {backend}"
        yield judged("sanitizer", name, lambda t=tool, b=backend, n=name: _watch(t, b, n, setting))


def _watch(tool: str, backend: str, name: str, setting: Setting) -> Verdict:
    from sjd2_kernels import backends

    program = find_sanitizer()
    missing = "compute-sanitizer was not found" if program is None else backends.why_not(backend)
    if setting.device == "cpu":
        missing = "no CUDA device"
    if missing or program is None:
        return Verdict("sanitizer", name, ABSENT, missing or "")
    if setting.left < 2:
        return Verdict("sanitizer", name, FAIL, "out of time")
    command = [program, "--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no"]
    command += [word for kernels in OURS[backend] for word in ("--kernel-name", f"kns={kernels}")]
    command += module("bench.gpu.sanitizer", backend)
    done = subprocess.run(
        command, cwd=ROOT, env=environment(PYTORCH_NO_CUDA_MEMORY_CACHING="1"), text=True, timeout=setting.left,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return judge(name, done.returncode, done.stdout)


def judge(name: str, code: int, output: str) -> Verdict:
    """From the sanitizer's exit code and words: silence is no success, a summary must be there."""
    summary = SUMMARY.findall(output)
    if UNSUPPORTED in output:
        return Verdict("sanitizer", name, ABSENT, f"compute-sanitizer does not support this device here\n{output}")
    if code or not summary or "made all calls" not in output:
        return Verdict("sanitizer", name, FAIL, f"exit code {code}\n{output}")
    return Verdict("sanitizer", name, PASS, summary[-1].strip("= "))


def calls(backend: str, device: str, sizes: tuple[int, ...] = SIZES) -> int:
    """Small calls of process_logits and verify_accept with every kind of argument; returns how many."""
    import torch

    from . import cases
    from .operators import moved

    made = 0
    for V in sizes:
        window: list[cases.Case] = [cases.verify_accept(V, 5, redraw) for redraw in ("fresh", "couple", "keep")]
        rows = [cases.process_logits(V, 3, top_k) for top_k in (None, max(1, V // 4))]
        for case in [*rows, *window]:
            inputs: dict[str, Any] = moved(case.make(V), device)
            if case.operator == "process_logits":
                for extra in ({}, {"top_p": torch.full((1,), 0.9, device=device)}):
                    case.run(inputs | extra, backend)
                    made += 1
            else:
                case.run(inputs, backend)
                made += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return made


if __name__ == "__main__":
    print(f"made all calls: {calls(sys.argv[1], 'cuda')}")
