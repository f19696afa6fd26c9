"""What a file of results says, as numbers: a row per setting for each kind of prompts, and what the rows add up to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .records import decibels, merged
from .same_law import Pictures, same_law
from .settings import ordered, parse

Z = 1.96  # a 95 % interval of a mean over many prompts
NOT_MERGED = ("N", "commit")

Row = dict[str, Any]


def summarise(held: Mapping[str, Any]) -> dict[str, Any]:
    """All that the tables show.

    Args:
        held: a file of results, from `results.read`.

    Returns: ``options``, ``commits``, and ``kinds``: kind -> ``settings`` (rows by "model|setting", see `_row`),
    ``truth`` (rows by model), ``slots`` (right parts in percent by "model|setting" and slot), ``pairs`` (settings of
    equal W), ``timing`` (machine and commit). What is not known is None. Plain JSON; deterministic.
    """
    cells, kinds = held["cells"], {}
    for kind in dict.fromkeys(key.rsplit("|", 2)[1] for key in cells):
        names = [name for name in _names(cells) if list(_seeds(cells, name, kind))]
        timing = held["timing"].get(kind)
        settings = {name: _row(held, kind, name) for name in names}
        truth = {
            key.split("|")[0]: _quality(record) for key, record in held["truth"].items() if key.split("|")[1] == kind
        }
        kinds[kind] = {
            "settings": settings,
            "truth": truth,
            "slots": {name: slots for name in names if (slots := _slots(_all(cells, name, kind)))},
            "pairs": _equal_rows(cells, kind, names),
            "timing": timing and {key: timing[key] for key in ("machine", "commit")},
        }
    commits = sorted({cell["commit"] for cell in cells.values()})
    return {"options": held["options"], "commits": commits, "kinds": kinds}


def mean_error(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean over seeds and prompts of [seeds][prompts] values, and its standard error over prompts.

    The pictures of one prompt are not independent of each other: they are averaged first.
    """
    per_prompt = np.mean(np.asarray(values, float), 0)
    n = len(per_prompt)
    return float(per_prompt.mean()), float(per_prompt.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def paired(cells: Mapping[str, Any], one: str, other: str, kind: str, field: str = "steps") -> tuple[float, float, int]:
    """Mean difference of a field, ``one`` minus ``other``, over the prompts and seeds that both have.

    Args:
        cells: of a file of results.
        one, other: "model|setting".
        kind: of the prompts.
        field: a list with one number per picture.

    Returns: the mean, half of its 95 % interval (over prompts, seeds averaged), and the number of pairs.
    """
    seeds = sorted(set(_seeds(cells, one, kind)) & set(_seeds(cells, other, kind)))
    if not seeds:
        return math.nan, math.nan, 0
    a, b = ([cells[f"{name}|{kind}|{seed}"][field] for seed in seeds] for name in (one, other))
    mean, error = mean_error(np.subtract(a, b).tolist())
    return mean, Z * error, sum(map(len, a))


def called(name: str) -> str:
    """ "model|setting" in words."""
    model, setting = name.split("|")
    return setting if model == "tuned" else f"{setting} ({model})"


def _seeds(cells: Mapping[str, Any], name: str, kind: str) -> Iterator[int]:
    for key in cells:
        *front, at, seed = key.split("|")
        if "|".join(front) == name and at == kind:
            yield int(seed)


def _names(cells: Mapping[str, Any]) -> list[str]:
    """ "model|setting" in the order of `settings.NAMES`, the tuned model first."""
    found = dict.fromkeys(key.rsplit("|", 2)[0] for key in cells)
    order = {name: place for place, name in enumerate(ordered(name.split("|")[1] for name in found))}
    return sorted(found, key=lambda name: (name.split("|")[0] != "tuned", order[name.split("|")[1]]))


def _all(cells: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    """The record over all seeds."""
    records = [cells[f"{name}|{kind}|{seed}"] for seed in sorted(_seeds(cells, name, kind))]
    shared = set.intersection(*(set(record) for record in records)) - set(NOT_MERGED)
    return merged([{key: record[key] for key in record if key in shared} for record in records])


def _number(value: float) -> float | None:
    """None for what JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def _row(held: Mapping[str, Any], kind: str, name: str) -> Row:
    """W, steps and what they became, quality, and the differences to plain decoding of the same model."""
    cells, setting = held["cells"], name.split("|")[1]
    seeds = sorted(_seeds(cells, name, kind))
    steps, error = mean_error([cells[f"{name}|{kind}|{seed}"]["steps"] for seed in seeds])
    N, record = cells[f"{name}|{kind}|{seeds[0]}"]["N"], _all(cells, name, kind)
    row: Row = {
        "called": called(name), "rows": parse(setting).rows, "pictures": len(record["steps"]), "tokens": N,
        "steps": steps, "steps_error": _number(error), "compression": N / steps,
    }  # fmt: skip
    return row | _seconds(held, kind, name) | _quality(record) | _against_plain(held, kind, name)


def _seconds(held: Mapping[str, Any], kind: str, name: str) -> Row:
    """Seconds per picture, and the share of the compression that became time: with plain decoding as 1, the speed-up
    over the step compression of the same run, which is the seconds of a plain step over the seconds of a step."""
    (model, setting), timing = name.split("|"), held["timing"].get(kind, {})
    own, plain = (timing.get(key) if model == "tuned" else None for key in (setting, "ar"))
    row: Row = {}
    for key in ("alone", "batch"):
        row[key] = own[key] if own else None
        row[f"{key}_share"] = plain[f"{key}_step"] / own[f"{key}_step"] if own and plain else None
    return row


def _quality(record: Mapping[str, Any]) -> Row:
    """Right parts, those of them that are named, exact pictures (shares), PSNR, bits."""
    exact, error = record.get("exact"), record.get("error")
    slots = np.sum(list(record["slots"].values()), 0).tolist() if "slots" in record else [0] * 6
    return {
        "right": _share(slots[1] + slots[4], slots[0] + slots[3]),
        "named_right": _share(slots[1], slots[0]),
        "exact": _share(*exact) if exact else None,
        "psnr": decibels(error) if error else None,
        "bits": float(np.mean(record["bits"])),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _against_plain(held: Mapping[str, Any], kind: str, name: str) -> Row:
    """Bits and right parts beside those of ar, same prompts and seeds; p of `same_law` against the reference."""
    cells, model = held["cells"], name.split("|")[0]
    plain, seeds = f"{model}|ar", sorted(_seeds(cells, name, kind))
    row: Row = dict.fromkeys(("bits_more", "bits_half", "right_more", "right_half", "p", "p_bits", "p_counts"))
    row["pairs"] = 0
    if plain != name and any(True for _ in _seeds(cells, plain, kind)):
        more, half, row["pairs"] = paired(cells, name, plain, kind, "bits")
        row |= {"bits_more": _number(more), "bits_half": _number(half)}
        if "right" in cells[f"{name}|{kind}|{seeds[0]}"]:
            judged = float(np.mean(_all(cells, plain, kind)["judged"]))
            more, half, _ = paired(cells, name, plain, kind, "right")
            row |= {"right_more": _number(more / judged), "right_half": _number(half / judged)}
    tested = [seed for seed in seeds if f"{model}|{kind}|{seed}" in held["reference"]]
    tested = [seed for seed in tested if "counts" in cells[f"{name}|{kind}|{seed}"]]
    if tested:
        own = merged([_pictures(cells[f"{name}|{kind}|{seed}"]) for seed in tested])
        other = merged([_pictures(held["reference"][f"{model}|{kind}|{seed}"]) for seed in tested])
        verdict = same_law(Pictures(**own), Pictures(**other))
        row |= {"p": verdict.p, "p_bits": verdict.p_bits, "p_counts": verdict.p_counts}
    return row


def _pictures(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("bits", "counts")}


def _slots(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Share of right parts by slot, and that of right presence over all slots."""
    if "slots" not in record:
        return {}
    found = {name: _share(s[1] + s[4], s[0] + s[3]) for name, s in record["slots"].items()}
    total = np.sum(list(record["slots"].values()), 0).tolist()
    return found | {"presence": _share(total[2] + total[5], total[0] + total[3])}


def _equal_rows(cells: Mapping[str, Any], kind: str, names: Sequence[str]) -> list[Row]:
    """sjd2-exact against coupled of both models where both feed as many rows per iteration."""
    rows = {name: parse(name.split("|")[1]).rows for name in names}
    found = []
    for one in names:
        for other in names:
            exact, plain = one.split("|")[1].startswith("sjd2-exact"), other.split("|")[1].startswith("coupled")
            if exact and plain and rows[one] == rows[other]:
                more, half, pairs = paired(cells, one, other, kind)
                found.append(
                    {"rows": rows[one], "one": called(one), "other": called(other), "steps_more": _number(more),
                     "steps_half": _number(half), "pairs": pairs}
                )  # fmt: skip
    return sorted(found, key=lambda row: row["rows"])
