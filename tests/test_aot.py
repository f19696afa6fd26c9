"""Every Triton kernel compiles for sm_90 without spills, the table of all architectures is not older than the kernels,
and what bench/aot.py complains about it sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import aot, aot_page
from sjd2_kernels.schemas import SCHEMAS

ROOT = Path(__file__).resolve().parent.parent
OPERATORS = sorted(path.stem for path in ROOT.glob("sjd2_kernels/triton/*.py") if path.stem in SCHEMAS)


def without_interpreter(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program from a file (kernels need their source) in a process that can compile, with a cold cache."""
    file = folder / "program.py"
    file.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{program}")
    settings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    settings |= {"TRITON_CACHE_DIR": str(folder / "cache")}
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, env=settings)


COMPILE = """
from bench import aot
if __name__ == "__main__":
    sys.exit(aot.main(["--arch", "90", "--language", "triton", "--out", {out!r}]))
"""


def test_default_configurations_compile_without_spills(tmp_path: Path) -> None:
    """All operators, with the installed triton, for sm_90."""
    out = tmp_path / "out.json"
    done = without_interpreter(COMPILE.format(out=str(out)), tmp_path)
    assert done.returncode == 0, done.stderr
    digests, rows = aot.read(out)
    assert sorted(digests) == OPERATORS
    assert [f"{row.kernel}, {row.case}: {row.complaints}" for row in rows if row.complaints] == []
    assert all(row.arch == 90 and 0 < row.registers <= 255 and row.blocks >= 1 for row in rows)


def test_the_table_is_not_older_than_the_kernels() -> None:
    text = ROOT.joinpath("docs", "kernels.md").read_text()
    (sources,) = re.findall(r"<!-- sources (.*) -->", text)
    assert json.loads(sources) == {name: aot.digest(name) for name in [*OPERATORS, "cuda"]}, "run make aot"
    (table,) = re.findall("<!-- compiled begins -->\n(.*)<!-- compiled ends -->", text, re.DOTALL)
    assert "| compiler | sm_80 | sm_90 | sm_100 |" in table
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    kernels = {of: {line[0].removeprefix("| ") for line in lines if of in line[3]} for of in ("3.6.0", "3.9.0", "nvcc")}
    assert kernels["3.6.0"] == kernels["3.9.0"]
    assert {name for name in OPERATORS if not any(k.startswith(name) for k in kernels["3.9.0"])} == set()
    assert {"verify_accept", "process_logits, bf16, cells in the block"} < kernels["nvcc"]
    # blank where a configuration is not for the architecture
    cells = [cell.rstrip(" |") for line in lines for cell in line[4:]]
    assert [cell for cell in cells if not re.fullmatch(r"(\d+ / \d+ / \d+ \(\d+ %\))?", cell)] == []


def test_launches_and_floors_are_those_of_the_code() -> None:
    text = ROOT.joinpath("docs", "kernels.md").read_text()
    assert f"<!-- launches begins -->\n{aot_page.launches()}\n<!-- launches ends -->" in text, "run make aot"
    assert f"<!-- floors begins -->\n{aot_page.floors()}\n<!-- floors ends -->" in text, "run make aot"


BAD_KERNELS = """
import torch, triton, triton.language as tl
from bench import aot

@triton.jit
def spilling(x, BLOCK: tl.constexpr):
    b = tl.load(x + tl.arange(0, BLOCK))
    tl.store(x + tl.arange(0, BLOCK), b - tl.sum(b))

@triton.jit
def inexact(x):
    b = tl.load(x + tl.arange(0, 128))
    tl.store(x + tl.arange(0, 128), b * b + b / 3.0 + tl.exp2(b))

@triton.jit
def large(x, BLOCK: tl.constexpr):
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    b = tl.dot(tl.load(x + rows * BLOCK + columns), tl.load(x + columns * BLOCK + rows))
    tl.store(x + rows * BLOCK + columns, b.to(tl.bfloat16))

x = torch.empty(2**18)
h = x.bfloat16()
for call in (
    lambda: spilling[(1,)](x, BLOCK=2**13, num_warps=1, enable_fp_fusion=False),
    lambda: inexact[(1,)](x, enable_fp_fusion=True),
    lambda: large[(1,)](h, BLOCK=256, num_warps=8, enable_fp_fusion=False),
):
    print(*[c for row in aot.compile_case("commit", "bad", call, 90) for c in row.complaints], sep="; ")
"""


