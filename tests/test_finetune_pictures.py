"""Folders of pictures: every way to caption them, and what scaling and cutting leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sjd2.finetune.pictures import find_pictures, pixels


def picture(path: Path, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def test_a_text_beside_each_picture(tmp_path: Path) -> None:
    for name, text in (("b.png", " two\n"), ("sub/a.WEBP", ""), ("c.jpeg", "three")):
        picture(tmp_path / name).with_suffix(".txt").write_text(text)
    (tmp_path / "notes.md").write_text("not a picture")
    found = [(p.path.relative_to(tmp_path).as_posix(), p.caption) for p in find_pictures(tmp_path)]
    assert found == [("b.png", "two"), ("c.jpeg", "three"), ("sub/a.WEBP", "")]


@pytest.mark.parametrize("table", ["metadata.jsonl", "metadata.csv", "captions.csv"])
@pytest.mark.parametrize("column", ["text", "caption"])
def test_captions_in_a_table(tmp_path: Path, table: str, column: str) -> None:
    lines = [("b.png", 'two, "quoted"'), ("a/x.jpg", "one")]
    for name, _ in lines:
        picture(tmp_path / name)
    picture(tmp_path / "not_listed.png")
    if table.endswith("jsonl"):
        text = "\n".join(json.dumps({"file_name": name, column: caption, "id": 3}) for name, caption in lines) + "\n\n"
    else:
        text = f'file_name,{column}\nb.png,"two, ""quoted"""\na/x.jpg,one\n'
    (tmp_path / table).write_text(text)
    found = [(p.path.relative_to(tmp_path).as_posix(), p.caption) for p in find_pictures(tmp_path)]
    assert found == sorted(lines)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        find_pictures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds neither pictures \(.png, .jpg, .jpeg, .webp\) with captions nor"):
        find_pictures(tmp_path)
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"pictures without a .txt file of the same name .*a.png \(1 in all\)"):
        find_pictures(tmp_path)
    (tmp_path / "captions.csv").write_text("file_name,text\na.png,x\nb.png,y\n")
    with pytest.raises(ValueError, match=r"captions.csv lists files that do not exist: .*b.png \(1 in all\)"):
        find_pictures(tmp_path)
    (tmp_path / "captions.csv").write_text("file,text\na.png,x\n")
    with pytest.raises(ValueError, match=r"captions.csv, entry 1: must have file_name, and text or caption"):
        find_pictures(tmp_path)


def test_a_picture_is_scaled_to_cover_and_cut_around_its_centre(tmp_path: Path) -> None:
    stripes = np.zeros((8, 32, 3), np.uint8)
    stripes[:, :12, 0], stripes[:, 12:20, 1], stripes[:, 20:, 2] = 255, 255, 255  # red, green in the middle, blue
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    got = pixels(tmp_path / "wide.png", (8, 8))
    assert got.shape == (8, 8, 3)
    assert got.dtype == np.uint8
    assert np.array_equal(got, stripes[:, 12:20])
    larger = pixels(tmp_path / "wide.png", (64, 16))
    assert larger.shape == (16, 64, 3)
    assert (larger[:, 30:34] == (0, 255, 0)).all()


def test_rotation_transparency_and_grey(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    half = np.zeros((4, 4, 3), np.uint8)
    half[:, :2] = 255
    Image.fromarray(half).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "turned.png", (4, 4))[..., 0], np.rot90(half[..., 0], -1))
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (pixels(tmp_path / "clear.png", (4, 4)) == 255).all()
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    assert (pixels(tmp_path / "grey.png", (2, 2)) == 7).all()


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"x.png cannot be read as a picture, repair or remove it: "):
        pixels(tmp_path / "x.png", (4, 4))
