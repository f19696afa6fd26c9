"""The regression check: what it calls worse, and what it refuses to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.compare import changes, main, stated_noise


def result(ratio: float = 10.0, noise: float | None = 0.1, model: str = "a", **more: float) -> dict[str, Any]:
    ratios = {"eager": ratio, "smart eager": 4.0} | more
    held: dict[str, Any] = {
        "machine": {"model": model},
        "comparisons": [
            {"suite": "process_logits", "case": f"V {V}", "ratios": dict(ratios) if V == 8 else {"eager": 3.0}}
            for V in (8, 16)
        ],
    }
    return held if noise is None else held | {"noise": noise}


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def write(*runs: dict[str, Any]) -> list[str]:
        paths = [tmp_path / f"{i}.json" for i in range(len(runs))]
        for path, run in zip(paths, runs, strict=True):
            path.write_text(json.dumps(run))
        return [str(path) for path in paths]

    return write


@pytest.mark.parametrize(("ratio", "status"), [(10.0, 0), (9.2, 0), (9.0, 1), (5.0, 1), (20.0, 0), (float("nan"), 1)])
def test_worse_than_the_noise_fails(files: Any, capsys: pytest.CaptureFixture[str], ratio: float, status: int) -> None:
    assert main(files(result(), result(ratio))) == status
    out = capsys.readouterr().out
    assert ("process_logits: V 8, against eager: 10.00x" in out) == bool(status)
    assert f"3 ratios, noise 0.10: {status} worse, {int(ratio == 20)} better" in out


def test_the_larger_noise_counts_and_can_be_said(files: Any) -> None:
    assert main(files(result(), result(8.0, noise=0.3))) == 0
    assert main([*files(result(), result(8.0, noise=0.3)), "--noise", "0.1"]) == 1
    assert stated_noise(result(noise=0.2), result(noise=0.1)) == 0.2


def test_what_is_gone_fails_and_what_is_new_does_not(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    new = result(torch_compile=2.0)
    assert main(files(result(), new)) == 0
    del new["comparisons"][0]["ratios"]["eager"]
    assert main(files(result(), new)) == 1
    assert "is not measured any more" in capsys.readouterr().out
    new["comparisons"].clear()
    assert sum(change.now is None for change in changes(result(), new)) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (result(noise=None), result(), "the old file state no noise"),
        (result(), result(model="b"), "different machines.*model 'a' -> 'b'"),
        ({"machine": {"model": "a"}, "noise": 0.1, "comparisons": []}, result(), "no ratios"),
    ],
)
def test_refusals(
    files: Any, capsys: pytest.CaptureFixture[str], old: dict[str, Any], new: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(files(old, new))
    assert stopped.value.code == 2
    import re

    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_other_machines_on_request(files: Any) -> None:
    assert main([*files(result(), result(model="b")), "--across"]) == 0
