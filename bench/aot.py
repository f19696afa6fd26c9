"""Registers, spills, shared memory and occupancy of every Triton and CUDA C++ kernel, by compiling it without a GPU.

    python -m bench.aot --arch 80 90 100             the default configuration of every case (bench/aot_cases.py)
    python -m bench.aot --arch 80 90 100 --every     every configuration that fits, as SJD2_AUTOTUNE=1 would try
    python -m bench.aot --language cuda              the kernels of csrc/cuda only (bench/aot_cuda.py)
    python -m bench.aot --only commit --out a.json   also writes JSON
    python -m bench.aot --table a.json b.json        prints what earlier runs wrote; --into puts it into a page

Triton's operators run on CPU tensors with a stand-in for the driver, so that what is compiled is what a launch on such
a card would compile, specialisations included; a launch itself does nothing. Exits with 1 if a kernel spills, uses
local memory, needs more shared memory than a block may have, has its wgmma instructions serialised, or if a kernel of
rung L3 has an instruction that rounds otherwise than the contract.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sjd2.atomic import replacing

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "sjd2_kernels" / "triton"
CUDA_SOURCES = (ROOT / "csrc" / "cuda", ROOT / "csrc" / "include" / "sjd2")
REGISTERS, THREADS, BLOCKS = 65536, 2048, 32  # of a multiprocessor of compute capability 8.0, 9.0, 10.0
SHARED = {80: 164, 90: 228, 100: 228}  # KiB of a multiprocessor; a block may have 1 KiB less, and takes 1 KiB more
SERIALISED = "C7515"  # ptxas: wgmma instructions are serialised
EXACT = ("process_logits", "verify_accept", "commit")  # operators of rung L3
INEXACT = (
    r"\b(?:fma\.\w+\.f\d+|\w+\.approx[\w.]*|div\.full[\w.]*|\w[\w.]*\.ftz[\w.]*)"  # in PTX; all but these round once
)


@dataclass(frozen=True)
class Compiled:
    """One kernel as compiled for one architecture."""

    operator: str
    case: str
    kernel: str
    arch: int
    compiler: str
    options: dict[str, int | str]
    registers: int
    spills: int  # bytes, stores and loads
    local: int  # bytes of stack frame
    shared: int  # bytes, static and dynamic
    blocks: int  # resident on a multiprocessor
    complaints: list[str]

    @property
    def threads(self) -> int:
        """Of a block."""
        return int(self.options["threads"] if "threads" in self.options else 32 * int(self.options["num_warps"]))


class _Driver:
    """What Triton asks of a driver while it compiles: the target. A device's number is its architecture."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)


