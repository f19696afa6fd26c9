"""Tables of heroes in the documents: which numbers stand where, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from sjd2.evaluation.summary import summarise
from test_evaluation_table import N, results

from bench import heroes_table


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    """Coupled 64, sjd 16 and two forms of sjd2-exact; mottled has them 10 steps slower, and no sjd 16."""
    made = results()
    for name, kept in list(made["cells"].items()):
        model, setting, _, seed = name.split("|")
        slow = kept["steps"] if setting == "ar" else [n + 10 for n in kept["steps"]]
        if setting != "sjd 16":
            made["cells"][f"{model}|{setting}|mottled|{seed}"] = kept | {"steps": slow}
    return made | {"summary": summarise(made)}


def lines(text: str) -> dict[str, list[str]]:
    """First cell -> the others."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert {len(row) for row in found} == {len(found[0])}
    assert set(found[1]) == {"---"}
    return {row[0]: row[1:] for row in found if row is not found[1]}


def test_kinds_stand_side_by_side(held: dict[str, Any]) -> None:
    found = lines(heroes_table.full(held))
    assert found["setting"][:3] == ["rows", "flat: steps", "flat: compression"]
    assert found["setting"][6] == "mottled: steps"
    assert "sjd 16" not in found, "only what both kinds have"
    assert found["ar"][:5] == ["1", f"{N}.0 ± 0.0", "1.00", "1.250", f"{10 / 11:.1%}".replace("%", " %")]
    row = found["sjd2-exact 64"]
    steps, slower = (float(row[at].split(" ± ")[0]) for at in (1, 6))
    assert slower - steps == pytest.approx(10)
    assert row[3] == "-0.250 ± 0.000", "bits beside those of ar"
    assert row[4].startswith("-9.09 ± "), "9 of 11 parts beside 10 of 11, in points"
    assert row[5] == "-", "no reference, no test"
    assert found["coupled 64 (baseline)"][3] == "1.000", "no ar of the same model: as it is"


def test_equal_rows_in_bold_where_they_are_ahead(held: dict[str, Any]) -> None:
    text = heroes_table.rows(held)
    assert "baseline" not in text
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert found[0] == ["rows", "setting", "against", "flat", "mottled"]
    assert [row[:3] for row in found[2:]] == [
        ["64", "sjd2-exact 64", "coupled 64"], ["64", "sjd2-exact 48+16", "coupled 64"],
    ]  # fmt: skip
    assert all(row[3].startswith("**-") and row[3] == row[4] for row in found[2:])
    pair = {"rows": 64, "one": "sjd2-exact 64", "other": "coupled 64", "steps_more": -1.0, "steps_half": 1.0}
    behind = heroes_table.rows({"summary": {"kinds": {"flat": {"pairs": [pair]}, "mottled": {"pairs": []}}}})
    assert "| 64 | sjd2-exact 64 | coupled 64 | -1.00 ± 1.00 |" in behind, "0 lies in the interval: not bold"


def test_the_readme_says_what_keeps_the_law() -> None:
    row = {"rows": 7, "steps": 20.04, "right": 0.9}
    kind = {"settings": {f"tuned|{name}": row for name in heroes_table.SHOWN}}
    found = lines(heroes_table.readme({"summary": {"kinds": {"flat": kind, "mottled": kind}}}))
    assert found["`ar`"] == ["the reference", "7", "20.0", "20.0", "90.0 / 90.0 %"]
    assert found["`coupled 64`"][0] == "yes"
    assert found["`sjd2 64/4 linear sampled`"][0] == "no"
    assert found["`sjd2-exact 48+16`"][0] == "yes, for the tuned model"


def test_seconds_beside_plain_decoding(held: dict[str, Any]) -> None:
    taken = {
        "sjd 16": {"alone": 0.5, "batch": 0.4}, "ar": {"alone": 1.25, "batch": 0.2},
        "sjd2-exact 48+16": {"alone": 1.0, "batch": 0.1}, "machine": "a computer", "commit": "abc",
    }  # fmt: skip
    title, _, *table = heroes_table.seconds(held | {"timing": {"mottled": taken}}).splitlines()
    assert title == "m, mottled, a computer, commit abc:"
    found = lines("\n".join(table))
    assert list(found)[1:] == ["ar", "sjd 16", "sjd2-exact 48+16"]
    assert found["sjd 16"] == ["16", "0.50", "2.50x", "0.40", "0.50x"]
    assert found["sjd2-exact 48+16"][0] == "64"
