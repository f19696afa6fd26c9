"""Key-value cache and window buffers: sized and reported first, allocated after.

One static [layers, R, Hkv, S, D] tensor for keys and one for values. Lengths live on the device (window.py); nothing is
cleared between pictures, since what lies beyond a row's length is never read.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .backbones.base import Backbone
from .policies import Policy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Bytes that decoding needs besides the weights.

    Attributes:
        R, S, B, L: model rows, cache capacity in positions, images, window slots.
        cache: keys and values of all layers.
        buffers: laws, logits, window state, a layer's intermediate values, and tables that the model makes at first
            use.
        free: what the device has left, or None if that is unknown.
    """

    R: int
    S: int
    B: int
    L: int
    cache: int
    buffers: int
    free: int | None

    def __str__(self) -> str:
        free = "" if self.free is None else f", {readable(self.free)} free"
        return (
            f"cache {readable(self.cache)} ({self.R} rows x {self.S} positions) + window {readable(self.buffers)} "
            f"({self.B} images x {self.L} slots){free}"
        )


def plan(backbone: Backbone, policy: Policy, B: int, R: int, L: int, longest: int, S: int) -> Plan:
    """Size cache and buffers.

    Args:
        backbone: whose dimensions count.
        policy: whether laws are kept and the window holds embeddings.
        B, R, L: images, model rows, window slots.
        longest: tokens of the longest prompt.
        S: cache capacity.
    """
    M = max(policy.refeed + L - 1 + min(policy.shadow, L - 1), longest)  # rows of the longest forward pass
    V, C, item = backbone.V, backbone.dims.C, backbone.dtype.itemsize
    laws = B * L * V * 4 * (1 + policy.judged + 2 * bool(policy.shadow))
    logits = R * (L + policy.shadow) * V * item
    rows = R * M * C * item * 16  # hidden states, queries, keys, values, the wide layer and its copies, roughly
    state = B * L * C * 8 * 2 if policy.noisy else 0
    tables = ("table", "cosine") if policy.draft == "nearest" else ("table",)
    made = sum(V * C * item for name in tables if _to_make(backbone, name))
    buffers = laws + logits + rows + state + made
    return Plan(R, S, B, L, backbone.memory().cache(R, S), buffers, free_bytes(backbone.device))


def check(sizes: Plan, name: str) -> None:
    """Report the plan, and refuse one that does not fit.

    Raises: MemoryError with the numbers and what to lower.
    """
    logger.info("%s: %s", name, sizes)
    if sizes.free is not None and sizes.cache + sizes.buffers > sizes.free:
        raise MemoryError(
            f"{name}: not enough memory: {sizes}; lower the number of images per call (now {sizes.B}), the picture's "
            f"size, or the window (now {sizes.L}), use a smaller dtype, or guidance 1 (half the rows)"
        )


def allocate(backbone: Backbone, R: int, S: int) -> tuple[Tensor, Tensor]:
    """Keys and values, [layers, R, Hkv, S, D] each, uninitialised."""
    d = backbone.dims
    shape = (d.layers, R, d.Hkv, S, d.D)
    k, v = (torch.empty(shape, dtype=backbone.dtype, device=backbone.device) for _ in range(2))
    return k, v


def free_bytes(device: torch.device) -> int | None:
    """Memory that an allocation on ``device`` can still get; None where nobody knows."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _to_make(backbone: Backbone, name: str) -> bool:
    """Whether the model's table ``name`` is a copy that has not been made yet."""
    return isinstance(getattr(type(backbone), name), cached_property) and name not in vars(backbone)


def readable(count: int) -> str:
    """Bytes in words.

    Args:
        count: of bytes.

    Examples:
        >>> readable(3 << 29), readable(5 << 19)
        ('1.50 GiB', '2.5 MiB')
    """
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
