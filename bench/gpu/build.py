"""The native modules of this checkout: built here if they are not there, and whether they load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sjd2_kernels

from ..aot import ROOT
from ..aot_cuda import find_nvcc
from .process import environment
from .verdict import ABSENT, FAIL, Setting, Verdict, judged

LOADS = "from sjd2_kernels import backends as b; print(b.why_not({name!r}) or 'live')"


def check(setting: Setting) -> Iterator[Verdict]:
    """The CPU module must be there, since it is what the device is compared with; the CUDA one where nvcc is."""
    yield judged("build", "native CPU kernels", lambda: _native(setting))
    yield judged("build", "CUDA C++ kernels", lambda: _cuda(setting))


def _state(name: str) -> str:
    """Whether a backend is live, asked of a new process: this one has looked already."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS.format(name=name)], env=environment(), capture_output=True, text=True
    )
    return done.stdout.strip() or done.stderr.strip()


def _native(setting: Setting) -> Verdict | tuple[str, dict[str, Any]]:
    state = _state("native")
    wanted = setting.device == "cuda" and find_nvcc() is not None and _state("cuda").startswith("not built")
    if state == "live" and not wanted:
        return "built before", {}
    if not Path(sjd2_kernels.__file__).is_relative_to(ROOT):
        return Verdict("build", "native CPU kernels", FAIL, f"the installed package: {state}; install it anew")
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=ROOT, timeout=max(setting.left, 1), text=True,
        env=environment(SJD2_REQUIRE_NATIVE="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    state = _state("native")
    if done.returncode or state != "live":
        return Verdict("build", "native CPU kernels", FAIL, f"{state}\n{done.stdout}")
    return "built now", {}


def _cuda(setting: Setting) -> Verdict | tuple[str, dict[str, Any]]:
    state = _state("cuda")
    if state == "live":
        return "live", {}
    expected = setting.device == "cuda" and find_nvcc() is not None
    return Verdict("build", "CUDA C++ kernels", FAIL if expected else ABSENT, state)
