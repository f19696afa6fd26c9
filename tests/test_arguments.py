"""Plain calls go straight to the compiled kernels, and what is not plain never reaches them (csrc/arguments.h)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sjd2_kernels import backends, compiled, native, validation

B, L, V, C, R, H, D = 2, 3, 19, 8, 4, 2, 16
FLOATS, INTEGERS = (torch.float64, torch.bfloat16), (torch.int32, torch.int64)


def whole(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.randint(0, 2, shape, dtype=dtype)


def arguments(operator: str) -> dict[str, Any]:
    """Every argument of ``operator``, all of them plain."""
    images = {"seed": whole(B), "pos": whole(B), "done": torch.zeros(B, dtype=torch.int32)}
    channels = {"mean": torch.zeros(C), "std": torch.ones(C)}
    drafts = {name: whole(B, L) for name in ("draft", "tokens", "fresh", "forced")}
    some = {
        "process_logits": {name: torch.ones(B) for name in ("guidance", "temperature", "top_p")}
        | {"cond": torch.randn(B, L, V), "uncond": torch.randn(B, L, V), "top_k": whole(B), "epoch": whole(B)},
        "verify_accept": {"p": torch.rand(B, L, V), "q": torch.rand(B, L, V), "epoch": whole(B)}
        | {"verifiable": torch.ones(B, L, dtype=torch.bool)},
        "noise_embed": channels | {"table": torch.randn(V, C), "token": whole(B, L), "t": torch.rand(B, L)},
        "noise_mix": channels
        | {"state": torch.randn(B, L, C), "level": whole(B, L, dtype=torch.int32), "times": torch.rand(2)}
        | {"shift": whole(B, dtype=torch.int32), "table": torch.randn(V, C), "n_tokens": whole(B)}
        | {"accept_len": whole(B, dtype=torch.int32)},
        "nearest_token": {"state": torch.randn(B, L, C), "table": torch.randn(V, C), "bias": torch.zeros(V)},
        "window_attention": {name: torch.randn(R, L, H, D) for name in ("q", "k", "v")}
        | {name: torch.randn(R, H, 8, D) for name in ("k_cache", "v_cache")}
        | {name: whole(R, dtype=torch.int32) for name in ("kv_len", "q_start")}
        | {name: torch.randn(2, H, D) for name in ("time_k", "time_v")}
        | {"level": whole(R, L, dtype=torch.int32), "scale": 0.25},
        "commit": {name: whole(R, dtype=torch.int32) for name in ("kv_len", "q_start")}
        | {"accept_len": whole(B, dtype=torch.int32), "ids": torch.arange(V), "prompt_len": whole(R, dtype=torch.int32)}
        | {"n_tokens": whole(B), "out": whole(B, 9), "refeed": whole(B, 1), "epoch": whole(B)}
        | {"level": whole(B, L, dtype=torch.int32)},
    }
    given = images | drafts | some[operator]
    parameters = inspect.signature(validation.CHECKS[operator]).parameters.values()
    return {p.name: given.get(p.name, p.default) for p in parameters}


def kernel(operator: str, given: dict[str, Any]) -> Any:
    """What the compiled function answers."""
    parameters = inspect.signature(validation.CHECKS[operator]).parameters.values()
    options = {p.name: given[p.name] for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    values = [given[p.name] for p in parameters if p.name not in options]
    return getattr(native.module(), operator)(2, *values, **options)


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators that were checked in Python and dispatched there."""
    seen: list[str] = []
    select = backends.select
    monkeypatch.setattr(backends, "select", lambda operator, *rest: seen.append(operator) or select(operator, *rest))
    monkeypatch.delenv("SJD2_BACKEND", raising=False)
    return seen


@pytest.mark.parametrize("operator", validation.CHECKS)
def test_plain_calls_go_straight(operator: str, careful: list[str]) -> None:
    given = arguments(operator)
    copies = {name: x.clone() if isinstance(x, Tensor) else x for name, x in given.items()}
    assert kernel(operator, copies) is not None
    getattr(torch.ops.sjd2, operator)(**given)
    assert careful == []


@pytest.mark.parametrize("operator", validation.CHECKS)
def test_arguments_left_out_are_plain(operator: str, careful: list[str]) -> None:
    given = arguments(operator)
    for name in validation.OPTIONAL[operator]:
        del given[name]
    getattr(torch.ops.sjd2, operator)(**given)
    assert careful == []


def strided(x: Tensor) -> Tensor:
    """The same values with gaps between the elements of the last axis."""
    return torch.stack([x, x], -1)[..., 0]


