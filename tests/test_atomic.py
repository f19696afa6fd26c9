"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sjd2.atomic import replacing
from sjd2.backbones import card
from sjd2.backbones.tiny import emu3_card, lumina_card


def test_the_name_is_taken_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as scratch:
        assert scratch.parent == tmp_path
        assert scratch.suffix == ".json"
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


def _interrupted(path: Path, error: type[BaseException]) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(b"ha")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interruption_leaves_the_old_file_and_no_scratch(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.png"
    for old in (None, b"old"):
        if old is not None:
            path.write_bytes(old)
        with pytest.raises(error):
            _interrupted(path, error)
        assert (path.read_bytes() if path.exists() else None) == old
        assert os.listdir(tmp_path) == ([] if old is None else ["a.png"])


def test_two_writers_do_not_share_a_scratch_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"  # the outer block ends last
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_card_is_written_that_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card.save_card(emu3_card(), tmp_path)
    before = (tmp_path / card.FILE).read_text()

    def interrupted(self: Path, text: str, **kwargs: object) -> None:
        with open(self, "w", encoding="utf-8") as file:
            file.write(text[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        card.save_card(lumina_card(), tmp_path)
    assert (tmp_path / card.FILE).read_text() == before
    assert os.listdir(tmp_path) == [card.FILE]
