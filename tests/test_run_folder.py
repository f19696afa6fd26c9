"""The folder of a run: what counts as done, the manifest of it, and what other runs are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sjd2.png import save_png
from sjd2.prompts import Picture
from sjd2.run_folder import RunFolder, differences

PICTURES = (Picture(1, "a", "a dwarf", 0), Picture(2, "b", "Bärenfell", 1, (8, 4)), Picture(5, "c", "an elf", 2))
SETTINGS = {"model": "toy", "guidance": 2.0}


def folder(path: Path, pictures: tuple[Picture, ...] = PICTURES, **settings: Any) -> RunFolder:
    return RunFolder(path, {**SETTINGS, **settings}, pictures)


def draw(run: RunFolder, picture: Picture, **more: object) -> None:
    text = {"run": run.run, "steps": 3, "tokens": 12, "scale": 2, **more}
    save_png(Image.new("RGB", (8, 4)), run.file(picture), text)


def test_what_is_there_is_done_and_in_the_manifest(tmp_path: Path) -> None:
    run = folder(tmp_path / "out")
    assert not run.begun
    run.claim()
    assert run.begun
    assert run.write_manifest() == []
    draw(run, PICTURES[2], status="NaN in the logits")
    draw(run, PICTURES[1])
    for reader in (run, folder(tmp_path / "out")):
        assert [reader.record(picture) is not None for picture in PICTURES] == [False, True, True]
        records = reader.write_manifest()
    lines = run.path.joinpath("manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    assert records[1] == {
        "id": "c", "file": "c.png", "prompt": "an elf", "seed": 2, "size": "4x2", "steps": 3, "tokens": 12,
        "status": "NaN in the logits",
    }  # fmt: skip
    assert (records[0]["prompt"], records[0]["status"]) == ("Bärenfell", "ok")
    assert "Bärenfell" in lines[0]


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    folder(tmp_path).claim()
    before = tmp_path.joinpath("run.json").stat().st_mtime_ns
    moved = tuple(Picture(p.line + 3, p.id, p.prompt, p.seed, p.size) for p in PICTURES)  # blank lines came in
    folder(tmp_path, moved).claim()
    assert tmp_path.joinpath("run.json").stat().st_mtime_ns == before
    assert folder(tmp_path, moved).run == folder(tmp_path).run


@pytest.mark.parametrize(
    ("pictures", "settings", "said"),
    [
        (PICTURES, {"guidance": 3.0}, "guidance 2.0 there, 3.0 now"),
        (PICTURES, {"top_k": 4, "model": "x"}, 'model "toy" there, "x" now; top_k null there, 4 now'),
        (PICTURES[:2], {}, "3 pictures there, 2 now"),
        (PICTURES[::2], {}, '3 pictures there, 2 now; picture 2 is {"id": "b", '),
        ((PICTURES[0], Picture(2, "b", "Bärenfell", 7, (8, 4)), PICTURES[2]), {}, "picture 2 is {.*1.* there, {.*7.*}"),
    ],
)
def test_another_run_is_told_what_differs(
    tmp_path: Path, pictures: tuple[Picture, ...], settings: dict[str, Any], said: str
) -> None:
    folder(tmp_path).claim()
    before = tmp_path.joinpath("run.json").read_bytes()
    other = folder(tmp_path, pictures, **settings)
    assert other.run != folder(tmp_path).run
    expected = rf"run\.json is of a run with other settings: {said if '.*' in said else re.escape(said)}.*take another"
    for refuse in (other.compare, other.claim):
        with pytest.raises(ValueError, match=expected):
            refuse()
    assert tmp_path.joinpath("run.json").read_bytes() == before


def test_equal_contents_do_not_differ() -> None:
    held = {"settings": {"a": None}, "pictures": [{"id": "a"}]}
    assert differences(held, {"settings": {}, "pictures": [{"id": "a"}]}) == []


def test_pictures_of_others_are_not_taken_for_done_nor_overwritten(tmp_path: Path) -> None:
    run = folder(tmp_path)
    save_png(Image.new("RGB", (2, 2)), run.file(PICTURES[1]))
    with pytest.raises(ValueError, match=r"b\.png is there, but no run\.json; take another folder, or move it away"):
        run.claim()
    assert not run.begun
    run.file(PICTURES[1]).unlink()
    run.claim()
    draw(folder(tmp_path, guidance=3.0), PICTURES[1])
    with pytest.raises(ValueError, match=r"b\.png is not of this run; take another folder, or move it away"):
        run.record(PICTURES[1])


def test_what_a_killed_process_left_is_removed_where_nobody_can_be_at_it(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.claim()
    draw(run, PICTURES[0])
    left, busy, foreign = (tmp_path / name for name in (".a.0123abcd.png", ".b.0123abcd.png", ".a.png"))
    for path in (left, busy, foreign):
        path.write_bytes(b"half")
    run.write_manifest()
    assert [path.exists() for path in (left, busy, foreign)] == [False, True, True]


def test_of_two_that_end_together_the_last_to_write_leaves_no_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one draws its last picture and writes its manifest between this one's look and its writing."""
    run, other = folder(tmp_path), folder(tmp_path)
    run.claim()
    draw(run, PICTURES[0])
    dumps, due = json.dumps, [True]

    def slow(value: Any, **options: Any) -> str:
        if due and isinstance(value, dict) and "file" in value:
            due.clear()
            draw(other, PICTURES[1])
            other.write_manifest()
        return dumps(value, **options)

    monkeypatch.setattr("sjd2.run_folder.json.dumps", slow)
    run.write_manifest()
    lines = tmp_path.joinpath("manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]
