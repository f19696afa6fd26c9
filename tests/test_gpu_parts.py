"""The checks of bench/gpu: that each sees what it is there to see."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.gpu import build, cases, decoding, environment, operators, sanitizer, tests
from bench.gpu.verdict import ABSENT, FAIL, PASS, Setting
from sjd2_kernels.schemas import SCHEMAS

CPU = Setting("cpu", small=True)


def test_every_operator_has_its_cases() -> None:
    for several in (cases.FULL, cases.SMALL):
        assert {case.operator for case in several} == set(SCHEMAS)
    assert len({(case.operator, case.name) for case in cases.FULL}) == len(cases.FULL)


@pytest.mark.parametrize(
    ("operator", "name", "us"),
    [
        # 2 x 96 x 8192 logits of 2 bytes read, 96 x 8192 probabilities of 4 bytes written, at 3 TB/s
        ("process_logits", "V=8192, guidance, top-k 2000", 2.10),
        # two model rows: keys and values of 4096 entries, 32 heads of 128, and 97 rows of six tensors
        ("window_attention", "MHA 32/32, M=97, D=128, prefix 4096", 47.9),
        ("window_attention", "GQA 32/8, M=97, D=128, prefix 4096", 16.7),  # arithmetic
        ("nearest_token", "V=32768, L=64, C=4096", 89.9),
        ("noise_mix", "2 x 96 x 4096", 3.16),
    ],
)
def test_floors(operator: str, name: str, us: float) -> None:
    """The sizes that a case tells bench/roofline.py are those of its inputs."""
    (case,) = (case for case in cases.FULL if (case.operator, case.name) == (operator, name))
    assert math.isclose(1e3 * cases.H100.floor(case.work)[0], us, rel_tol=0.01)


def test_a_wrong_result_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of a sampler, an id, an error above the tolerance, a NaN."""
    run = cases.Case.run

    def spoiled(index: int, change: Any) -> Any:
        def other(case: cases.Case, inputs: cases.Inputs, backend: str | None) -> list[Tensor]:
            out = [x.clone() for x in run(case, inputs, backend)]
            if backend == "native":
                change(out[index])
            return out

        return other

    logits, attention, nearest = (cases.SMALL[i] for i in (0, 3, 6))
    assert operators.compare(logits, "native", "cpu") == 0.0
    for case, index, change, message in (
        (logits, 0, lambda p: p.view(torch.int32)[0, 0, :1].add_(1), "output 0: 1 of 210 differ, first at [0, 0, 0]"),
        (logits, 1, lambda fresh: fresh[0, 2:].add_(1), "output 1: 1 of 3 differ, first at [0, 2]"),
        (nearest, 0, lambda token: token.add_(1), "output 0: 5 of 5 differ"),
        (attention, 0, lambda out: out.mul_(1.02), "output 0 is off by"),
        (attention, 2, lambda cache: cache[0, 0, 0, :1].fill_(math.nan), "output 2 is off by nan"),
    ):
        monkeypatch.setattr(cases.Case, "run", spoiled(index, change))
        with pytest.raises(AssertionError) as caught:
            operators.compare(case, "native", "cpu")
        assert str(caught.value).startswith(message)
    found = [v for v in operators.check(replace(CPU, until=0.0)) if v.outcome == FAIL]
    assert {v.detail for v in found} == {"out of time"}


@pytest.mark.parametrize("index", range(len(cases.SMALL)))
def test_every_call_can_be_repeated(index: int) -> None:
    """A graph replays a call with what the last replay left; commit must still have something to do then."""
    case = cases.SMALL[index]
    inputs = case.make(2)
    for _ in range(3):
        out = case.run(inputs, None)
    if case.operator == "commit":
        assert out[0].tolist() == [3]  # accept_len 2
        assert inputs["done"].tolist() == [0]


SUITE = """
import os, pytest
pytestmark = [pytest.mark.gpu]
@pytest.mark.parametrize("i", range(3))
def test_good(i): pass
def test_bad(): assert 1 == 2
@pytest.mark.skip(reason="no CUDA device")
def test_absent(): pass
@pytest.fixture
def broken(): yield; raise OSError("late")
def test_broken_end(broken): pass
def test_crash(): os._exit(7)
def test_after(): pass
"""


def test_results_of_shares(tmp_path: Path) -> None:
    """Two processes share outcomes of every kind; one of them dies, and what it had left is not run."""
    file, other = tmp_path / "test_some.py", tmp_path / "test_other.py"
    file.write_text(SUITE)
    other.write_text("def test_not_for_a_device(): pass")
    several = {v.name: v for v in tests.run([str(file), str(other), "--import-mode=importlib"], 2, CPU)}
    assert list(several) == ["test_some", "share 0"]
    found = several["test_some"].data
    # share 0: good[0], good[2], absent, crash; share 1: good[1], bad, broken_end, after
    assert {k: v for k, v in found.items() if k != "failures"} == {"passed": 4, "failed": 2, "skipped": 1, "not run": 1}
    assert [text.partition("::")[2] for text in found["failures"]] == [
        "test_bad: assert 1 == 2",
        "test_broken_end: OSError: late",
    ]
    assert several["share 0"].detail.startswith("pytest ended with 7")
    assert [v.outcome for v in several.values()] == [FAIL, FAIL]


