"""docs/heroes.md: what it says of the data is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sjd2.heroes import codes
from sjd2.heroes.captions import vocabulary
from sjd2.heroes.fit_codes import SEED, pictures, psnr
from sjd2.heroes.parts import SLOTS, names
from sjd2.heroes.parts import pictures as parts

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "heroes.md").read_text(encoding="utf-8")


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
