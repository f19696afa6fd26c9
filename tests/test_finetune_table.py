"""The log: rows in order, dropped where a run goes back to an earlier step, read as columns."""

from __future__ import annotations

from pathlib import Path

from sjd2.finetune.table import Table


def test_rows_are_kept_across_a_resume_and_later_ones_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    table = Table(path, 0)
    table.add({"step": 0, "clean": 9.0})
    for step in (2, 4, 6):
        table.add({"step": step, "bits": 1 / step})
    again = Table(path, 4)
    again.add({"step": 6, "bits": 0.25, "clean": 3.0})
    assert path.read_text().splitlines() == ["step,clean,bits", "0,9,", "2,,0.5", "4,,0.25", "6,3,0.25"]
    assert again.columns() == {"clean": ([0, 6], [9.0, 3.0]), "bits": ([2, 4, 6], [0.5, 0.25, 0.25])}
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


def test_a_row_of_the_same_step_takes_the_place_of_the_first(tmp_path: Path) -> None:
    table = Table(tmp_path / "log.csv", 0)
    table.add({"step": 2, "bits": 1.0})
    table.add({"step": 2, "bits": 2.0})
    assert table.columns()["bits"] == ([2], [2.0])


def test_other_processes_keep_rows_and_write_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path / "log.csv", 0, write=False)
    table.add({"step": 1, "bits": 1.23456789})
    assert table.columns()["bits"] == ([1], [1.234568])
    assert not list(tmp_path.iterdir())
