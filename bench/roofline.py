"""What an operator must move and compute at least, what the machine can do, and the floor that follows.

One function per operator: bytes count each input that is read once and each output once, whatever an implementation
does beyond that; operations count additions and multiplications (a division or an exponential as one). The ceilings
are measured: a copy of a large tensor, bytes read plus bytes written, and a large matrix product per dtype.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .clock import Variant, clock_of

COPIED = {"cpu": 256 << 20, "cuda": 2 << 30}  # bytes of the tensor that is copied
ORDER = {"cpu": 1024, "cuda": 8192}  # of the matrices
ITEM = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
TABLE_ITEM = 8  # ids and lengths are int64 or smaller: counted as int64


@dataclass(frozen=True)
class Work:
    """Least bytes and operations of one call, and the dtype that a matrix product of the same kind would have."""

    bytes: int
    operations: int
    dtype: str = "float32"

    def __add__(self, other: Work) -> Work:
        return Work(self.bytes + other.bytes, self.operations + other.operations, self.dtype)


def process_logits(*, B: int, L: int, V: int, dtype: str, **_: Any) -> Work:
    """Both logits read, p written, a token and a status per slot; guidance, weight and division of every id."""
    n = B * L * V
    return Work(n * (2 * ITEM[dtype] + 4) + B * L * (8 + 4), 6 * n)


def verify_accept(*, B: int, L: int, V: int, **_: Any) -> Work:
    """Two numbers a slot, and both laws of the slot that is rejected (redraw "fresh")."""
    return Work(B * (L * (8 + 8 + 4 + 4 + 8 + 4) + 2 * V * 4), B * (2 * L + 3 * V))


def process_and_verify(**numbers: Any) -> Work:
    """Both, one after the other."""
    return process_logits(**numbers) + verify_accept(**numbers)


def window_attention(*, B: int, L: int, H: int, Hkv: int, D: int, prefix: int, dtype: str, **_: Any) -> Work:
    """Prefix read, rows read, keys and values appended, output written; two matrix products under a causal mask."""
    R = 2 * B
    moved = 2 * Hkv * prefix + (2 * H + 2 * 2 * Hkv) * L
    return Work(R * D * moved * ITEM[dtype], 4 * R * H * D * (L * prefix + L * (L + 1) // 2), dtype)


def noise_mix(*, B: int, L: int, C: int, dtype: str, **_: Any) -> Work:
    """State read and written, one table row a slot read, the rows written; a lerp of every channel."""
    n = B * L * C
    return Work(n * (4 + 4 + 2 * ITEM[dtype]) + 2 * C * 4 + B * L * (2 * TABLE_ITEM + 2 * 4), 3 * n)


def noise_embed(*, B: int, N: int, C: int, dtype: str, **_: Any) -> Work:
    """Table rows read, rows written; noise scaled, shifted and mixed in (the random numbers are not counted)."""
    n = B * N * C
    return Work(2 * n * ITEM[dtype] + 2 * C * 4 + B * N * (TABLE_ITEM + 4), 5 * n)


def nearest_token(*, B: int, L: int, V: int, C: int, dtype: str, **_: Any) -> Work:
    """Table and state read once; one matrix product."""
    return Work(V * (C * ITEM[dtype] + 4) + B * L * (C * 4 + TABLE_ITEM), 2 * B * L * V * C, dtype)


def commit(*, B: int, L: int, **_: Any) -> Work:
    """Tokens, drafts and levels read, as many output ids written, some ten numbers an image."""
    return Work(B * (L * (3 * TABLE_ITEM + 4) + 10 * TABLE_ITEM), 4 * B * L)


WORK: dict[str, Callable[..., Work]] = {
    "process_logits": process_logits,
    "verify_accept": verify_accept,
    "process_logits + verify_accept": process_and_verify,
    "window_attention": window_attention,
    "noise_mix": noise_mix,
    "noise_embed": noise_embed,
    "nearest_token": nearest_token,
    "commit": commit,
}


@dataclass(frozen=True)
class Ceilings:
    """What the machine was seen to do.

    Attributes:
        copy: bytes per second, read plus written.
        matrix: operations per second of a large matrix product, by dtype.
    """

    copy: float
    matrix: dict[str, float]

    def floor(self, work: Work) -> tuple[float, str]:
        """Milliseconds below which ``work`` cannot be done, and by what: "memory" or "arithmetic"."""
        rate = self.matrix.get(work.dtype) or self.matrix["float32"]
        memory, arithmetic = 1e3 * work.bytes / self.copy, 1e3 * work.operations / rate
        return max((memory, "memory"), (arithmetic, "arithmetic"))

    def record(self) -> dict[str, Any]:
        """As it stands in a file of results."""
        return asdict(self)


def measure_ceilings(device: str, seconds: float = 1.0) -> Ceilings:
    """Copy and matrix rates of ``device``: the best of repeated rounds, since a ceiling is what was reached at all.

    Args:
        device: "cpu" or "cuda".
        seconds: of measuring, each.
    """
    kind = torch.device(device).type
    source = torch.randint(0, 127, (COPIED[kind],), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() / _best(device, lambda: target.copy_(source), seconds)
    n = ORDER[kind]
    matrix = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        matrix[str(dtype).removeprefix("torch.")] = 2 * n**3 / _best(device, lambda a=a, b=b: a @ b, seconds)
    return Ceilings(copied, matrix)


def _best(device: str, call: Callable[[], object], seconds: float) -> float:
    measure = clock_of(device).prepare(Variant(lambda: call()), [()]).measure
    best, begin = measure(0), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        best = min(best, measure(0))
    return best
