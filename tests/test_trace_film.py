"""Film strips and animations: which moments they show, and that the file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sjd2.strip import NIGHT_PAPER, Panel
from sjd2.trace import film
from sjd2.trace.film import FRAMES, HOLD, TICK, film_strip, race, save_gif
from sjd2.trace.record import Trace
from toy_backbone import Toy

TOY = Toy()
GRID = TOY.grid((4, 2))
N = GRID.n_tokens
TOKENS = [token if token >= 0 else 1 for token in GRID.forced.tolist()]


def decoding(chunks: list[int], seconds: list[float]) -> Trace:
    assert sum(chunks) == N
    return Trace("p", 2, 2, 0.5, chunks, seconds, [[]] * (len(chunks) + 1), [[]] * (len(chunks) + 1), TOKENS)


SLOW = decoding([1] * N, [1.0] * N)
QUICK = decoding([5, 4, 2], [2.0, 1.0, 1.0])


@pytest.fixture
def strips(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Panel], str]]:
    """What was given to `draw_strip`."""
    seen: list[Any] = []

    def draw_strip(panels: Any, title: str = "", **_: Any) -> Image.Image:
        seen.append((list(panels), title))
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(film, "draw_strip", draw_strip)
    return seen


def test_the_strip_starts_with_nothing_and_ends_with_the_picture(strips: Any) -> None:
    film_strip(TOY, SLOW, GRID, "a title", "seconds")
    ((panels, title),) = strips
    assert title == "a title"
    assert len(panels) == film.MOMENTS
    assert panels[0].lines == (f"step 0 of {N}", f"0 of {N} tokens", "0.50 s")
    assert panels[-1].lines == (f"step {N} of {N}", f"{N} of {N} tokens", f"{N + 0.5:.2f} s")
    assert len(set(np.asarray(panels[-1].picture)[..., 0].flatten())) == 1
    strips.clear()
    film_strip(TOY, QUICK, GRID, "", "steps")  # fewer steps than moments: each once
    assert strips[0][0][1].lines == ("step 1 of 3", f"5 of {N} tokens")
    assert [panel.lines[0] for panel in strips[0][0]] == [f"step {step} of 3" for step in range(4)]


def test_the_race_shows_both_at_the_same_time(strips: Any) -> None:
    race(TOY, {"quick": QUICK, "slow": SLOW}, GRID, "seconds")
    assert len(strips) == FRAMES + 1
    end = 0.5 + N
    for frame, (panels, title) in enumerate(strips):
        moment = end * frame / FRAMES
        assert title == f"after {moment:.2f} s"
        for panel, trace in zip(panels, (QUICK, SLOW), strict=True):
            done = sum(trace.prefill + sum(trace.seconds[: k + 1]) <= moment + 1e-9 for k in range(len(trace.seconds)))
            assert panel.lines[1] == f"step {done} of {len(trace.seconds)}"
            assert panel.lines[2].strip() == (f"done after {trace.prefill + sum(trace.seconds):.2f} s"
                                              if done == len(trace.seconds) else "")  # fmt: skip


def test_the_race_by_steps(strips: Any) -> None:
    race(TOY, {"quick": QUICK, "slow": SLOW}, GRID, "steps")
    panels, title = strips[-1]
    assert title == f"after {N} forward passes"
    assert [panel.lines[2] for panel in panels] == ["done after 3 steps", f"done after {N} steps"]
    for panels, title in strips:  # the longer one has a step a pass
        assert title.split()[1] == panels[1].lines[1].split()[1]
    quick_done = next(i for i, (p, _) in enumerate(strips) if p[0].lines[2] != " ")
    assert quick_done == -(-3 * FRAMES // N)


def test_frames_have_one_size_and_the_file_holds_them(tmp_path: Path) -> None:
    frames = race(TOY, {"quick": QUICK, "slow": SLOW}, GRID, "steps")
    assert len({frame.size for frame in frames}) == 1
    assert frames[0].getpixel((0, 0)) == NIGHT_PAPER
    some = [frames[0], frames[40], frames[-1]]
    save_gif(some, tmp_path / "new" / "race.gif")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["race.gif"]
    with Image.open(tmp_path / "new" / "race.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, frames[0].size, 0)
        times = []
        for at, frame in enumerate(some):
            gif.seek(at)
            times.append(gif.info["duration"])
            difference = np.asarray(gif.convert("RGB")).astype(int) - np.asarray(frame)
            assert abs(difference).max() < 16  # a palette of 256
    assert times == [TICK, TICK, HOLD]
