"""Folders of a run: complete or not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sjd2.finetune.states import States

ONE: Any = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)


def test_the_newest_stays_and_counts_as_a_number(tmp_path: Path) -> None:
    states = States(tmp_path / "run")
    assert states.newest is None
    for step in (9, 10):
        folder = states.write(step, lambda path, step=step: (path / "x").write_text(str(step)), ONE)
    assert states.newest == (10, folder)
    assert (folder / "x").read_text() == "10"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state-10"]


def test_a_kill_while_writing_leaves_the_old_one(tmp_path: Path) -> None:
    def killed(path: Path) -> None:
        (path / "half").write_text("")
        raise KeyboardInterrupt

    states = States(tmp_path)
    states.write(3, lambda path: None, ONE)
    with pytest.raises(KeyboardInterrupt):
        states.write(4, killed, ONE)
    assert states.newest == (3, tmp_path / "state-3")
    folder = states.write(4, lambda path: (path / "whole").write_text(""), ONE)
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_names_do_not_mix(tmp_path: Path) -> None:
    States(tmp_path).write(3, lambda path: None, ONE)
    checkpoints = States(tmp_path, "checkpoint")
    assert checkpoints.newest is None
    checkpoints.write(5, lambda path: None, ONE)
    (tmp_path / "state-old").mkdir()
    assert States(tmp_path).newest == (3, tmp_path / "state-3")
