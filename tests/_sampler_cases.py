"""Random arguments of the samplers: laws and logits of every kind, optional arguments there or not, unusual strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def verify_case(random: np.random.Generator, B: int, L: int, V: int) -> dict[str, Any]:
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


def as_tensors(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}


def scores(random: np.random.Generator, B: int, L: int, V: int, dtype: torch.dtype) -> Tensor:
    """Logits: normal, peaked, integer-valued (many ties), constant, with masked blocks; a few rows with NaN or +inf."""
    x = random.normal(0, 3, (B, L, V))
    kind = random.integers(0, 6, (B, L, 1))
    x = np.select([kind == 0, kind == 1, kind == 2], [np.round(x), 20 * x, 0 * x + 0.5], x)
    start, length = random.integers(0, V, (2, B, L, 1))
    ids = np.arange(V)
    x[(kind == 3) & (ids >= start) & (ids < start + length)] = -np.inf
    broken = random.random((B, L)) < 0.06
    for b, j in np.argwhere(broken):
        x[b, j, random.integers(0, V)] = random.choice([np.nan, np.inf, -np.inf, 3e38])
    return torch.from_numpy(x).to(dtype)


def logits_case(
    random: np.random.Generator, B: int, L: int, V: int, dtype: torch.dtype, share: float = 0.6
) -> dict[str, Tensor]:
    """Arguments of process_logits, each optional one there with probability ``share``."""

    def per_image(values: list[float], kind: torch.dtype) -> Tensor:
        return torch.from_numpy(random.choice(np.array(values), B)).to(kind)

    optional = {
        "uncond": scores(random, B, L, V, dtype),
        "guidance": per_image([0.0, 1.0, 1.5, 3.0, 7.5, -2.0], torch.float32),
        "temperature": per_image([0.0, 0.05, 0.7, 1.0, 1.3, 100.0, 1e-3], torch.float32),
        "top_k": per_image([-1, 0, 1, 2, V // 20 + 1, V // 2, V - 1, V, V + 1], torch.int64),
        "top_p": per_image([-1.0, 0.0, 1e-6, 0.1, 0.5, 0.9, 0.999, 1.0, 2.0, np.nan], torch.float32),
        "seed": torch.from_numpy(random.choice(SEEDS, B)),
        "pos": per_image([-1, 0, 1, 12345, 2**31 - 2, 2**32 - 1], torch.int64),
        "epoch": per_image([0, 1, 77, 2**32 + 1, -1], torch.int64),
        "forced": torch.from_numpy(np.where(random.random((B, L)) < 0.1, random.integers(0, V + 3, (B, L)), -1)),
        "done": torch.from_numpy((random.random(B) < 0.1).astype(np.int32)),
    }
    given = {name: value for name, value in optional.items() if random.random() < share}
    if "uncond" not in given:
        given.pop("guidance", None)
    return {"cond": scores(random, B, L, V, dtype)} | given


def _stepped(x: Tensor) -> Tensor:
    big = torch.ones([2 * size + 1 for size in x.shape], dtype=x.dtype)
    return big[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x)


def _padded(x: Tensor) -> Tensor:
    big = torch.ones([*x.shape[:-1], x.shape[-1] + 5], dtype=x.dtype)
    if x.is_floating_point():
        big.fill_(float("nan"))  # what stands in the padding must not matter
    return big[..., 1 : 1 + x.shape[-1]].copy_(x)


# the same values in other places
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "padded": _padded,
    "stepped": _stepped,
    "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "reversed axes": lambda x: x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim()))),
    "offset": lambda x: torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) if x.numel() else x,
}