def test_bad_kernels_are_seen(tmp_path: Path) -> None:
    """Spills, fused and approximate arithmetic in an operator of rung L3, too much shared memory."""
    done = without_interpreter(BAD_KERNELS, tmp_path)
    assert done.returncode == 0, done.stderr
    spilling, inexact, large = done.stdout.splitlines()
    assert re.match(r"[1-9]\d* bytes of spills, [1-9]\d* bytes of local memory", spilling)
    assert re.match(r"inexact instructions div\.\w+\.f32, ex2\.approx\S*, fma\.rn\.f32", inexact)
    assert "bytes of shared memory, a block may have 232448" in large


@pytest.mark.parametrize(
    ("arch", "registers", "warps", "shared", "blocks"),
    [(90, 32, 1, 0, 32), (90, 64, 8, 0, 4), (90, 65, 8, 0, 3), (90, 255, 16, 0, 0), (80, 32, 4, 81 * 1024, 2),
     (90, 32, 4, 227 * 1024, 1), (90, 16, 32, 0, 2)],
)  # fmt: skip
def test_resident_blocks(arch: int, registers: int, warps: int, shared: int, blocks: int) -> None:
    """CUDA's occupancy calculator: registers in portions of 256 a warp, 1 KiB of shared memory kept back a block."""
    assert aot.resident(arch, registers, warps, shared) == blocks


LOG = "ptxas info    : 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n: Used 40 registers\n"


def measured(log: str, ptx: str = "", operator: str = "commit", shared: int = 0) -> Any:
    metadata = SimpleNamespace(shared=shared, num_warps=4, triton_version="3.9.0")
    compiled = SimpleNamespace(metadata=metadata, name="some_kernel", asm={"ptx": ptx})
    return aot.measured(compiled, log, 90, operator=operator, case="c", options={"BLOCK": 64, "num_warps": 4})


def test_what_ptxas_says_is_understood() -> None:
    good = measured(LOG)
    assert (good.registers, good.spills, good.local, good.complaints) == (40, 0, 0, [])
    assert measured(LOG.replace("0 bytes spill loads", "8 bytes spill loads")).spills == 8
    assert measured(LOG.replace("0 bytes stack", "16 bytes stack")).local == 16
    assert "serialised (C7515)" in measured(LOG + "(C7515) Potential Performance Loss").complaints[0]
    assert "no registers" in measured("").complaints[0]
    assert measured(LOG, "fma.rn.f32 %f1;", "window_attention").complaints == []
    assert measured(LOG, "mul.ftz.f32 %f1;").complaints == ["inexact instructions mul.ftz.f32"]
    exact = "div.rn.f32 %f1; mul.rn.f32 %f2; fma.wide.u32 %r1; mad.lo.s32 %r1;"
    assert measured(LOG, exact).complaints == []


def test_files_of_runs_are_read_together(tmp_path: Path) -> None:
    rows = [measured(LOG), measured(LOG, "fma.rn.f32 %f1;")]
    aot.write(tmp_path / "a.json", {"commit": "12"}, rows)
    aot.write(tmp_path / "b.json", {"commit": "13"}, rows)
    aot.write(tmp_path / "c.json", {"cuda": "14"}, rows[:1])
    assert aot.read(tmp_path / "a.json") == ({"commit": "12"}, rows)
    assert aot.read(tmp_path / "a.json", tmp_path / "c.json") == ({"commit": "12", "cuda": "14"}, [*rows, rows[0]])
    with pytest.raises(SystemExit, match=r"b.json is of other sources than .*a.json; run make aot again"):
        aot.read(tmp_path / "a.json", tmp_path / "b.json")


def test_digests_follow_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("commit.py", "noise_mix.py", "pieces.py", "a.cu"):
        tmp_path.joinpath(name).write_text("1")
    monkeypatch.setattr(aot, "KERNELS", tmp_path)
    monkeypatch.setattr(aot, "CUDA_SOURCES", (tmp_path,))

    def changed_by(name: str) -> set[str]:
        before = {x: aot.digest(x) for x in ("commit", "noise_mix", "cuda")}
        tmp_path.joinpath(name).write_text(name)
        return {x for x in before if aot.digest(x) != before[x]}

    assert changed_by("commit.py") == {"commit", "cuda"}
    assert changed_by("pieces.py") == {"commit", "noise_mix", "cuda"}
    assert changed_by("a.cu") == {"cuda"}