def test_ends_of_shares(tmp_path: Path) -> None:
    def line(outcome: str, test: str = "a") -> dict[str, Any]:
        return {"file": "test_x", "test": test, "outcome": outcome, "message": ""}

    def outcomes(*lines: dict[str, Any], ends: tuple[str, ...] = ()) -> list[str]:
        return [v.outcome for v in tests.judge(list(lines), list(ends))]

    assert outcomes(line("planned"), line("passed")) == [PASS]
    assert outcomes(line("planned"), line("skipped")) == [ABSENT]
    assert outcomes(line("planned"), line("skipped"), line("passed", "b")) == [PASS]
    assert outcomes(line("planned"), line("planned", "b"), line("passed", "b")) == [FAIL]
    assert outcomes(line("planned"), line("failed"), line("passed")) == [FAIL]
    assert outcomes(line("planned"), line("passed"), ends=("out of time", "")) == [PASS, FAIL]
    assert outcomes() == [FAIL]
    broken = tmp_path / "test_broken.py"
    broken.write_text("import nothing_of_this_name")
    (no, end) = tests.run([str(broken), "--import-mode=importlib"], 1, CPU)
    assert (no.name, no.outcome, end.detail.splitlines()[0]) == ("test_broken", FAIL, "pytest ended with 2")
    late = list(tests.run([str(broken)], 1, replace(CPU, until=0.0)))
    assert [v.detail for v in late] == ["out of time", "no test was collected"]


def test_files_for_a_device() -> None:
    names = {path.stem for path in tests.files()}
    assert {"test_cuda", "test_backbones_gpu", "test_decoder_step", "test_triton_window_attention"} < names
    assert not {"test_commit", "test_gpu_parts", "test_conftest"} & names


def test_the_sanitizers_words() -> None:
    clean = "made all calls: 3\n========= ERROR SUMMARY: 0 errors\n"
    assert sanitizer.judge("x", 0, clean).outcome == PASS
    assert sanitizer.judge("x", 0, clean).detail == "ERROR SUMMARY: 0 errors"
    assert sanitizer.judge("x", 9, clean.replace("0 errors", "2 errors")).outcome == FAIL
    assert sanitizer.judge("x", 0, "made all calls: 3\n").outcome == FAIL  # it watched nothing
    assert sanitizer.judge("x", 0, "========= ERROR SUMMARY: 0 errors\n").outcome == FAIL  # nothing was called
    assert sanitizer.judge("x", 1, "Error: Device not supported").outcome == ABSENT
    races = "made all calls: 3\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
    assert sanitizer.judge("x", 0, races).outcome == PASS


def test_the_program_that_the_sanitizer_watches() -> None:
    assert sanitizer.calls("native", "cpu", (31, 70)) == 2 * 7


def test_decoding_sees_other_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    run, ran = decoding._run, []

    def other(*args: Any, **kwargs: Any) -> Any:
        out, steps, seconds = run(*args, **kwargs)
        ran.append(out)
        return out + (len(ran) == 2), steps, seconds

    assert decoding._policy("match", "tiny Lumina", torch.float32, CPU, {"ar": _tokens("ar")})[1]["steps"] > 1
    wrong = _tokens("ar")
    wrong[1, 7] += 1
    with pytest.raises(AssertionError, match=r"1 of 66 tokens are not those of ar"):
        decoding._policy("match", "tiny Lumina", torch.float32, CPU, {"ar": wrong})
    monkeypatch.setattr(decoding, "_run", other)
    with pytest.raises(AssertionError, match="a second run of the same seeds gives other tokens"):
        decoding._policy("sjd", "tiny Lumina", torch.float32, CPU, {})


def _tokens(policy: str) -> Tensor:
    return decoding._run(decoding._decoder(policy, "tiny Lumina", torch.float32, "cpu"), "cpu")[0].clone()


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.packages()["torch"] == torch.__version__
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    assert environment.packages()["no-such-package"] == "absent"
    if not torch.cuda.is_available():
        missing = [v for v in environment.check(Setting("cuda")) if v.name == "device"]
        assert [v.outcome for v in missing] == [FAIL]


def test_build(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"native": "live", "cuda": "built for 80-real, but torch finds no CUDA device"}
    monkeypatch.setattr(build, "_state", states.get)
    assert [v.outcome for v in build.check(CPU)] == [PASS, ABSENT]
    monkeypatch.setattr(build, "find_nvcc", lambda: "nvcc")
    assert [v.outcome for v in build.check(Setting("cuda"))] == [PASS, FAIL]
    states["native"] = "not built"
    monkeypatch.setattr(build.sjd2_kernels, "__file__", "/elsewhere/sjd2_kernels/__init__.py")
    assert next(iter(build.check(CPU))).detail == "the installed package: not built; install it anew"
