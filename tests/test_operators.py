"""The samplers as torch operators: registration, fakes, torch.compile, threads, the functional face; and the documents'
examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _live import live
from _sampler_cases import LAYOUTS, OPTIONS, as_tensors, logits_case, verify_case
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import sjd2_kernels
from sjd2_kernels import process_logits, schemas, verify_accept

ROOT = Path(__file__).parents[1]
OPS = torch.ops.sjd2
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
TENSORS = ("cond", "uncond", "p", "q", "draft", "fresh", "forced", "verifiable")


def logits_arguments(names: tuple[str, ...] = (), B: int = 3, L: int = 2, V: int = 19) -> dict[str, Tensor]:
    """Arguments of process_logits: cond and the optional ones named."""
    every = logits_case(np.random.default_rng(1), B, L, V, torch.float32, share=1.0)
    return {name: value for name, value in every.items() if name == "cond" or name in names}


def verify_arguments(names: tuple[str, ...] = (), B: int = 3, L: int = 2, V: int = 19) -> dict[str, Any]:
    """Arguments of verify_accept: the necessary ones and the optional ones named."""
    random, every = np.random.default_rng(2), {}
    while not {"fresh", "epoch", "verifiable", "forced", "done"} <= every.keys():
        every = every | verify_case(random, B, L, V)
    return as_tensors({k: every[k] for k in ("draft", "p", "q", "seed", "pos", *names)})


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names) + 1):
        yield from itertools.combinations(names, size)


def same(got: Any, want: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


# registration


def test_every_operator_is_registered_with_its_schema() -> None:
    assert len(schemas.SCHEMAS) == 7
    for name, schema in schemas.SCHEMAS.items():
        registered = str(getattr(OPS, name).default._schema)
        assert registered == f"sjd2::{name}" + schema.replace("'", '"')
        assert getattr(sjd2_kernels, name).__doc__


LOGITS_OPTIONS = ("guidance", "temperature", "top_k", "top_p", "seed", "pos", "epoch", "forced", "done")


def pairwise() -> list[tuple[str, ...]]:
    """Patterns of process_logits' optional arguments in which every two of them appear in all four combinations."""
    random, missing = np.random.default_rng(3), set()
    for a, b in itertools.combinations(LOGITS_OPTIONS, 2):
        missing |= {(a, x, b, y) for x in (0, 1) for y in (0, 1)}
    patterns = [(), LOGITS_OPTIONS]
    while True:
        for pattern in patterns:
            has = {name: int(name in pattern) for name in LOGITS_OPTIONS}
            missing -= {(a, has[a], b, has[b]) for a, b in itertools.combinations(LOGITS_OPTIONS, 2)}
        if not missing:
            return patterns
        patterns.append(tuple(name for name in LOGITS_OPTIONS if random.random() < 0.5))


@pytest.mark.parametrize("pattern", pairwise(), ids=lambda names: "+".join(names) or "none")
def test_opcheck_process_logits(pattern: tuple[str, ...]) -> None:
    for uncond in ((), ("uncond",)):
        if uncond or "guidance" not in pattern:
            a = logits_arguments(uncond + pattern)
            torch.library.opcheck(OPS.process_logits.default, (a.pop("cond"),), a, test_utils=CHECKS)


@pytest.mark.parametrize(("accept", "redraw"), OPTIONS)
def test_opcheck_verify_accept(accept: str, redraw: str) -> None:
    for names in subsets(("fresh", "epoch", "verifiable", "forced", "done")):
        if accept == "ratio" or "fresh" in names:
            a = verify_arguments(names)
            needed = tuple(a.pop(k) for k in ("draft", "p", "q", "seed", "pos"))
            a |= {"accept": accept, "redraw": redraw}
            torch.library.opcheck(OPS.verify_accept.default, needed, a, test_utils=CHECKS)


@pytest.mark.parametrize("everything", [False, True])
def test_opcheck_with_dynamic_shapes(everything: bool) -> None:
    a = logits_arguments(("uncond", *LOGITS_OPTIONS) if everything else ())
    torch.library.opcheck(OPS.process_logits.default, (a.pop("cond"),), a)
    a = verify_arguments(("fresh", "epoch", "verifiable", "forced", "done") if everything else ())
    torch.library.opcheck(OPS.verify_accept.default, tuple(a.pop(k) for k in ("draft", "p", "q", "seed", "pos")), a)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", live("verify_accept"))
