"""A run as Markdown: ``python -m bench.table bench/results/cpu/<run>.json``"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import records
from .harness import AGAIN

Run = Mapping[str, Any]
Record = Mapping[str, Any]


def head(run: Run) -> str:
    """One line: the machine, its state, and the commit."""
    m = run["machine"]
    said = [m["model"]]
    if "gpu" in m:
        gpu = m["gpu"]
        said += [f"driver {gpu.get('driver', '?')}", f"SM clock {gpu.get('sm_clock', '?')}", f"triton {m['triton']}"]
    else:
        said += [f"{m['cores']} cores", f"{m['threads']} threads", m["native"], f"load {m['load']:.1f}"]
    said += [f"torch {m['torch']}", f"commit {m['commit']}"]
    if "ceilings" in run:
        c = run["ceilings"]
        rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in c["matrix"].items())
        said.append(f"copy {c['copy'] / 1e9:.3g} GB/s, matrix product {rates}")
    if "noise" in run:
        said.append(f"noise {100 * run['noise']:.0f} %")
    return "; ".join(said) + "."


def render(run: Run) -> str:
    """The whole run: one table per suite, a row per case.

    Times are median / minimum in milliseconds; a ratio is of medians, with that of minima in brackets; `target` is the
    least ratio asked for, where one is stated; `floor` is the percentage of the roofline's floor that ours reaches.
    """
    lines = [head(run)]
    for suite in dict.fromkeys(record["suite"] for record in run["comparisons"]):
        rows = [record for record in run["comparisons"] if record["suite"] == suite]
        lines += ["", f"### {suite}", "", *_suite(rows), *_absent(rows)]
    return "\n".join(lines)


def short(run: Run) -> str:
    """The rows that the README shows; all of them where a run marks none."""
    rows = [record for record in run["comparisons"] if record.get("headline")] or run["comparisons"]
    lines = [
        head(run),
        "",
        "| operator | case | ms, median / minimum | of the floor | times faster than |",
        "|" + "---|" * 5,
    ]
    for record in rows:
        faster = ", ".join(f"{peer} {_ratio(record, peer)}" for peer in record["ratios"])
        cells = [record["suite"], record["case"], times(record, record["ours"]), percent(record), faster]
        lines.append(row(cells))
    return "\n".join(lines)


def losses(run: Run) -> str:
    """Where a peer takes less time for the same, the worst first; a copy, or another policy, is not the same."""
    found = [
        (ratio, f"- {record['suite']}, {record['case']}: {peer} takes {ratio:.2f} of our time")
        for record in run["comparisons"]
        for peer, ratio in record["ratios"].items()
        if ratio < 1 and peer != "copy" and not peer.startswith("policy")
    ]
    return "\n".join(text for _, text in sorted(found)) or "Nowhere in this run."


def counts(run: Run) -> str:
    """What a decoding step asks of the device outside the model: ours beside the published loop."""
    cells = ["case", "variant", "tensor operations", "host waits", "vocabulary-sized results"]
    lines = [row(cells), "|" + "---|" * len(cells)]
    for record in run["comparisons"]:
        for variant, held in record.get("counts", {}).items():
            size = f"{held['wide_bytes'] / 1e6:.1f} MB"
            lines.append(row([record["case"], variant, str(held["operations"]), str(held["synchronisations"]), size]))
    return "\n".join(lines)


def decoder(run: Run) -> str:
    """Milliseconds of the policies' steps outside the model, best of the rounds."""
    rows = [record for record in run["comparisons"] if record.get("counts")]
    variants = list(dict.fromkeys(name for record in rows for name in record["timings"] if name != AGAIN))
    called = {"sjd2": "policy sjd"}  # the case's own variant
    lines = [row(["case", *(called.get(name, name) for name in variants)]), "|" + "---|" * (1 + len(variants))]
    for record in rows:
        found = [record["timings"].get(name) for name in variants]
        lines.append(row([record["case"], *(f"{t['minimum']:.2f}" if t else "-" for t in found)]))
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def times(record: Record, variant: str) -> str:
    """Median / minimum of a variant, with three digits."""
    held = record["timings"][variant]
    return f"{number(held['median'])} / {number(held['minimum'])}"


def number(milliseconds: float) -> str:
    """Three digits, never fewer than the whole ones."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def percent(record: Record) -> str:
    """Of the floor that ours reaches, and what bounds it."""
    value = record.get("percent_of_floor")
    return "-" if value is None else f"{value:.2g} % ({record['floor']['bound']})"


def _suite(rows: Sequence[Record]) -> Iterator[str]:
    peers = list(dict.fromkeys(peer for record in rows for peer in record["ratios"]))
    cells = ["case", "sjd2", "of the floor"]
    for peer in peers:
        cells += [peer, "times", *(["target"] if any(peer in record["targets"] for record in rows) else [])]
    yield row(cells)
    yield "|" + "---|" * len(cells)
    for record in rows:
        cells = [record["case"], times(record, record["ours"]), percent(record)]
        for peer in peers:
            there = peer in record["ratios"]
            cells += [times(record, peer), _ratio(record, peer)] if there else ["", ""]
            if any(peer in other["targets"] for other in rows):
                target = record["targets"].get(peer)
                cells.append(f"{target:g}x" if target and there else "")
        yield row(cells)


def _ratio(record: Record, peer: str) -> str:
    return f"{record['ratios'][peer]:.1f}x ({record['ratios_of_minima'][peer]:.1f}x)"


def _absent(rows: Sequence[Record]) -> Iterator[str]:
    """One line per peer and reason that could not be timed."""
    reasons: dict[str, list[str]] = {}
    for record in rows:
        for peer, reason in record.get("absent", {}).items():
            reasons.setdefault(f"{peer}: {reason}", []).append(record["case"])
    if reasons:
        yield ""
        yield "Not timed: " + "; ".join(
            reason + ("" if len(cases) == len(rows) else f" ({len(cases)} of {len(rows)} cases)")
            for reason, cases in reasons.items()
        ) + "."  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Print the tables of a file."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument("run", type=Path, help="a JSON file of bench/results")
    print(render(records.load(parser.parse_args(arguments).run)))


if __name__ == "__main__":
    main()
