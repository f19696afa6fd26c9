"""What docs/kernels.md shows of the kernels, generated: what they compile to, and how each is launched."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sjd2.atomic import replacing

from .aot import KERNELS, THREADS, Compiled


def table(digests: dict[str, str], rows: list[Compiled]) -> str:
    """Markdown, a line per kernel, case and configuration, the architectures beside each other."""
    archs = sorted({row.arch for row in rows})
    lines = [
        "Registers per thread / bytes of shared memory / blocks that fit a multiprocessor (share of its threads).",
        "Spills and local memory are 0 unless said. Written by `make aot`, without a GPU.",
        "",
        "| kernel | case | configuration | compiler | " + " | ".join(f"sm_{arch}" for arch in archs) + " |",
        "|---" * (4 + len(archs)) + "|",
    ]
    by_line: dict[tuple[str, ...], dict[int, Compiled]] = {}
    for row in rows:
        options = " ".join(f"{name}={value}" for name, value in row.options.items() if name != "enable_fp_fusion")
        by_line.setdefault((row.kernel, row.case, options, row.compiler), {})[row.arch] = row
    for key, of_arch in sorted(by_line.items(), key=lambda item: item[0]):
        cells = [_cell(of_arch[arch]) if arch in of_arch else "" for arch in archs]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return "\n".join([*lines, "", f"<!-- sources {json.dumps(digests)} -->"])


def _cell(row: Compiled) -> str:
    share = f"{100 * row.blocks * row.threads // THREADS} %"
    cell = f"{row.registers} / {row.shared} / {row.blocks} ({share})"
    return cell + "".join(f" **{complaint}**" for complaint in row.complaints)


def floors() -> str:
    """Markdown: what each call that bench.gpu_check times must move and compute, and how long an H100 takes for it."""
    from .gpu.cases import FULL, H100

    lines = ["| operator | call | MB | GFLOP | floor, us | bound by |", "|---" * 6 + "|"]
    for case in FULL:
        milliseconds, bound = H100.floor(case.work)
        numbers = f"{case.work.bytes / 1e6:.3g} | {case.work.operations / 1e9:.3g} | {1e3 * milliseconds:.1f}"
        lines.append(f"| {case.operator} | {case.name} | {numbers} | {bound} |")
    return "\n".join(lines)


def launches() -> str:
    """Markdown: every entry of every launch table of the Triton kernels, in the order in which they are tried."""
    from sjd2_kernels.triton.launch import Config

    lines = ["| operator | case | sm | blocks | warps | stages | reason |", "|---" * 7 + "|"]
    for path in sorted(KERNELS.glob("*.py")):
        for case, config in _configs(importlib.import_module(f"sjd2_kernels.triton.{path.stem}"), Config):
            blocks = " ".join(f"{name}={size}" for name, size in config.blocks.items())
            archs = ", ".join(map(str, config.arch)) or "all"
            cells = (path.stem, case, archs, blocks, config.num_warps, config.num_stages, config.reason)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _configs(module: ModuleType, kind: type) -> Iterator[tuple[str, Any]]:
    """A module's launch configurations, each with its case, or with its name where a kernel has but one."""
    for name, value in vars(module).items():
        if name == "CONFIGS":
            yield from ((config.case or "every", config) for config in value)
        elif isinstance(value, kind):
            yield f"{name.lower()} kernel", value


def insert(page: Path, name: str, text: str) -> None:
    """Put ``text`` into a page, between the lines <!-- name begins --> and <!-- name ends -->."""
    old = page.read_text()
    begin, end = f"<!-- {name} begins -->\n", f"<!-- {name} ends -->"
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"bench.aot: {page} must have one line {begin.strip()} and one {end}")
    with replacing(page) as fresh:
        fresh.write_text(old[: old.index(begin)] + begin + text.strip() + "\n" + old[old.index(end) :])
