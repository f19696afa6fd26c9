"""The Markdown of a run: numbers read back, absent peers and failed floors named, old files still shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import table
from bench.harness import AGAIN, OURS, Comparison, Timing


def record(case: str = "V 8", headline: bool = False, **changed: Any) -> dict[str, Any]:
    timings = {OURS: 2.0, AGAIN: 2.1, "eager": 30.0, "copy": 1.0}
    fields: dict[str, Any] = {
        "targets": {"eager": 20.0},
        "absent": {"flashinfer": "not installed"},
        "floor": {"bytes": 1, "operations": 1, "ms": 0.5, "bound": "memory"},
        "headline": headline,
    }
    made = {name: Timing(ms, ms, ms, ms / 2) for name, ms in timings.items()}
    return Comparison("process_logits", case, made, **(fields | changed)).record()


def run(*records: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": {
            "model": "a processor", "cores": 2, "threads": 2, "native": "avx2", "load": 0.25, "torch": "2.13",
            "commit": "abc",
        },
        "ceilings": {"copy": 37e9, "matrix": {"float32": 0.2e12}},
        "noise": 0.12,
        "comparisons": list(records),
    }  # fmt: skip


def cells(text: str, first: str) -> dict[str, str]:
    """The row whose first cell is ``first``, by the names in its table's head."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head = next(lines[i - 1] for i in range(at, 0, -1) if lines[i].startswith("|---"))
    names, values = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, lines[at]))
    assert len(names) == len(values)
    return dict(zip(names, values, strict=True))


def test_a_row_reads_back() -> None:
    found = cells(table.render(run(record())), "V 8")
    assert found["sjd2"] == "2 / 1"
    assert found["of the floor"] == "25 % (memory)"
    assert found["eager"] == "30 / 15"
    assert found["target"] == "20x"
    assert AGAIN not in found


def test_ratios_are_of_medians_and_of_minima() -> None:
    held = record()
    held["ratios"]["eager"], held["ratios_of_minima"]["eager"] = 15.04, 17.26
    line = next(line for line in table.render(run(held)).splitlines() if line.startswith("| V 8"))
    assert "| 15.0x (17.3x) | 20x |" in line


def test_cases_without_a_peer_leave_its_cells_empty() -> None:
    other = record("V 9")
    for field in ("ratios", "ratios_of_minima", "timings"):
        del other[field]["eager"]
    found = cells(table.render(run(record(), other)), "V 9")
    assert (found["eager"], found["target"]) == ("", "")


def test_absent_peers_are_named_with_the_reason() -> None:
    text = table.render(run(record(), record("V 9")))
    assert "Not timed: flashinfer: not installed." in text
    text = table.render(run(record(), record("V 9", absent={})))
    assert "flashinfer: not installed (1 of 2 cases)." in text


def test_the_short_table_shows_the_marked_rows() -> None:
    text = table.short(run(record("V 8"), record("V 9", headline=True)))
    assert "V 9" in text
    assert "V 8" not in text
    assert "eager 15.0x (15.0x), copy 0.5x (0.5x)" in text
    assert "V 8" in table.short(run(record("V 8")))


def test_the_head_names_machine_ceilings_noise_and_commit() -> None:
    said = table.head(run())
    for part in (
        "a processor",
        "2 threads",
        "load 0.2",
        "commit abc",
        "copy 37 GB/s",
        "float32 0.2 TFLOP/s",
        "noise 12 %",
    ):
        assert part in said
    gpu = run()
    gpu["machine"] |= {"gpu": {"driver": "580", "sm_clock": "1980 MHz"}, "triton": "3.6.0"}
    assert "driver 580; SM clock 1980 MHz; triton 3.6.0" in table.head(gpu)


@pytest.mark.parametrize(("ms", "text"), [(0.01234, "0.0123"), (3.14159, "3.14"), (27.18, "27.2"), (1234.5, "1234")])
def test_numbers_have_three_digits(ms: float, text: str) -> None:
    assert table.number(ms) == text


def test_counts_and_policies() -> None:
    held = record(
        "Lumina", counts={"published loop": {"operations": 381, "synchronisations": 15, "wide_bytes": 141_000_000}}
    )
    assert cells(table.counts(run(held, record())), "Lumina")["host waits"] == "15"
    assert "141.0 MB" in table.counts(run(held))
    assert cells(table.decoder(run(held, record())), "Lumina")["policy sjd"] == "1.00"
    assert "V 8" not in table.decoder(run(held, record()))


def test_a_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run(record())))
    table.main([str(path)])
    assert "### process_logits" in capsys.readouterr().out