def resident(arch: int, registers: int, warps: int, shared: int) -> int:
    """Blocks of a kernel that fit a multiprocessor at once; registers are given to a warp in portions of 256."""
    of_registers = REGISTERS // (max(256, -(-registers * 32 // 256) * 256) * warps)
    of_shared = SHARED[arch] * 1024 // (shared + 1024)
    return min(BLOCKS, THREADS // (32 * warps), of_registers, of_shared)


def measured(compiled: Any, log: str, arch: int, **names: Any) -> Compiled:
    """A compiled kernel's resources, from what ptxas printed."""

    def number(pattern: str) -> int:
        found = re.findall(pattern, log)
        return max(map(int, found), default=0)

    registers = number(r"Used (\d+) registers")
    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    local, shared = number(r"(\d+) bytes stack frame"), compiled.metadata.shared
    blocks = resident(arch, registers, compiled.metadata.num_warps, shared)
    complaints = [f"no registers in the log of ptxas: {log!r}"] if not registers else []
    if spills or local:
        complaints.append(f"{spills} bytes of spills, {local} bytes of local memory")
    if shared > (SHARED[arch] - 1) * 1024:
        complaints.append(f"{shared} bytes of shared memory, a block may have {(SHARED[arch] - 1) * 1024}")
    if SERIALISED in log:
        complaints.append(f"wgmma instructions are serialised ({SERIALISED})")
    inexact = sorted(set(re.findall(INEXACT, compiled.asm["ptx"]))) if names["operator"] in EXACT else []
    if inexact:
        complaints.append(f"inexact instructions {', '.join(inexact)}")
    return Compiled(
        arch=arch, registers=registers, spills=spills, local=local, shared=shared, blocks=blocks,
        complaints=complaints, kernel=compiled.name,
        compiler=f"triton {compiled.metadata.triton_version}", **names,
    )  # fmt: skip


@contextlib.contextmanager
def compiling(arch: int, record: Callable[[Any, str, dict[str, Any]], None]) -> Iterator[None]:
    """Launches compile for ``arch`` instead, and tell ``record`` kernel, log of ptxas and keyword arguments."""
    from triton import knobs
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    from sjd2_kernels.triton import launch

    run, known = JITFunction.run, launch.architecture

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            kernel = run(self, *args, grid=grid, warmup=True, **options)
        record(kernel, log.getvalue(), options)

    driver.set_active(_Driver(arch))
    knobs.compilation.always_compile, knobs.nvidia.dump_ptxas_log = True, True
    JITFunction.run, launch.architecture = compile_only, lambda tensor: arch
    try:
        yield
    finally:
        JITFunction.run, launch.architecture = run, known


_known: dict[str, Compiled] = {}  # by hash


def compile_case(operator: str, case: str, call: Callable[[], Any], arch: int, every: bool = False) -> list[Compiled]:
    """All kernels that ``call`` launches, for the default configuration or for each that fits."""
    from sjd2_kernels.triton import launch

    fitting, found, most = launch.fitting, {}, 1

    def record(kernel: Any, log: str, options: dict[str, Any]) -> None:
        if kernel.hash not in _known:  # else an earlier case compiled it
            plain = {name: value for name, value in options.items() if isinstance(value, int | str)}
            _known[kernel.hash] = measured(kernel, log, arch, operator=operator, case=case, options=plain)
        found[kernel.hash] = replace(_known[kernel.hash], case=case)

    index = 0
    with compiling(arch, record):
        while index < most:

            def one(*which: Any, index: int = index) -> Iterator[Any]:
                nonlocal most
                entries = list(fitting(*which))
                most = max(most, len(entries) if every else 1)
                yield entries[min(index, len(entries) - 1)]

            launch.fitting = one
            try:
                call()
            finally:
                launch.fitting = fitting
            index += 1
    return list(found.values())


def digest(operator: str) -> str:
    """Of the text that an operator's kernels come from: its own file, and those that are no operator's; "cuda" is all
    of csrc/cuda and the headers that it shares with the CPU."""
    from sjd2_kernels.schemas import SCHEMAS

    if operator == "cuda":
        files = sorted(path for folder in CUDA_SOURCES for path in folder.rglob("*") if path.is_file())
    else:
        files = sorted(path for path in KERNELS.glob("*.py") if path.stem not in SCHEMAS)
        files.insert(0, KERNELS / f"{operator}.py")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def write(path: Path, digests: dict[str, str], rows: list[Compiled]) -> None:
    """Write a run."""
    text = json.dumps({"digests": digests, "kernels": [asdict(row) for row in rows]}, indent=1) + "\n"
    with replacing(path) as fresh:
        fresh.write_text(text)


def read(*paths: Path) -> tuple[dict[str, str], list[Compiled]]:
    """The digests and rows of earlier runs, which must be of the same sources."""
    runs = [json.loads(path.read_text()) for path in paths]
    digests: dict[str, str] = {}
    for path, run in zip(paths, runs, strict=True):
        if any(digests.setdefault(name, value) != value for name, value in run["digests"].items()):
            raise SystemExit(f"bench.aot: {path} is of other sources than {paths[0]}; run make aot again")
    return digests, [Compiled(**row) for run in runs for row in run["kernels"]]


def main(arguments: list[str] | None = None) -> int:
    """Compile, print the table, and return the exit code."""
    from . import aot_page

    parser = argparse.ArgumentParser("bench.aot", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arch", type=int, nargs="+", default=[90], choices=sorted(SHARED))
    parser.add_argument("--every", action="store_true", help="every configuration, not the default ones only")
    parser.add_argument("--language", nargs="+", default=["triton", "cuda"], choices=["triton", "cuda"])
    parser.add_argument("--only", nargs="+", default=[], help="operators")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that compile")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", default=[])
    parser.add_argument("--into", type=Path, help="a page: the tables go between its marks")
    options = parser.parse_args(arguments)
    if options.table:
        digests, rows = read(*options.table)
    else:
        digests, rows = _compile(options)
        if options.out:
            write(options.out, digests, rows)
    table = aot_page.table(digests, rows)
    if options.into:
        aot_page.insert(options.into, "compiled", table)
        aot_page.insert(options.into, "launches", aot_page.launches())
        aot_page.insert(options.into, "floors", aot_page.floors())
    else:
        print(table)
    complaints = [f"{r.kernel}, {r.case}, sm_{r.arch}, {r.options}: {c}" for r in rows for c in r.complaints]
    print(*complaints, sep="\n", file=sys.stderr)
    return 1 if complaints else 0


def _compile(options: argparse.Namespace) -> tuple[dict[str, str], list[Compiled]]:
    """Digests and rows of the languages that were asked for."""
    rows: list[Compiled] = []
    digests: dict[str, str] = {}
    if "triton" in options.language:
        rows = _compile_triton(options)
        digests = {operator: digest(operator) for operator in sorted({row.operator for row in rows})}
    if "cuda" in options.language:
        from .aot_cuda import compile_kernels

        found = [row for arch in options.arch for row in compile_kernels(arch)]
        rows += [row for row in found if not options.only or row.operator in options.only]
        digests["cuda"] = digest("cuda")
    return digests, rows


def _compile_triton(options: argparse.Namespace) -> list[Compiled]:
    if os.environ.get("TRITON_INTERPRET"):
        raise SystemExit("bench.aot: TRITON_INTERPRET is set, under which nothing can be compiled; unset it")
    from . import aot_cases

    tasks = [
        (operator, case, arch, options.every)
        for operator, cases in aot_cases.CASES.items()
        for case in cases
        for arch in options.arch
        if not options.only or operator in options.only
    ]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=spawn) as pool:
        return [row for rows in pool.map(_compile_task, *zip(*tasks, strict=True)) for row in rows]


def _compile_task(operator: str, case: str, arch: int, every: bool) -> list[Compiled]:
    from . import aot_cases

    rows = compile_case(operator, case, aot_cases.CASES[operator][case], arch, every)
    print(f"{operator}, {case}, sm_{arch}: {[row.registers for row in rows]} registers", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
