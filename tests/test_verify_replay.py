"""verify_accept against a restatement that shares no line with it (tests/oracle.py): the same bits over thousands of random
windows, every option, vocabularies up to 184,622; and tokens of probability 1e-9 that must be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from live import on_backends
from torch import Tensor

from sjd2_kernels import verify_accept

OPTIONS = [("ratio", "fresh"), ("ratio", "keep"), ("ratio", "couple"), ("match", "fresh")]
SEEDS = (-(2**63), -(2**33) - 5, -1, 0, 1, 7847, 2**31, 2**32, 2**63 - 1)


def law(random: np.random.Generator, rows: tuple[int, ...], V: int) -> np.ndarray:
    """Laws of several kinds: flat, peaked, sparse, with equal entries, one-hot, with denormal entries."""
    kind = random.integers(0, 6, (*rows, 1))
    x = random.exponential(1, (*rows, V)).astype(np.float32)
    hot = np.arange(V) == random.integers(0, V, (*rows, 1))
    x = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3, kind == 4],
        [x, x**20, x * (random.random(x.shape) < 0.3), np.ceil(x), hot * np.float32(1)],
        x * np.float32(1e-39) + hot,
    ).astype(np.float32)
    x[..., 0] += x.sum(-1) == 0
    return (x / x.sum(-1, keepdims=True, dtype=np.float32)).astype(np.float32)


def case(random: np.random.Generator, B: int, L: int, V: int) -> dict[str, Any]:
    """Random arguments of a call, each optional one there or not; drafts of all sorts, q often equal or close to p."""
    p, q = law(random, (B, L), V), law(random, (B, L), V)
    same = random.random((B, L, 1))
    q = np.where(same < 0.3, p, np.where(same < 0.6, (p + q) / np.float32(2), q))
    drawn = (q.cumsum(-1) < random.random((B, L, 1))).sum(-1).clip(0, V - 1)
    sort = random.random((B, L))
    draft = np.where(
        sort < 0.8, drawn, np.where(sort < 0.9, random.integers(0, V, (B, L)), random.choice([-1, -7, V, V + 3]))
    )
    arguments = {
        "draft": draft,
        "p": p,
        "q": q.astype(np.float32),
        "seed": random.choice(SEEDS, B),
        "pos": random.choice([-1, 0, 1, 12345, 2**31 - 2, 2**32 - 1], B),
    }
    optional = {
        "fresh": np.where(random.random((B, L)) < 0.5, draft, random.integers(0, V, (B, L))),
        "epoch": random.choice([0, 1, 77, 2**32 + 1, -1], B),
        "verifiable": random.random((B, L)) < 0.85,
        "forced": np.where(random.random((B, L)) < 0.15, random.integers(0, V + 3, (B, L)), -1),
        "done": (random.random(B) < 0.1).astype(np.int32),
    }
    arguments |= {name: value for name, value in optional.items() if random.random() < 0.6}
    arguments["accept"], arguments["redraw"] = OPTIONS[random.integers(len(OPTIONS))]
    if arguments["accept"] == "match":
        arguments["fresh"] = optional["fresh"]
    return arguments


def call(backend: str, arguments: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    return verify_accept(**tensors, backend=backend)


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
SIZES = [(60, 7, 1, 6), (60, 5, 2, 12), (60, 5, 3, 12), (40, 6, 31, 15), (12, 5, 999, 12), (6, 4, 4096, 8), (2, 4, 65536, 5), (2, 3, 184622, 3)]  # fmt: skip


@on_backends("verify_accept")
@pytest.mark.parametrize(("B", "L", "V", "calls"), SIZES)
def test_replayed_uniforms(backend: str, B: int, L: int, V: int, calls: int) -> None:
    """Over 2,600 windows per backend: accept lengths, tokens and ratios equal the restatement's, bit for bit."""
    random = np.random.default_rng(V)
    for _ in range(calls):
        arguments = case(random, B, L, V)
        assert_same(arguments, call(backend, arguments), replay(arguments))


@on_backends("verify_accept")
@pytest.mark.parametrize(
    ("accept", "redraw", "with_fresh"), [(*o, f) for o in OPTIONS for f in (False, True) if f or o[0] != "match"]
)
def test_every_option(backend: str, accept: str, redraw: str, with_fresh: bool) -> None:
    random = np.random.default_rng(8)
    for V in (2, 6, 50):
        arguments = case(random, 80, 5, V)
        arguments |= {"accept": accept, "redraw": redraw, "fresh": random.integers(0, V, (80, 5))}
        if not with_fresh:
            del arguments["fresh"]
        assert_same(arguments, call(backend, arguments), replay(arguments))
