"""Registers, spills and shared memory of the CUDA C++ kernels, by compiling csrc/cuda without a GPU.

The rows are those of bench/aot.py, whose command calls this. A kernel is complained about if it spills, uses local
memory, or if its arithmetic is not one rounding a step.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .aot import ROOT, SHARED, Compiled, resident

SOURCE = ROOT / "csrc" / "cuda"
NAMES = {80: "80", 90: "90a", 100: "100"}
THREADS = {"process_logits": 1024, "verify_accept": 512}  # the most of a block, csrc/cuda/plan.h
TYPES = {"f": "f32", "Bfloat16": "bf16", "Float16": "f16"}
# V of the row that a block holds, beside the static shared memory
CELLS = {"process_logits, cells in the block": {"V=8192": 8192, "V=32768": 32768}}
# what would break rung L3: fused or approximate arithmetic, denormals as zero, or steps that ptxas may still fuse
INEXACT = re.compile(r"^\s*(?:@\S+\s+)?((?:fma|mad)\.\S*f(?:32|64)|\S+\.(?:approx|full|ftz)\S*|(?:mul|add|sub)\.f32)\b")


def find_nvcc() -> str | None:
    """$CUDACXX, nvcc on the path, or nvcc in the toolkit's usual folder."""
    return shutil.which(os.environ.get("CUDACXX") or "nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def compiled_with(nvcc: str) -> str:
    """For the table's column of compilers: nvcc 13.0."""
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\S+?),", text)
    return f"nvcc {found.group(1)}" if found else "nvcc"


def compile_kernels(arch: int, nvcc: str | None = None) -> list[Compiled]:
    """Compile all of csrc/cuda for one architecture with warnings as errors; a row per kernel and case.

    Raises: RuntimeError with what nvcc printed if it fails, or where there is none.
    """
    nvcc = nvcc or find_nvcc()
    if nvcc is None:
        raise RuntimeError("nvcc was not found: put it on the path or name it in CUDACXX")
    rows: list[Compiled] = []
    for file in sorted(SOURCE.glob("*.cu")):
        log, ptx = _compile(nvcc, file, arch)
        rows += _rows(file.stem, log, arch, compiled_with(nvcc), inexact(ptx))
    return rows


def _compile(nvcc: str, file: Path, arch: int) -> tuple[str, str]:
    """What ptxas printed, and the PTX."""
    target = f"arch=compute_{NAMES[arch]},code=sm_{NAMES[arch]}"
    flags = SOURCE.joinpath("nvcc_flags.txt").read_text().split()
    includes = ["-I", str(ROOT / "csrc"), "-I", str(ROOT / "csrc" / "include")]
    with tempfile.TemporaryDirectory() as folder:
        keep = ["--keep", "--keep-dir", folder, "-o", str(Path(folder, "out.cubin"))]
        command = [nvcc, *flags, *includes, "-gencode", target, "-Xptxas", "-v", "-cubin", *keep, str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"nvcc failed on {file.name} for sm_{NAMES[arch]}:\n{done.stdout}")
        return done.stdout, Path(folder, f"{file.stem}.ptx").read_text()


def inexact(ptx: str) -> list[str]:
    """Instructions that are not one rounding to nearest of one operation."""
    return sorted({found.group(1) for line in ptx.splitlines() if (found := INEXACT.match(line))})


def _rows(operator: str, log: str, arch: int, compiler: str, wrong: list[str]) -> Iterator[Compiled]:
    pattern = r"Compiling entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill"
    pattern += r".*?Used (\d+) registers(?:.*?(\d+) bytes smem)?"
    threads = THREADS[operator]
    for name, local, stores, loads, registers, static in re.findall(pattern, log.replace("\n", " ")):
        kernel = f"{operator}{_variant(name)}"
        family = kernel.split(", ", 1)[0] + ", " + kernel.rsplit(", ", 1)[-1]
        for case, cells in CELLS.get(family, {"any V": 0}).items():
            shared, spills = int(static or 0) + 4 * cells, int(stores) + int(loads)
            if shared > (SHARED[arch] - 1) * 1024:
                continue  # csrc/cuda/plan.h takes another kernel there
            complaints = [f"inexact arithmetic: {', '.join(wrong)}"] if wrong else []
            if spills or int(local):
                complaints.append(f"{spills} bytes of spills, {local} bytes of local memory")
            yield Compiled(
                operator=operator, case=case, kernel=kernel, arch=arch, compiler=compiler, options={"threads": threads},
                registers=int(registers), spills=spills, local=int(local), shared=shared,
                blocks=resident(arch, int(registers), threads // 32, shared), complaints=complaints,
            )  # fmt: skip


def _variant(mangled: str) -> str:
    """Which instance of a kernel template: ", bf16, cells in the block"."""
    found = re.search(r"kernelI(?:\w*?(Bfloat16|Float16)E?|(f))Lb([01])E", mangled)
    if not found:
        return ""
    cells = "cells parked in p" if found.group(3) == "1" else "cells in the block"
    return f", {TYPES[found.group(1) or found.group(2)]}, {cells}"
