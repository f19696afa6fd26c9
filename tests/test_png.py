"""PNG files: squares of one colour per pixel, text that reads back, and never half a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sjd2.png import check_png, enlarge, made_from, save_enlarged, save_png, scale_to


def coloured(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_every_pixel_becomes_a_square() -> None:
    picture = coloured(3, 2)
    large = np.asarray(enlarge(picture, 4))
    assert np.array_equal(large, np.kron(np.asarray(picture), np.ones((4, 4, 1), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("size", "scale"), [((32, 32), 16), ((12, 8), 43), ((511, 3), 2), ((512, 1), 1), ((768, 768), 1), ((3, 512), 1)]
)
def test_the_smallest_scale_that_suffices(size: tuple[int, int], scale: int) -> None:
    assert scale_to(size, 512) == scale


def test_text_reads_back(tmp_path: Path) -> None:
    path, picture = tmp_path / "new" / "folder" / "a.png", coloured(5, 4)
    save_png(picture, path, {"prompt": "a dwarf", "seed": 7, "negative_prompt": "ein Zwerg, 小人"})
    with Image.open(path) as read:
        assert np.array_equal(np.asarray(read), np.asarray(picture))
        assert read.text == {"prompt": "a dwarf", "seed": "7", "negative_prompt": "ein Zwerg, 小人"}
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("scale", "used"), [(None, 103), (1, 1), (7, 7)])
def test_a_small_picture_is_enlarged_and_says_so(tmp_path: Path, scale: int | None, used: int) -> None:
    save_enlarged(coloured(5, 4), tmp_path / "a.png", scale, made_from({"seed": 3, "top_k": None}))
    with Image.open(tmp_path / "a.png") as read:
        assert read.size == (5 * used, 4 * used)
        text = dict(read.text)
    assert text.pop("Software").startswith("sjd2-kernels ")
    assert text == {"seed": "3", "scale": str(used)}


def test_who_reads_the_old_file_reads_it_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(coloured(5, 4), path)
    held = path.read_bytes()
    with path.open("rb") as reader:
        start = reader.read(10)
        save_png(coloured(9, 9), path)
        assert start + reader.read() == held
    assert path.read_bytes() != held


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_png(coloured(2, 2), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_breaks_off_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "a.png"
    save_png(coloured(5, 4), path)
    held = path.read_bytes()

    def save(self: Image.Image, file: Path, **options: object) -> None:
        Path(file).write_bytes(held[:20])
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(type(error)):
        save_png(coloured(9, 9), path)
    assert path.read_bytes() == held
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_refused(tmp_path: Path) -> None:
    check_png(tmp_path / "a.PNG")
    (tmp_path / "folder.png").mkdir()
    for name in ("a.jpg", "a", "folder.png", ""):
        with pytest.raises(ValueError, match=r"out must be the name of a \.png file, got "):
            check_png(tmp_path / name)
