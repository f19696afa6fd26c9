"""End to end on the CPU with small shapes: rows, ratios, projections, what did not fit; full shapes by number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_bench_clock import FakeCuda

from bench import e2e, e2e_table, records, roofline
from bench.clock import CudaClock, HostClock
from bench.e2e_models import PAPER, SHAPES, Shape, build


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even smaller than small, and no long measuring of ceilings."""
    for name, shape in SHAPES.items():
        if name[1] == "small":
            tinier = Shape(1, 32, 48, 2, 2 if name[0] == "lumina" else 1, shape.vocabulary, shape.positions)
            monkeypatch.setitem(SHAPES, name, tinier)
    monkeypatch.setattr(roofline, "measure_ceilings", lambda device: roofline.Ceilings(1e10, {"float32": 1e11}))


def call(tmp_path: Path, *more: str) -> dict[str, Any]:
    words = ["--device", "cpu", "--models", "lumina", "--windows", "4", "--seconds", "0", "--out", str(tmp_path), *more]
    assert e2e.main(words) == 0
    path = records.newest("cpu", "e2e", tmp_path)
    assert path is not None
    return records.load(path)


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = call(tmp_path)["models"]
    assert [(row["policy"], row["L"], row["rows"]) for row in model["rows"]] == [
        ("ar", 1, 2), ("sjd", 4, 8), ("sjd2", 4, 2 * (16 + 3))
    ]  # fmt: skip
    for row in model["rows"]:
        assert row["tokens"] == 2357
        assert abs(row["prefix"] - 2357 // 2) < 60
        assert row["memory"] > model["weights"]
        assert row["projected"] is None  # small layers: the paper's steps would mean nothing
        (how,) = row["timings"]
        assert row["ratios"][how] == row["timings"][how]["median"] / row["ar"][how]["median"]
    (outside,) = model["outside"]
    assert outside["prompt"] == 1178
    out = capsys.readouterr().out
    assert "| 1 | sjd2 | 4 | 38 | - |" in out
    assert "transformers' generate" in out
    assert "paper" not in out


def test_memory_and_time_that_ran_out_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (model,) = call(tmp_path, "--limit", "-1", "--no-outside")["models"]
    assert all("limit" in row["skipped"] for row in model["rows"])
    right = e2e.Decoder

    def small(backbone: Any, policy: Any, *rest: Any, **options: Any) -> Any:
        if policy.noisy:
            raise MemoryError("lumina: not enough memory\nreally")
        return right(backbone, policy, *rest, **options)

    monkeypatch.setattr(e2e, "Decoder", small)
    (model,) = call(tmp_path, "--no-outside")["models"]
    assert [row.get("skipped") for row in model["rows"]] == [None, None, "lumina: not enough memory"]
    assert "not measured: lumina: not enough memory" in capsys.readouterr().out


def test_a_step_is_the_same_step_every_time() -> None:
    """Put back before every call: position, tokens and laws are those of the first."""
    _, backbone = build("lumina", "small", "cpu")
    step = e2e.Step(backbone, "sjd", 4, 2, HostClock())
    (measure,) = step.measures.values()
    w = None
    for _ in range(2):
        measure(0)
        held = [cell.cell_contents for cell in measure.__closure__ or ()]
        variant = next(each for each in held if hasattr(each, "setup"))
        window = variant.call.__self__.window
        now = (window.pos.tolist(), window.out.clone(), window.draft.clone())
        assert w is None or (w[0] == now[0] and torch.equal(w[1], now[1]) and torch.equal(w[2], now[2]))
        w = now
    assert w is not None
    assert min(w[0]) > 2357 // 2


def test_a_gpu_is_timed_as_a_graph_and_call_by_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device only keeps a log; a replay does nothing."""
    _, backbone = build("emu3", "small", "cpu")
    fake = SimpleNamespace(memory_allocated=lambda: 100, max_memory_allocated=lambda: 400)
    fake.reset_peak_memory_stats = lambda: None
    monkeypatch.setattr(e2e.torch, "cuda", fake)
    step = e2e.Step(backbone, "ar", 1, 1, CudaClock("cpu", FakeCuda()))
    assert list(step.measures) == ["graph", "events"]
    assert step.says["memory"] == backbone.memory().weights + 300


@pytest.mark.parametrize(
    ("model", "policy", "L", "seconds"),
    [("lumina", "ar", 1, 88.6), ("lumina", "sjd2", 96, 33.4), ("emu3", "ar", 1, 375.2), ("emu3", "sjd2", 128, 146.7)],
)
def test_projections_of_the_papers_own_times_are_its_seconds(model: str, policy: str, L: int, seconds: float) -> None:
    row = {"policy": policy, "L": L, "B": 2, "tokens": 100, "timings": {}}
    ms = PAPER[model].milliseconds[policy, L]
    row["timings"] = {"events": {"median": 9e9}, "graph": {"median": ms}}
    found = e2e.project(row, model)
    assert found is not None
    assert found["seconds"] == pytest.approx(seconds, rel=0.01)
    assert found["tokens_per_second"] == pytest.approx(200 / found["seconds"])
    assert e2e.project(row | {"L": 5}, model) is None


def weights(shape: Shape, head_norm: bool) -> int:
    """Parameters by arithmetic: a full model is never built in a test."""
    s, D = shape, shape.C // shape.H
    attention = 2 * s.C * s.H * D + 2 * s.C * s.Hkv * D + (2 * (s.H + s.Hkv) * D if head_norm else 0)
    layer = attention + 3 * s.C * s.wide + 2 * s.C
    return s.layers * layer + 2 * s.vocabulary * s.C + s.C


@pytest.mark.parametrize(("name", "billions"), [("lumina", 7.04), ("emu3", 8.49)])
def test_full_shapes_hold_the_published_number_of_weights(name: str, billions: float) -> None:
    assert weights(SHAPES[name, "full"], name == "lumina") / 1e9 == pytest.approx(billions, rel=0.01)
    _, backbone = build(name, "small", "cpu")
    named = [*backbone.text.named_parameters(), *backbone.lm_head.named_parameters()]
    counted = sum(weight.numel() for word, weight in named if not word.startswith("vqmodel."))
    assert counted == weights(SHAPES[name, "small"], name == "lumina")
    assert [SHAPES[name, "full"].H // SHAPES[name, "full"].Hkv] == [1 if name == "lumina" else 4]


def test_weights_are_random_and_ids_are_published() -> None:
    model, backbone = build("lumina", "small", "cpu")
    assert backbone.V == 8192
    assert backbone.grid().n_tokens == 2357
    assert float(model.lm_head.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_the_table_of_a_full_run_names_the_paper() -> None:
    row = {
        "policy": "sjd2", "L": 96, "B": 1, "rows": 222, "memory": 2**34, "timings": {"graph": {"median": 5.5}},
        "ratios": {"graph": 1.1}, "projected": {"steps": 592, "seconds": 3.26, "tokens_per_second": 724.0},
    }  # fmt: skip
    row["timings"]["events"] = {"median": 30.0}
    text = e2e_table._row({"model": "lumina", "scale": "full"}, row)
    assert text == (
        "| 1 | sjd2 | 96 | 222 | 5.5 | 30 | 1.10 (paper 1.50) | 16.00 GiB | 3.26 s, 724 tokens/s at 592 steps |"
    )
