"""The command: cells are filled in, a stopped run goes on, results of other options are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from sjd2.heroes import evaluate, table
from sjd2.heroes.measure import Measure
from sjd2.heroes.model import Shape, build, save

TINY = Shape(C=32, layers=1, H=2, ffn=32)
POLICIES = "coupled 96,sjd2-exact 64+32"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [tmp_path_factory.mktemp("model") / name for name in ("tuned", "baseline")]
    for seed, folder in enumerate(made):
        save(build("heroes-lumina", TINY, seed=seed), folder, TINY)
    return made


def call(folders: list[Path], out: Path, **options: Any) -> dict[str, Any]:
    given = {"captions": 2, "seeds": 2, "policies": POLICIES, "kinds": "flat,mottled short", "timed": False} | options
    evaluate.main(
        str(folders[0]), out=out, batch=8, guidance=None, temperature=1.0, top_k=None, device="cpu", show=False,
        **{"baseline": "", "quick": False} | given,
    )  # fmt: skip
    return evaluate.read(out)


@pytest.fixture(scope="module")
def whole(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing stopped."""
    return call(folders, tmp_path_factory.mktemp("whole") / "a.json", baseline=str(folders[1]))


def test_every_cell_is_there_and_the_baseline_runs_what_it_can(whole: dict[str, Any]) -> None:
    names = {("tuned", "coupled 96"), ("tuned", "sjd2-exact 64+32"), ("baseline", "coupled 96")}
    kinds = ("flat", "mottled short")
    assert set(whole["cells"]) == {f"{m}|{s}|{kind}|{seed}" for m, s in names for kind in kinds for seed in range(2)}
    assert set(whole["truth"]) == {f"{model}|{kind}" for model in ("tuned", "baseline") for kind in kinds}
    for cell in whole["cells"].values():
        assert all(len(cell[field]) == 2 for field in ("steps", "bits", "judged", "right"))
        assert all(cell["N"] / 96 <= steps <= cell["N"] for steps in cell["steps"])
        assert cell["commit"]
    seeds = [whole["cells"][f"tuned|coupled 96|flat|{seed}"]["bits"] for seed in range(2)]
    assert seeds[0] != seeds[1]
    assert whole["cells"]["baseline|coupled 96|flat|0"]["bits"] != seeds[0]


def test_a_stopped_run_goes_on_and_ends_the_same(
    folders: list[Path], whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, drawn, calls = tmp_path / "b.json", Measure.drawn, []

    def stopped(self: Measure, *args: Any) -> dict[str, Any]:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return drawn(self, *args)

    monkeypatch.setattr(Measure, "drawn", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(folders, out, baseline=str(folders[1]))
    assert len(evaluate.read(out)["cells"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert call(folders, out, baseline=str(folders[1])) == whole
    assert len(calls) == 4 + 9
    call(folders, out, baseline=str(folders[1]))
    assert len(calls) == 4 + 9


def test_more_settings_and_seeds_can_be_added(folders: list[Path], tmp_path: Path) -> None:
    first = call(folders, tmp_path / "c.json", seeds=1, kinds="flat", policies="coupled 96")
    more = call(folders, tmp_path / "c.json", seeds=2, kinds="flat", policies="coupled 64")
    assert set(first["cells"]) == {"tuned|coupled 96|flat|0"}
    assert set(more["cells"]) == set(first["cells"]) | {f"tuned|coupled 64|flat|{seed}" for seed in range(2)}


def test_results_of_other_options_or_weights_are_refused(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    call(folders, out, seeds=1, kinds="flat", policies="coupled 96", captions=1)
    with pytest.raises(ValueError, match="captions = 1, not 2; give the same options, or another --out"):
        call(folders, out)
    with pytest.raises(ValueError, match="weights of tuned"):
        call(folders[::-1], out, captions=1)


def test_seconds_are_taken_of_all_settings_in_turn_and_once(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    decode = evaluate.decode

    def counted(backbone: Any, setting: Any, captions: Any, *args: Any) -> Any:
        calls.append((setting.window, len(captions)))
        return decode(backbone, setting, captions, *args)

    monkeypatch.setattr(evaluate, "decode", counted)
    options = {"captions": 1, "seeds": 1, "kinds": "flat", "timed": True}
    held = call(folders, tmp_path / "e.json", **options)
    assert calls[1:] == [(96, 1), (64, 1)] * evaluate.ROUNDS + [(96, 8), (64, 8)]
    call(folders, tmp_path / "e.json", **options)
    assert len(calls) == 3 + 2 * evaluate.ROUNDS
    taken = held["timing"]["flat"]
    assert all(taken[name][key] > 0 for name in POLICIES.split(",") for key in ("alone", "batch", "batch_step"))
    text = table.render(held)
    assert taken["machine"] in text
    assert f"| {taken['coupled 96']['alone']:.2f} | {taken['coupled 96']['batch']:.2f} |" in text


def test_the_table_shows_the_steps_of_the_file(
    whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(whole))
    evaluate.main(out=path, show=True)
    text = capsys.readouterr().out
    steps = [whole["cells"][f"tuned|coupled 96|flat|{seed}"]["steps"] for seed in range(2)]
    assert f"| coupled 96 | 96 | {np.mean(steps):.1f} ±" in text
    assert "## mottled short" in text
    assert "## mottled\n" not in text


def test_a_model_is_needed_and_known_kinds(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--model"):
        evaluate.main(out=tmp_path / "g.json")
    with pytest.raises(typer.BadParameter, match="there are flat, mottled"):
        call(folders, tmp_path / "g.json", kinds="flat,stripes")