def test_fakes_have_the_outputs_of_the_real_ones(backend: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B25. Shape, dtype, stride and device, for inputs of any strides (opcheck used to look away on the CPU)."""
    monkeypatch.setenv("SJD2_BACKEND", backend)
    for op, arguments in (
        (OPS.process_logits, logits_arguments(("uncond", *LOGITS_OPTIONS))),
        (OPS.verify_accept, verify_arguments(("fresh", "epoch", "verifiable", "forced", "done"))),
    ):
        arguments = {k: LAYOUTS[layout](v) for k, v in arguments.items()}
        real = op(**arguments)
        with FakeTensorMode() as mode:
            fake = op(**{k: mode.from_tensor(v) for k, v in arguments.items()})
        for a, b in zip(real, fake, strict=True):
            assert (a.shape, a.dtype, a.stride(), a.device) == (b.shape, b.dtype, b.stride(), b.device)


def test_meta_tensors_go_through_the_fake() -> None:
    p, fresh, status = OPS.process_logits(torch.empty(2, 3, 5, device="meta", dtype=torch.bfloat16))
    assert (p.shape, p.dtype, fresh.dtype, status.dtype) == ((2, 3, 5), torch.float32, torch.int64, torch.int32)
    with pytest.raises(ValueError, match=r"^process_logits: cond must have shape \[B, L, V\]"):
        OPS.process_logits(torch.empty(2, 3, device="meta"))


# torch.compile


def step(cond: Tensor, uncond: Tensor, draft: Tensor, q: Tensor, seed: Tensor, pos: Tensor) -> tuple[Tensor, ...]:
    p, fresh, status = process_logits(cond * 1.5, uncond, 2.0, 0.9, 5, 0.95, seed, pos, 3)
    n, tokens, ratio = verify_accept(draft, p, q, seed, pos, fresh, epoch=3, redraw="couple")
    return p, fresh, status, n + 1, tokens, ratio


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
def test_compiled_without_a_graph_break(compiler: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend=compiler, dynamic=dynamic)
    for B, L, V in ((2, 3, 19), (2, 3, 19), (4, 2, 33)):
        a = logits_arguments(("uncond", "seed", "pos"), B, L, V)
        b = verify_arguments((), B, L, V)
        call = (a["cond"].nan_to_num(), a["uncond"].nan_to_num(), b["draft"], b["q"], b["seed"], b["pos"])
        assert same(compiled(*call), step(*call))


# the same result whichever way it is called


@pytest.mark.parametrize("backend", live("verify_accept"))
def test_threads_change_nothing(backend: str) -> None:
    """L2. One to seven threads, over rows small and large enough to be split in different ways."""
    random, before = np.random.default_rng(4), torch.get_num_threads()
    cases = [logits_case(random, 40, 3, 65, torch.float32, share=1.0), logits_case(random, 5, 1, 40000, torch.bfloat16)]
    laws = [as_tensors(verify_case(random, 40, 5, 65)), as_tensors(verify_case(random, 3, 2, 40000))]
    seen = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            seen.append([process_logits(**c, backend=backend) for c in cases])
            seen[-1] += [verify_accept(**c, backend=backend) for c in laws]
    finally:
        torch.set_num_threads(before)
    for other in seen[1:]:
        assert all(same(a, b) for a, b in zip(other, seen[0], strict=True))


def test_the_functions_are_the_operators() -> None:
    """Numbers become one value per image; None stays None; a backend by name gives the same."""
    B = 4
    a = logits_arguments(("uncond",), B)
    numbers = {"guidance": 2.5, "temperature": 0.7, "top_k": 7, "top_p": 0.9, "seed": -3, "pos": 2**40, "epoch": 5}
    tensors = {
        k: torch.full((B,), v, dtype=torch.float32 if isinstance(v, float) else torch.int64) for k, v in numbers.items()
    }
    want = OPS.process_logits(**a, **tensors)
    assert same(process_logits(**a, **numbers), want)
    assert same(process_logits(**a, **{k: torch.tensor(v) for k, v in numbers.items()}), want)  # 0-d tensors
    assert same(OPS.process_logits(a["cond"], a["uncond"], *tensors.values()), want)  # by position
    for backend in live("process_logits"):
        assert same(process_logits(**a, **tensors, backend=backend), want)
    b = verify_arguments(("fresh",), B)
    assert same(
        verify_accept(**(b | {"seed": 7, "pos": 9}), epoch=2, redraw="keep"),
        OPS.verify_accept(
            **(b | {"seed": torch.full((B,), 7), "pos": torch.full((B,), 9)}), epoch=torch.full((B,), 2), redraw="keep"
        ),
    )


def test_defaults_mean_what_the_page_says() -> None:
    a = logits_arguments(("uncond",))
    whole, real = torch.zeros(3, dtype=torch.int64), torch.ones(3)
    written_out = {"guidance": real, "temperature": real, "top_k": whole, "top_p": real} | dict.fromkeys(
        ("seed", "pos", "epoch"), whole
    )
    free = {"forced": torch.full((3, 2), -1), "done": torch.zeros(3, dtype=torch.int32)}
    assert same(process_logits(**a), process_logits(**a, **written_out, **free))
    assert same(process_logits(a["cond"]), process_logits(a["cond"], guidance=1))
    b = verify_arguments()
    free |= {"verifiable": torch.ones(3, 2, dtype=torch.bool), "epoch": whole}
    assert same(verify_accept(**b), verify_accept(**b, **free, accept="ratio", redraw="fresh"))


def test_the_environment_chooses_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SJD2_BACKEND", "abacus")
    with pytest.raises(ValueError, match=r"^process_logits: backend must be one of .*, got 'abacus'"):
        OPS.process_logits(torch.zeros(1, 1, 2))
    monkeypatch.setenv("SJD2_BACKEND", "reference")
    calls: list[str] = []
    original: Callable[..., Any] = sjd2_kernels.backends.implementation
    monkeypatch.setattr(
        sjd2_kernels.backends, "implementation", lambda op, backend: calls.append(backend) or original(op, backend)
    )
    OPS.process_logits(torch.zeros(1, 1, 2))
    assert calls == ["reference"]


# the documents


def test_every_operator_has_an_example() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    for name in schemas.SCHEMAS:
        section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert "```python" in section, name
        assert "assert" in section, name
