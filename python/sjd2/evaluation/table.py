"""A summary as Markdown: one table per kind of prompts, right parts by slot, and comparisons; and its cells as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Format = Callable[[Any], str]
Column = tuple[str, Callable[[Mapping[str, Any]], str]]  # heading, row -> text


def number(digits: int, unit: str = "", *, sign: str = "") -> Format:
    """A format of numbers; None is a dash.

    Example:
        >>> number(1, " dB")(21.26), number(2, sign="+")(0.125), number(0)(None)
        ('21.3 dB', '+0.12', '-')
    """
    return lambda value: "-" if value is None else f"{value:{sign}.{digits}f}{unit}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def difference(more: float, half: float | None, digits: int) -> str:
    """A difference and half of its 95 % interval.

    Example:
        >>> difference(-1.25, 0.5, 2)
        '-1.25 ± 0.50'
    """
    return f"{more:+.{digits}f} ± {number(digits)(half)}"


def field(key: str, form: Format) -> Callable[[Mapping[str, Any]], str]:
    """A number of a row as text."""
    return lambda row: form(row.get(key))


def steps(row: Mapping[str, Any]) -> str:
    """Mean steps of a row with their standard error."""
    return "-" if row.get("steps") is None else f"{row['steps']:.1f} ± {number(1)(row['steps_error'])}"


COLUMNS: tuple[Column, ...] = (
    ("rows", field("rows", number(0))),
    ("steps", steps),
    ("compression", field("compression", number(2))),
    ("s alone", field("alone", number(2))),
    ("became time, alone", field("alone_share", percent)),
    ("s in a batch", field("batch", number(2))),
    ("became time, batch", field("batch_share", percent)),
    ("parts right", field("right", percent)),
    ("named parts right", field("named_right", percent)),
    ("exact", field("exact", percent)),
    ("PSNR", field("psnr", number(1, " dB"))),
    ("bits/token", field("bits", number(3))),
    ("p, same law as ar", field("p", number(4))),
)


def setting_table(kind: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text of the main table of a kind, without columns that nothing is known of.

    Args:
        kind: of `summary.summarise`.
    """
    named = [(row["called"], row) for row in kind["settings"].values()]
    for model, row in kind["truth"].items():
        named.append(("true pictures" if model == "tuned" else f"true pictures ({model})", row))
    columns = [(head, text) for head, text in COLUMNS if any(text(row) != "-" for _, row in named)]
    return ["setting", *(head for head, _ in columns)], [[name, *(t(row) for _, t in columns)] for name, row in named]


def headline(summary: Mapping[str, Any]) -> str:
    """What was measured, in a sentence."""
    o = summary["options"]
    s = o["sampling"]
    what = "prompts" if "prompts" in summary["kinds"] else "held-out captions of each kind"
    commits = f"; commit {', '.join(summary['commits'])}" if summary["commits"] else ""  # none where seconds are all
    return (
        f"{o['model']}, {o['captions']} {what}, guidance {s['guidance']:g}, temperature "
        f"{s['temperature']:g}, top-k {s['top_k'] or 'off'}{commits}."
    )


def seconds_line(kind: Mapping[str, Any]) -> str:
    """Where the seconds come from; empty without seconds."""
    timing = kind["timing"]
    return f"Seconds: {timing['machine']}, commit {timing['commit']}; steps: mean ± standard error." if timing else ""


def render(summary: Mapping[str, Any]) -> str:
    """All tables of a summary as Markdown."""
    lines = [headline(summary)]
    for name, kind in summary["kinds"].items():
        lines += ["", f"## {name}", "", *markdown(*setting_table(kind))]
        lines += ["", seconds_line(kind)] if kind["timing"] else []
        if kind["slots"]:
            lines += ["", "Right parts by slot, in percent:", "", *_slots(kind["slots"], kind["settings"])]
        lines += _against_ar(kind["settings"]) + _equal_rows(kind["pairs"])
    return "\n".join(lines) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _slots(slots: Mapping[str, Mapping[str, float | None]], settings: Mapping[str, Any]) -> list[str]:
    head = ["setting", *next(iter(slots.values()))]
    rows = [
        [settings[name]["called"], *(percent(share).removesuffix(" %") for share in of.values())]
        for name, of in slots.items()
    ]
    return markdown(head, rows)


def _against_ar(settings: Mapping[str, Any]) -> list[str]:
    """Bits and right parts beside those of ar, same prompts and seeds."""
    rows = []
    known = any(row["right_more"] is not None for row in settings.values())
    for row in settings.values():
        if row["bits_more"] is not None:
            bits = difference(row["bits_more"], row["bits_half"], 3)
            points = difference(100 * (row["right_more"] or 0), 100 * (row["right_half"] or 0), 2)
            rows.append([row["called"], bits, *([points] if known else []), str(row["pairs"])])
    if not rows:
        return []
    head = ["setting", "bits/token", *(["parts right, points"] if known else []), "pairs"]
    return ["", "Against ar, same prompts (mean and half of the 95 % interval):", "", *markdown(head, rows)]


def _equal_rows(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not pairs:
        return []
    rows = []
    for pair in pairs:
        more = difference(pair["steps_more"], pair["steps_half"], 2)
        rows.append([str(pair["rows"]), pair["one"], pair["other"], more, str(pair["pairs"])])
    head = ["rows", "setting", "against", "difference in steps", "pairs"]
    title = "At equal rows per iteration, same prompts and seeds (mean and half of the 95 % interval):"
    return ["", title, "", *markdown(head, rows)]