def test_strides_are_dealt_with_in_python(careful: list[str]) -> None:
    given = arguments("process_logits")
    expected = torch.ops.sjd2.process_logits(**given)
    apart = {name: strided(x) for name, x in given.items()}
    assert kernel("process_logits", apart) is None
    found = torch.ops.sjd2.process_logits(**apart)
    assert careful == ["process_logits"]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_tensors_that_require_grad_are_plain(careful: list[str]) -> None:
    p, fresh, _ = torch.ops.sjd2.process_logits(torch.randn(B, L, V, requires_grad=True))
    torch.ops.sjd2.verify_accept(fresh, p, torch.nn.Parameter(p), whole(B), whole(B))
    assert careful == []


def wrong(operator: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls with one argument that the operator does not allow, or that the kernel does not take as it lies."""
    plain = arguments(operator)
    written = {"out", "pos", "kv_len", "q_start", "refeed", "epoch", "done"} if operator == "commit" else set()
    for name, x in plain.items():
        if not isinstance(x, Tensor):
            continue
        others: list[Any] = ["text", 1.0, x.tolist(), x[None], x.to("meta"), x.to(torch.complex64)]
        others += [] if name == "ids" else [x.reshape(-1)[:0]]
        others += [x.to(dtype) for dtype in (INTEGERS if x.is_floating_point() else FLOATS)]
        if name not in ("k_cache", "k", "out", "refeed", "ids", "times", "prompt_len"):  # axes of any size
            others.append(torch.cat([x, x[..., :1]], -1))
        others += [] if name in written else [strided(x)]
        others += [None] if name not in validation.OPTIONAL[operator] else []
        for other in others:
            yield name, plain | {name: other}


@pytest.mark.parametrize("operator", validation.CHECKS)
def test_what_is_not_plain_is_not_taken(operator: str) -> None:
    calls = 0
    for name, given in wrong(operator):
        calls += 1
        answer = kernel(operator, given)
        assert answer is None, f"{name} = {given[name]!r}"
    assert calls > 30


@pytest.mark.parametrize(
    ("operator", "change"),
    [
        ("process_logits", {"uncond": None}),
        ("process_logits", {"cond": torch.zeros(B, L, 0), "uncond": torch.zeros(B, L, 0)}),
        ("verify_accept", {"accept": "always"}),
        ("verify_accept", {"redraw": "never"}),
        ("verify_accept", {"accept": "match", "fresh": None}),
        ("verify_accept", {"accept": "match", "redraw": "couple"}),
        ("window_attention", {"time_k": None}),
        ("window_attention", {"level": None}),
        ("window_attention", {"k": torch.zeros(R, L, 0, D)}),
        ("window_attention", {"done": torch.zeros(3, dtype=torch.int32)}),
        ("window_attention", {"done": torch.zeros(0, dtype=torch.int32)}),
        ("window_attention", {"scale": "one"}),
        ("window_attention", {"shadow": 2}),
        ("window_attention", {"shadow": -1}),
        ("window_attention", {"refeed": -1}),
        ("noise_mix", {"times": torch.zeros(0)}),
        ("noise_mix", {"state": torch.zeros(B, L, C, dtype=torch.float64)}),
        ("nearest_token", {"table": torch.zeros(0, C), "bias": torch.zeros(0)}),
        ("nearest_token", {"bias": torch.zeros(V, dtype=torch.float64)}),
        ("commit", {"refeed": torch.zeros(B, 0, dtype=torch.int64)}),
        ("commit", {name: torch.zeros(3, dtype=torch.int32) for name in ("prompt_len", "kv_len", "q_start")}),
    ],
)
def test_arguments_that_do_not_go_together_are_not_taken(operator: str, change: dict[str, Any]) -> None:
    assert kernel(operator, arguments(operator) | change) is None


def test_values_that_are_missing_are_not_taken() -> None:
    for operator in validation.CHECKS:
        assert getattr(native.module(), operator)(1) is None


def test_a_refusal_of_checked_arguments_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse: Callable[..., None] = lambda *args, **kwargs: None  # noqa: E731
    monkeypatch.setattr(native, "module", lambda: type("Module", (), {"commit": staticmethod(refuse)}))
    with pytest.raises(RuntimeError, match="commit: the native kernel refuses valid arguments"):
        native.call("commit")


def test_a_torch_without_the_interface_is_a_reason_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError):
        native.module().exchange_with(torch.Tensor)
    assert compiled.load("_cpu", str) is native.module()
    monkeypatch.delattr(torch.Tensor, "__dlpack_c_exchange_api__")
    reason = compiled.load("_cpu", str)
    assert isinstance(reason, str)
    assert reason.startswith(f"torch {torch.__version__} does not show tensors as this package reads them (type object")
    assert compiled.load("_no_such_module", lambda error: f"because {error}").startswith("because No module named")
