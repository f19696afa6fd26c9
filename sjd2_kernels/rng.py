"""RNG v1: counter-based random numbers that depend on (seed, position, stream, epoch, index) and nothing else.

Philox4x32-10 (Salmon et al., SC 2011). key = (low, high) word of the seed; counter = (index >> 2, position, stream,
epoch), each mod 2**32; the word used is index & 3; the index is a vocabulary id or a channel. Frozen: a change of any
draw is a new version.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .arithmetic import exponential

STREAM_DRAFT = 0
STREAM_ACCEPT = 1
STREAM_RESIDUAL = 2
STREAM_NOISE = 3
STREAM_INITIAL = 4

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
U_MAX = 1.0 - 2.0**-24


def _high_low(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """High and low word of a 32 x 32 bit product, in int64 without overflow (b is split in halves)."""
    low, high = a * (b & 0xFFFF), a * (b >> 16)
    middle = high + (low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 on int64 tensors that hold words 0..2**32-1 and broadcast; returns four such tensors."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _high_low(_MULTIPLIERS[0], c0)
        high1, low1 = _high_low(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def words(seed: Tensor, position: Tensor, stream: int, epoch: Tensor | int, count: int) -> Tensor:
    """The random words of indices 0..count-1.

    Args:
        seed, position: int64, broadcastable to one shape [...]; any int64 value.
        stream: one of the STREAM constants.
        epoch: int64 tensor, broadcastable likewise, or an int.
        count: number of indices.

    Returns: int64 [..., count] holding words 0..2**32-1.
    """
    seed, position = seed.unsqueeze(-1), position.unsqueeze(-1)
    epoch = epoch.unsqueeze(-1) if isinstance(epoch, Tensor) else torch.full_like(seed, epoch)
    group = torch.arange((count + 3) // 4, device=seed.device)
    counter = (group & _MASK, position & _MASK, torch.full_like(seed, stream), epoch & _MASK)
    out = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    return torch.stack(torch.broadcast_tensors(*out), -1).flatten(-2)[..., :count]


def uniform(word: Tensor) -> Tensor:
    """float32 in (0, 1) of a random word: min((float32(word) + 0.5) * 2**-32, 1 - 2**-24)."""
    return torch.clamp((word.to(torch.float32) + 0.5) * 2.0**-32, max=U_MAX)


def race(weight: Tensor, word: Tensor) -> Tensor:
    """The winner of an exponential race: the id with the smallest E / weight, ties to the lowest id, int64 [...].

    A draw from weight / sum(weight); in law and in coupling the same as Gumbel-max. Candidates have weight > 0 [..., V]
    float32; where there is none the result is 0.
    """
    # finite for denormal weights, which race on
    time = (exponential(uniform(word)) / weight).clamp(max=torch.finfo(torch.float32).max)
    time = torch.where(weight > 0, time, torch.inf)
    return time.argmin(-1)


def normals(seed: Tensor, position: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normals of stream 3, epoch 0: [..., channels], by Box-Muller on words (0, 1) and (2, 3) of each group.

    Channels 4i, 4i+1 are the cosine and sine of the first pair, 4i+2, 4i+3 of the second. Equal across backends to a
    tolerance only (library logarithm, sine and cosine).
    """
    u = uniform(words(seed, position, STREAM_NOISE, 0, 4 * ((channels + 3) // 4))).to(dtype)
    first, second = u[..., 0::2], u[..., 1::2]
    radius = torch.sqrt(-2.0 * torch.log(first))
    angle = (2.0 * math.pi) * second
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1).flatten(-2)[..., :channels]
