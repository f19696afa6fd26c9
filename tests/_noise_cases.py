"""What the tests of noise_embed, noise_mix, nearest_token and commit share: backends, layouts, a noise oracle."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sjd2_kernels import backends

BACKENDS = [
    name
    for name in backends.PREFERENCE["cpu"]
    if backends.why_not(name) is None or os.environ.get("SJD2_REQUIRE_NATIVE") == "1"
]
on_backends = pytest.mark.parametrize("backend", BACKENDS)
REAL = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
WORD = 0xFFFFFFFF


def generator(seed: int) -> torch.Generator:
    """A seeded generator: every case is the same in every run."""
    return torch.Generator().manual_seed(seed)


def philox_word(seed: int, position: int, stream: int, epoch: int, index: int) -> int:
    """One word of RNG v1 in Python integers, written from the definition and sharing nothing with the package."""
    counter = [(index >> 2) & WORD, position & WORD, stream & WORD, epoch & WORD]
    key = [seed & WORD, (seed >> 32) & WORD]
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second & WORD,
            (first >> 32) ^ counter[3] ^ key[1],
            first & WORD,
        ]
        key = [(key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD]
    return counter[index & 3]


def normal(seed: int, position: int, channel: int, stream: int = 3) -> float:
    """The standard normal of a channel by Box-Muller in double precision."""

    def uniform(index: int) -> float:
        word = torch.tensor(philox_word(seed, position, stream, 0, index), dtype=torch.int64).to(torch.float32)
        return min((word + 0.5).item() * 2.0**-32, 1 - 2.0**-24)

    pair = channel & ~1
    radius, angle = math.sqrt(-2 * math.log(uniform(pair))), 2 * math.pi * uniform(pair + 1)
    return radius * (math.sin(angle) if channel & 1 else math.cos(angle))


def normals(seed: int, position: int, channels: int) -> Tensor:
    """[channels] float64 of `normal`."""
    return torch.tensor([normal(seed, position, c) for c in range(channels)], dtype=torch.float64)


def layouts(tensor: Tensor) -> Iterator[Tensor]:
    """The same values as views with other strides: axes swapped, sliced, every second element, offset storage."""
    yield tensor
    if tensor.dim() > 1:
        yield tensor.transpose(0, -1).contiguous().transpose(0, -1)
    wide = tensor.new_zeros((*tensor.shape[:-1], 2 * tensor.shape[-1] + 3))
    wide[..., 3::2] = tensor
    yield wide[..., 3::2]
    padded = tensor.new_zeros([n + 2 for n in tensor.shape])
    inner = padded[tuple(slice(1, n + 1) for n in tensor.shape)]
    inner.copy_(tensor)
    yield inner


def strewn(arguments: dict[str, Any], layout: int) -> dict[str, Any]:
    """Every tensor among the arguments in the layout of that number (as far as it has so many)."""

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        views = list(layouts(value))
        return views[min(layout, len(views) - 1)]

    return {name: one(value) for name, value in arguments.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads for the native kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sparse(elements: int, dtype: torch.dtype) -> Tensor:
    """A zero tensor of many elements whose pages exist only once they are written."""
    no_reserve = 0x4000  # MAP_NORESERVE, which Python's mmap names from 3.13 on
    size = elements * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    return torch.frombuffer(pages, dtype=dtype)


def rows_of(arguments: dict[str, Any], images: Any, whole: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of some images only; those named in `whole` have no axis of images."""
    return {
        name: value if name in whole or not isinstance(value, Tensor) else value[images]
        for name, value in arguments.items()
    }


def assert_same(got: Any, expected: Any, what: str = "") -> None:
    """Equality bit for bit (NaN equal to NaN) of tensors or tuples of them, naming the first difference."""
    pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
    for i, (a, b) in enumerate(pairs):
        assert a.shape == b.shape, f"{what} output {i}: {tuple(a.shape)} against {tuple(b.shape)}"
        assert a.dtype == b.dtype, f"{what} output {i}: {a.dtype} against {b.dtype}"
        differ = (a != b) & ~((a != a) & (b != b))
        if differ.any():
            place = tuple(differ.nonzero()[0].tolist())
            raise AssertionError(f"{what} output {i} differs first at {place}: {a[place]} against {b[place]}")


def assert_fake_matches(op: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """The fake's outputs have the shape, dtype and strides of the real ones (B25)."""
    real = op(**arguments)
    with FakeTensorMode() as mode:
        fake = op(**{k: mode.from_tensor(v) if isinstance(v, Tensor) else v for k, v in arguments.items()})
    pairs = zip(real, fake, strict=True) if isinstance(real, tuple) else [(real, fake)]
    for i, (a, b) in enumerate(pairs):
        for attribute in ("shape", "dtype", "device"):
            assert getattr(a, attribute) == getattr(b, attribute), f"output {i}: {attribute}"
        assert a.stride() == b.stride(), f"output {i}: stride {a.stride()} of the real one, {b.stride()} of the fake"


def opcheck(op: Any, arguments: dict[str, Any]) -> None:
    """torch.library.opcheck, and the fake's strides."""
    torch.library.opcheck(op.default, (), arguments)
    assert_fake_matches(op, {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in arguments.items()})


def patterns(arguments: dict[str, Any], optional: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The arguments without any optional one, with each alone, and with all."""
    for kept in [(), *((name,) for name in optional), optional]:
        yield {name: value for name, value in arguments.items() if name not in optional or name in kept}
