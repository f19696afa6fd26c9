"""What plots show, and that a picture says what it was drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import plots
from bench.harness import AGAIN, OURS, Comparison, Timing
from bench.suites import sampling, window_attention


def record(suite: str, numbers: dict[str, Any], **timings: float) -> dict[str, Any]:
    times = {OURS: 1.0, AGAIN: 1.0} | timings
    made = {name: Timing(ms, ms, ms, ms) for name, ms in times.items()}
    floor = {"bytes": 1, "operations": 1, "ms": 0.25, "bound": "memory"}
    name = str(sorted(numbers.items()))
    return Comparison(suite, name, made, numbers=numbers, floor=floor).record()


def run() -> dict[str, Any]:
    base, heads = sampling.BASE, window_attention.BASE
    both = "process_logits + verify_accept"
    rows = [record(both, base | {"V": V}, eager=V / 1000, sjd2=V / 8192) for V in (65_536, 8192, 16_384)]
    rows += [record(both, base | {"L": L}, eager=9.0) for L in (16, 32)]
    rows += [record(both, base | {"L": 64, "dtype": "bfloat16"}, eager=1e9)]  # of no line
    rows += [record("window_attention", heads | {"prefix": n}, sdpa=n / 500) for n in (2048, 9216)]
    rows += [record("window_attention", heads | {"L": 1}, sdpa=0.1)]  # a row is no window
    rows += [record("commit", {"B": 1, "L": 96}, eager=1.0)]
    return {"machine": {"device": "cpu"}, "comparisons": rows}


def test_lines_go_through_the_base_along_one_axis() -> None:
    (panel,) = plots.panels(run(), "vocabulary")
    assert panel.lines["eager"] == [(8192, 8.192), (16_384, 16.384), (65_536, 65.536)]
    assert panel.lines["sjd2"] == [(8192, 1.0), (16_384, 2.0), (65_536, 8.0)]
    assert AGAIN not in panel.lines
    assert panel.floor == [(8192, 0.25), (16_384, 0.25), (65_536, 0.25)]
    assert panel.title.startswith("process_logits + verify_accept\nB 1, L 96")
    (panel,) = plots.panels(run(), "prefix")
    assert panel.lines["sdpa"] == [(2048, 4.096), (9216, 18.432)]
    (panel,) = plots.panels(run(), "window")
    assert [x for x, _ in panel.lines["eager"]] == [16, 32, 96]


def test_on_a_gpu_attention_is_shown_in_bfloat16() -> None:
    gpu = run()
    gpu["machine"]["device"] = "nvidia-h100"
    assert not plots.panels(gpu, "prefix")
    heads = window_attention.BASE | {"dtype": "bfloat16"}
    gpu["comparisons"] += [
        record("window_attention", heads | kind | {"prefix": n}, sdpa=1.0)
        for kind in (plots.MHA, plots.GQA) for n in (512, 1024)
    ]  # fmt: skip
    assert len(plots.panels(gpu, "prefix")) == 2


def test_old_files_have_no_points() -> None:
    old = run()
    for each in old["comparisons"]:
        del each["numbers"]
    assert all(not plots.panels(old, axis) for axis in plots.AXES)


def end_to_end() -> dict[str, Any]:
    rows = [
        {"policy": policy, "L": L, "B": B, "ratios": {"graph": 1 + L / 1000, "events": 9.0}}
        for B in (1, 2, 8) for policy, L in (("ar", 1), ("sjd", 16), ("sjd", 96), ("sjd2", 16), ("sjd2", 96))
    ]  # fmt: skip
    rows.append({"policy": "sjd2", "L": 128, "B": 8, "skipped": "no memory"})
    return {"machine": {"device": "x"}, "models": [{"model": "emu3", "scale": "full", "rows": rows}]}


def test_ratios_are_those_of_graphs_at_the_first_and_the_last_batch() -> None:
    first, last = plots.panels(end_to_end(), plots.RATIO)
    assert "batch 1" in first.title
    assert "batch 8" in last.title
    assert first.lines == {"emu3, sjd": [(16, 1.016), (96, 1.096)], "emu3, sjd2": [(16, 1.016), (96, 1.096)]}
    assert first.level == plots.TARGET


def test_a_picture_holds_the_digest_of_what_it_shows(tmp_path: Path) -> None:
    path = plots.path_of(tmp_path / "2026-11-25-abc.json", "window")
    assert path.name == "2026-11-25-abc-window.png"
    shown = plots.panels(run(), "window")
    plots.draw(shown, path, "a processor")
    with Image.open(path) as picture:
        assert picture.text["Description"] == plots.digest(shown)  # type: ignore[attr-defined]
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # white ground, whatever the page
    assert (pixels < 128).any(-1).mean() > 0.005
    shown[0].lines["eager"][0] = (16, 9.5)
    assert plots.digest(shown) != plots.digest(plots.panels(run(), "window"))


def test_colours_can_be_told_from_white() -> None:
    """Contrast of 4.5 to 1, as WCAG asks of text."""
    for color in (*plots.COLORS, plots.INK):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, color


def test_without_matplotlib_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"sjd2-kernels\[bench\]"):
        plots.draw(plots.panels(run(), "window"), tmp_path / "x.png", "")
