"""Blocks of the documents from files of `sjd2 eval` on heroes: settings side by side on two kinds of captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sjd2.evaluation.settings import ordered, parse
from sjd2.evaluation.table import percent

Held = Mapping[str, Any]  # a file of results, its summary as `summarise` has it
FULL, SHORT = ("flat", "mottled"), ("flat short", "mottled short")
SHOWN = (  # in the README
    "ar", "sjd 16", "coupled 64", "sjd2 64/4 linear sampled", "sjd2-exact 48+16", "coupled 96", "sjd2-exact 64+32",
)  # fmt: skip
Cell = Callable[[Mapping[str, Any]], str]


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
                found.setdefault((pair["rows"], pair["one"], pair["other"]), {})[name] = _difference(pair)
    head = ["rows", "setting", "against", *kinds]
    lines = [[str(key[0]), *key[1:], *(of.get(kind, "-") for kind in kinds)] for key, of in found.items()]
    return _markdown(head, lines)


def seconds(held: Held) -> str:
    """Seconds of a picture, alone and in a batch, and how many times faster than ar under the same conditions."""
    ((kind, taken),) = held["timing"].items()
    of = {name: value for name, value in taken.items() if isinstance(value, Mapping)}
    lines = []
    for name in ordered(of):
        cells = [f"{of[name][key]:.2f} | {of['ar'][key] / of[name][key]:.2f}x" for key in ("alone", "batch")]
        lines.append([name, str(parse(name).rows), *cells])
    head = ["setting", "rows", "s alone", "ar / it", "s in a batch of 8", "ar / it"]
    where = f"{held['options']['model']}, {kind}, {taken['machine']}, commit {taken['commit']}:"
    return f"{where}\n\n{_markdown(head, lines)}"


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
    return _markdown(head, lines)


TABLES: dict[str, Callable[[Held], str]] = {
    "heroes_full": full, "heroes_short": short, "heroes_rows": rows, "heroes_seconds": seconds, "heroes": readme,
}  # fmt: skip


def _side_by_side(summary: Mapping[str, Any], kinds: tuple[str, ...]) -> str:
    """Steps, compression, bits and right parts; the latter two of a setting that has plain decoding of the same model
    beside it as the difference to that."""
    of = [summary["kinds"][name]["settings"] for name in kinds if name in summary["kinds"]]
    columns: list[tuple[str, Cell]] = [
        ("steps", _steps), ("compression", lambda row: f"{row['compression']:.2f}"), ("bits/token", _bits),
        ("parts right", _right), ("p of the law", _p),
    ]  # fmt: skip
    head = ["setting", "rows"] + [f"{kind}: {heading}" for kind in kinds for heading, _ in columns]
    lines = []
    for name in of[0]:
        if all(name in settings for settings in of):
            first = of[0][name]
            lines.append(
                [first["called"], str(first["rows"])] + [cell(rows_of[name]) for rows_of in of for _, cell in columns]
            )
    return _markdown(head, lines)


def _steps(row: Mapping[str, Any]) -> str:
    error = f" ± {row['steps_error']:.1f}" if row["steps_error"] else ""
    return f"{row['steps']:.1f}{error}"


def _bits(row: Mapping[str, Any]) -> str:
    more = row["bits_more"]
    return f"{row['bits']:.3f}" if more is None else f"{more:+.3f} ± {row['bits_half']:.3f}"


def _right(row: Mapping[str, Any]) -> str:
    more = row["right_more"]
    return percent(row["right"]) if more is None else f"{100 * more:+.2f} ± {100 * row['right_half']:.2f}"


def _p(row: Mapping[str, Any]) -> str:
    return "-" if row["p"] is None else f"{row['p']:.3f}"


def _difference(pair: Mapping[str, Any]) -> str:
    """Steps more; bold where the interval lies below zero."""
    text = f"{pair['steps_more']:+.2f} ± {pair['steps_half']:.2f}"
    return f"**{text}**" if pair["steps_more"] + pair["steps_half"] < 0 else text


def _lossless(name: str) -> str:
    policy = parse(name).policy
    if policy.name == "ar":
        return "the reference"
    return ("yes, for the tuned model" if policy.noisy else "yes") if policy.lossless else "no"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
