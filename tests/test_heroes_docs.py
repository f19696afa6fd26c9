"""docs/heroes.md: its example runs, and what it says of the data is so. The examples in docstrings run as well."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest
from sjd2.heroes import codes
from sjd2.heroes.captions import vocabulary
from sjd2.heroes.fit_codes import SEED, pictures, psnr
from sjd2.heroes.parts import SLOTS, names
from sjd2.heroes.parts import pictures as parts

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "heroes.md").read_text(encoding="utf-8")


def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(block, "heroes.md", "exec"), {})
    expected = "an elf in a red robe with a golden crown, holding a brown spear, on a green background"
    assert capsys.readouterr().out.splitlines()[1] == expected


@pytest.mark.parametrize("name", ["captions", "hero", "read", "sheet", "stream"])
def test_docstring_examples_run(name: str) -> None:
    failed, attempted = doctest.testmod(import_module(f"sjd2.heroes.{name}"))
    assert (failed, attempted > 0) == (0, True)


def test_counts() -> None:
    assert f"{sum(len(names(slot)) for slot in SLOTS)} parts make" in TEXT
    assert f"{len(parts())} parts lie in the package" in TEXT
    assert f"They use {len(vocabulary())} words" in TEXT


@pytest.mark.parametrize("kind", ["patches", "palette"])
def test_decibels_are_those_of_the_shipped_tables(kind: str) -> None:
    codebook = codes.patches() if kind == "patches" else codes.palette()
    (said,) = re.findall(rf"\*\*{codebook.K:,}\*\* \| ([\d.]+) dB \| ([\d.]+) dB", TEXT)
    for mottled, decibels in enumerate(said):
        shown = pictures(SEED + 1, 0, 1000, mottled=bool(mottled), held_out=True)
        assert abs(psnr(codebook, shown) - float(decibels)) < 0.006
