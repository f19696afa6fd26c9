"""Results of `evaluate` as Markdown: one table per kind of caption, right parts by slot, and pairs at equal rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .captions import ATTRIBUTES
from .measure import KINDS, decibels, merged
from .settings import SETTINGS

Z = 1.96  # a 95 % interval of a mean over many captions


def mean_error(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean over seeds and captions of [seeds][captions] values, and its standard error over captions.

    The pictures of one caption are not independent of each other: they are averaged first.
    """
    per_caption = np.mean(np.asarray(values, float), 0)
    n = len(per_caption)
    return float(per_caption.mean()), float(per_caption.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def paired(cells: Mapping[str, Any], one: str, other: str, kind: str, field: str = "steps") -> tuple[float, float, int]:
    """Mean difference of a field, ``one`` minus ``other``, over the captions and seeds that both have.

    Args:
        cells: of a file of results.
        one, other: "model|setting".
        kind: of the captions.
        field: a list with one number per picture.

    Returns: the mean, half of its 95 % interval (over captions, seeds averaged), and the number of pairs.
    """
    seeds = sorted(set(_seeds(cells, one, kind)) & set(_seeds(cells, other, kind)))
    if not seeds:
        return math.nan, math.nan, 0
    a, b = ([cells[f"{name}|{kind}|{seed}"][field] for seed in seeds] for name in (one, other))
    mean, error = mean_error(np.subtract(a, b).tolist())
    return mean, Z * error, sum(map(len, a))


def _seeds(cells: Mapping[str, Any], name: str, kind: str) -> Iterator[int]:
    for key in cells:
        *front, at, seed = key.split("|")
        if "|".join(front) == name and at == kind:
            yield int(seed)


def render(held: Mapping[str, Any]) -> str:
    """All tables of a file of results."""
    cells = held["cells"]
    commits = ", ".join(sorted({cell["commit"] for cell in cells.values()}))
    o = held["options"]
    s = o["sampling"]
    lines = [
        f"{o['model']}, {o['captions']} held-out captions of each kind, guidance {s['guidance']:g}, temperature "
        f"{s['temperature']:g}, top-k {s['top_k'] or 'off'}; commit {commits}."
    ]
    for kind in KINDS:
        names = [name for name in _names(cells) if list(_seeds(cells, name, kind))]
        if names:
            lines += ["", f"## {kind}", "", *_settings(held, kind, names)]
            lines += ["", "Right parts by slot, in percent:", "", *_slots(held, kind, names)]
            lines += _against_ar(cells, kind, names) + _equal_rows(cells, kind, names)
    return "\n".join(lines) + "\n"


def _names(cells: Mapping[str, Any]) -> list[str]:
    """ "model|setting" in the order of `SETTINGS`, the tuned model first."""
    found = {key.rsplit("|", 2)[0] for key in cells}
    order = list(SETTINGS)
    return sorted(found, key=lambda name: (name.split("|")[0] != "tuned", order.index(name.split("|")[1])))


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _called(name: str) -> str:
    model, setting = name.split("|")
    return setting if model == "tuned" else f"{setting} ({model})"


def _all(cells: Mapping[str, Any], name: str, kind: str) -> tuple[dict[str, Any], list[list[int]]]:
    """The record over all seeds, and [seeds][captions] steps."""
    records = [cells[f"{name}|{kind}|{seed}"] for seed in _seeds(cells, name, kind)]
    fields = [{k: v for k, v in record.items() if k not in ("N", "commit")} for record in records]
    return merged(fields), [record["steps"] for record in records]


def _quality(record: Mapping[str, Any]) -> list[str]:
    """Right parts, those of them that are named, exact pictures, PSNR, bits."""
    slots = np.sum(list(record["slots"].values()), 0)
    exact, error = record.get("exact"), record.get("error")
    return [
        _percent(slots[1] + slots[4], slots[0] + slots[3]),
        _percent(slots[1], slots[0]),
        _percent(*exact) if exact else "-",
        f"{decibels(error):.1f} dB" if error else "-",
        f"{np.mean(record['bits']):.3f}",
    ]


def _settings(held: Mapping[str, Any], kind: str, names: Sequence[str]) -> list[str]:
    timing = held["timing"].get(kind, {})
    lines = _head(
        ["setting", "rows", "steps", "compression", "s alone", "s in a batch", "parts right", "named parts right",
         "exact", "PSNR", "bits/token"]
    )  # fmt: skip
    for name in names:
        record, steps = _all(held["cells"], name, kind)
        mean, error = mean_error(steps)
        model, setting = name.split("|")
        taken = timing.get(setting) if model == "tuned" else None
        seconds = [f"{taken[key]:.2f}" if taken else "-" for key in ("alone", "batch")]
        N = held["cells"][f"{name}|{kind}|{next(_seeds(held['cells'], name, kind))}"]["N"]
        first = [_called(name), str(SETTINGS[setting].rows), f"{mean:.1f} ± {error:.1f}", f"{N / mean:.2f}"]
        lines.append(_row([*first, *seconds, *_quality(record)]))
    for key, record in held["truth"].items():
        model, at = key.split("|")
        if at == kind:
            called = "true pictures" if model == "tuned" else f"true pictures ({model})"
            lines.append(_row([called, *"-----", *_quality(record)]))
    if timing:
        lines += ["", f"Seconds: {timing['machine']}, commit {timing['commit']}; steps: mean ± standard error."]
    return lines


def _slots(held: Mapping[str, Any], kind: str, names: Sequence[str]) -> list[str]:
    lines = _head(["setting", *ATTRIBUTES, "presence"])
    for name in names:
        record, _ = _all(held["cells"], name, kind)
        slots = record["slots"]
        shares = [_percent(slots[a][1] + slots[a][4], slots[a][0] + slots[a][3]).removesuffix(" %") for a in ATTRIBUTES]
        total = np.sum([slots[a] for a in ATTRIBUTES], 0)
        presence = _percent(total[2] + total[5], total[0] + total[3]).removesuffix(" %")
        lines.append(_row([_called(name), *shares, presence]))
    return lines


def _against_ar(cells: Mapping[str, Any], kind: str, names: Sequence[str]) -> list[str]:
    """Bits and right parts beside those of ar, same captions and seeds."""
    reference = "tuned|ar"
    if reference not in names:
        return []
    judged = np.mean(_all(cells, reference, kind)[0]["judged"])
    lines = ["", "Against ar, same captions (mean and half of the 95 % interval):", ""]
    lines += _head(["setting", "bits/token", "parts right, points", "pairs"])
    for name in names:
        if name != reference:
            bits, bits_error, n = paired(cells, name, reference, kind, "bits")
            right, right_error, _ = paired(cells, name, reference, kind, "right")
            points = f"{100 * right / judged:+.2f} ± {100 * right_error / judged:.2f}"
            lines.append(_row([_called(name), f"{bits:+.3f} ± {bits_error:.3f}", points, str(n)]))
    return lines


def _equal_rows(cells: Mapping[str, Any], kind: str, names: Sequence[str]) -> list[str]:
    """sjd2-exact against coupled of both models where both feed as many rows per iteration."""
    pairs = [
        (one, other)
        for one in names if one.split("|")[1].startswith("sjd2-exact")
        for other in names if other.split("|")[1].startswith("coupled")
        and SETTINGS[one.split("|")[1]].rows == SETTINGS[other.split("|")[1]].rows
    ]  # fmt: skip
    if not pairs:
        return []
    lines = ["", "At equal rows per iteration, same captions and seeds (mean and half of the 95 % interval):", ""]
    lines += _head(["rows", "setting", "against", "difference in steps", "pairs"])
    for one, other in sorted(pairs, key=lambda pair: SETTINGS[pair[0].split("|")[1]].rows):
        mean, error, n = paired(cells, one, other, kind)
        rows = str(SETTINGS[one.split("|")[1]].rows)
        lines.append(_row([rows, _called(one), _called(other), f"{mean:+.2f} ± {error:.2f}", str(n)]))
    return lines
