"""verify_accept against a restatement that shares no line with it (tests/_oracle.py): the same bits over thousands of
random windows, every option, vocabularies up to 184,622."""

from __future__ import annotations

from typing import Any

import _oracle as oracle
import numpy as np
import pytest
from _live import on_backends
from _sampler_cases import OPTIONS, as_tensors, verify_case
from torch import Tensor

from sjd2_kernels import verify_accept


def call(backend: str, arguments: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    return verify_accept(**as_tensors(arguments), backend=backend)


def replay(arguments: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """The restatement, image by image."""
    out = []
    for b in range(len(arguments["draft"])):
        image = {k: v[b] if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        scalars = {k: int(v) if np.ndim(v) == 0 else v for k, v in image.items() if not isinstance(v, str)}
        lists = {k: v.tolist() if k in ("draft", "fresh", "verifiable", "forced") else v for k, v in scalars.items()}
        out.append(oracle.verify_image(**(image | lists)))
    return tuple(np.array(x) for x in zip(*out, strict=True))


def assert_same(arguments: dict[str, Any], got: tuple[Tensor, ...], expected: tuple[np.ndarray, ...]) -> None:
    for name, have, want in zip(("accept_len", "tokens", "ratio"), got, expected, strict=True):
        have = have.numpy()
        bad = np.argwhere(have != want)
        if len(bad):
            at = tuple(bad[0])
            image = {k: v[at[0]] if isinstance(v, np.ndarray) and v.ndim < 3 else v for k, v in arguments.items()}
            raise AssertionError(f"{name}{list(at)} is {have[at]!r}, must be {want[at]!r}; image {image}")


# images per call, window, vocabulary, calls
SIZES = [
    (60, 7, 1, 6), (60, 5, 2, 12), (60, 5, 3, 12), (40, 6, 31, 15), (12, 5, 999, 12), (6, 4, 4096, 8), (2, 4, 65536, 3),
    (1, 4, 184622, 2),
]  # fmt: skip


@on_backends("verify_accept")
@pytest.mark.parametrize(("B", "L", "V", "calls"), SIZES)
def test_replayed_uniforms(backend: str, B: int, L: int, V: int, calls: int) -> None:
    """Over 2,600 windows per backend: accept lengths, tokens and ratios equal the restatement's, bit for bit."""
    random = np.random.default_rng(V)
    for _ in range(calls):
        arguments = verify_case(random, B, L, V)
        assert_same(arguments, call(backend, arguments), replay(arguments))


@on_backends("verify_accept")
@pytest.mark.parametrize(
    ("accept", "redraw", "with_fresh"), [(*o, f) for o in OPTIONS for f in (False, True) if f or o[0] != "match"]
)
def test_every_option(backend: str, accept: str, redraw: str, with_fresh: bool) -> None:
    random = np.random.default_rng(8)
    for V in (2, 6, 50):
        arguments = verify_case(random, 80, 5, V)
        arguments |= {"accept": accept, "redraw": redraw, "fresh": random.integers(0, V, (80, 5))}
        if not with_fresh:
            del arguments["fresh"]
        assert_same(arguments, call(backend, arguments), replay(arguments))
