"""Blocks of the documents from files of `sjd2 eval` on heroes: settings side by side on two kinds of captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sjd2.evaluation.settings import ordered, parse
from sjd2.evaluation.table import Column, difference, field, markdown, number, percent, steps

Held = Mapping[str, Any]  # a file of results, its summary as `summarise` has it
FULL, SHORT = ("flat", "mottled"), ("flat short", "mottled short")
SHOWN = (  # in the README
    "ar", "sjd 16", "coupled 64", "sjd2 64/4 linear sampled", "sjd2-exact 48+16", "coupled 96", "sjd2-exact 64+32",
)  # fmt: skip


def full(held: Held) -> str:
    """Full captions."""
    return _side_by_side(held["summary"], FULL)


def short(held: Held) -> str:
    """Captions that leave things open."""
    return _side_by_side(held["summary"], SHORT)


def rows(held: Held) -> str:
    """sjd2-exact against coupled of the same model at equal rows, all kinds."""
    kinds = {name: kind for name, kind in held["summary"]["kinds"].items() if kind["pairs"]}
    found: dict[tuple[int, str, str], dict[str, str]] = {}
    for name, kind in kinds.items():
        for pair in kind["pairs"]:
            if "baseline" not in pair["other"]:
                found.setdefault((pair["rows"], pair["one"], pair["other"]), {})[name] = _ahead(pair)
    head = ["rows", "setting", "against", *kinds]
    lines = [[str(key[0]), *key[1:], *(of.get(kind, "-") for kind in kinds)] for key, of in found.items()]
    return _text(head, lines)


def seconds(held: Held) -> str:
    """Seconds of a picture, alone and in a batch, and how many times faster than ar under the same conditions."""
    ((kind, taken),) = held["timing"].items()
    of = {name: value for name, value in taken.items() if isinstance(value, Mapping)}
    lines = []
    for name in ordered(of):
        times = [(of[name][key], of["ar"][key] / of[name][key]) for key in ("alone", "batch")]
        lines.append([name, str(parse(name).rows), *(text for s, x in times for text in (f"{s:.2f}", f"{x:.2f}x"))])
    head = ["setting", "rows", "s alone", "ar / it", "s in a batch of 8", "ar / it"]
    where = f"{held['options']['model']}, {kind}, {taken['machine']}, commit {taken['commit']}:"
    return f"{where}\n\n{_text(head, lines)}"


def readme(held: Held) -> str:
    """The few settings of `SHOWN` on full captions."""
    kinds = [held["summary"]["kinds"][name] for name in FULL]
    lines = []
    for name in SHOWN:
        flat, mottled = (kind["settings"][f"tuned|{name}"] for kind in kinds)
        lines.append(
            [f"`{name}`", _lossless(name), str(flat["rows"]), f"{flat['steps']:.1f}", f"{mottled['steps']:.1f}",
             f"{percent(flat['right'])[:-2]} / {percent(mottled['right'])}"]
        )  # fmt: skip
    head = ["setting", "lossless", "rows", "steps, flat", "steps, mottled", "parts right, flat / mottled"]
    return _text(head, lines)


TABLES: dict[str, Callable[[Held], str]] = {
    "heroes_full": full, "heroes_short": short, "heroes_rows": rows, "heroes_seconds": seconds, "heroes": readme,
}  # fmt: skip


def _side_by_side(summary: Mapping[str, Any], kinds: tuple[str, ...]) -> str:
    """The settings that all kinds have."""
    of = [summary["kinds"][name]["settings"] for name in kinds]
    head = ["setting", "rows"] + [f"{kind}: {heading}" for kind in kinds for heading, _ in COLUMNS]
    lines = []
    for name, first in of[0].items():
        if all(name in settings for settings in of):
            cells = [cell(settings[name]) for settings in of for _, cell in COLUMNS]
            lines.append([first["called"], str(first["rows"]), *cells])
    return _text(head, lines)


def _bits(row: Mapping[str, Any]) -> str:
    """Beside those of plain decoding of the same model, where there is one."""
    more = row["bits_more"]
    return number(3)(row["bits"]) if more is None else difference(more, row["bits_half"], 3)


def _right(row: Mapping[str, Any]) -> str:
    """The same, in points."""
    more = row["right_more"]
    return percent(row["right"]) if more is None else difference(100 * more, 100 * row["right_half"], 2)


COLUMNS: tuple[Column, ...] = (
    ("steps", steps), ("compression", field("compression", number(2))), ("bits/token", _bits), ("parts right", _right),
    ("p of the law", field("p", number(3))),
)  # fmt: skip


def _ahead(pair: Mapping[str, Any]) -> str:
    """Steps more; bold where the interval lies below zero."""
    text = difference(pair["steps_more"], pair["steps_half"], 2)
    return f"**{text}**" if pair["steps_more"] + pair["steps_half"] < 0 else text


def _lossless(name: str) -> str:
    policy = parse(name).policy
    if policy.name == "ar":
        return "the reference"
    return ("yes, for the tuned model" if policy.noisy else "yes") if policy.lossless else "no"


def _text(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(markdown(head, lines))
