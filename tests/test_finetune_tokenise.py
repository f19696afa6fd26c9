"""The cache of codes: whole parts, shared by processes, kept after a kill, made anew where the source changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sjd2.finetune import tokenise as module
from sjd2.finetune.pictures import find_pictures
from sjd2.finetune.rows import read_rows
from sjd2.finetune.tokenise import tokenise
from torch import Tensor

SIZE = (6, 4)


def process(index: int = 0, count: int = 1) -> Any:
    """What is asked of an accelerator."""
    return SimpleNamespace(
        process_index=index, num_processes=count, is_main_process=index == 0, wait_for_everyone=lambda: None
    )


def encode(pictures: Tensor) -> Tensor:
    """One code per 2 x 2 pixels: the red value of the corner."""
    return pictures[:, ::2, ::2, 0].long() % 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures, three to a part."""
    monkeypatch.setattr(module, "PART", 3)
    monkeypatch.setattr(module, "TOGETHER", 2)
    draw = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(draw.integers(0, 256, (4, 6, 3), np.uint8)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(f"number {i}")
    return tmp_path


def run(folder: Path, *, size: tuple[int, int] = SIZE, who: Any = None, identity: str = "x") -> tuple[list[Path], int]:
    """The parts, and how many pictures went through the encoder."""
    seen = []

    def counting() -> Callable[[Tensor], Tensor]:
        return lambda pictures: (seen.append(len(pictures)), encode(pictures))[1]

    return tokenise(find_pictures(folder), counting, size, folder / "c", who or process(), identity), sum(seen)


def test_every_picture_has_its_codes_and_caption(folder: Path) -> None:
    parts, seen = run(folder)
    assert (len(parts), seen) == (4, 10)
    rows = read_rows(parts, 2, 3, 8)
    assert rows.captions == [f"number {i}" for i in range(10)]
    for i in range(10):
        pixels = np.asarray(Image.open(folder / f"{i}.png"))
        assert np.array_equal(rows.codes[i], encode(torch.from_numpy(pixels.copy())[None])[0])


def test_only_what_is_missing_is_done_again(folder: Path) -> None:
    parts, _ = run(folder)
    assert run(folder) == (parts, 0)
    parts[1].unlink()
    assert run(folder)[1] == 3
    (folder / "9.txt").write_text("another caption")
    assert run(folder)[1] == 1
    assert read_rows(parts, 2, 3, 8).captions[9] == "another caption"
    os.utime(folder / "0.png", (1, 1))
    assert run(folder)[1] == 3
    assert run(folder, identity="another encoder")[1] == 10
    assert run(folder, size=(4, 4), identity="another encoder")[1] == 10


def test_a_part_is_there_whole_or_not_at_all(folder: Path) -> None:
    """A kill in the middle: the finished parts stay, the one that was worked on is done again."""

    def stop() -> Callable[[Tensor], Tensor]:
        calls = []

        def encoder(pictures: Tensor) -> Tensor:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return encode(pictures)

        return encoder

    with pytest.raises(KeyboardInterrupt):
        tokenise(find_pictures(folder), stop, SIZE, folder / "c", process(), "x")
    assert [path.name for path in (folder / "c").iterdir()] == ["part-00000.parquet"]
    assert run(folder)[1] == 7


def test_processes_share_the_parts(folder: Path) -> None:
    """Both look for what is missing before either begins, as the barriers see to."""
    order: list[int] = []
    first, second = process(0, 2), process(1, 2)
    found: list[tuple[list[Path], int]] = []

    def at_the_barrier() -> None:  # the second process passes each barrier before the first works
        order.append(1)
        if len(order) == 2:
            found.append(run(folder, who=second))

    first.wait_for_everyone = at_the_barrier
    parts, seen = run(folder, who=first)
    assert (found[0][1], seen) == (4, 6)
    assert found[0][0] == parts
    assert len(read_rows(parts, 2, 3, 8).captions) == 10


def test_parts_of_a_larger_folder_are_not_read(folder: Path) -> None:
    assert len(run(folder)[0]) == 4
    for i in range(3, 10):
        (folder / f"{i}.png").unlink()
    parts, seen = run(folder)
    assert (len(parts), seen) == (1, 0)
