"""Big outputs live in recycled memory: a buffer comes back only when its last user is gone."""

from __future__ import annotations

import gc

import pytest
import torch

from sjd2_kernels import native

pytestmark = pytest.mark.usefixtures("native_live")


@pytest.fixture
def native_live() -> None:
    assert native.why_not() is None, native.why_not()


MEBI = 1 << 20


def test_small_outputs_are_ordinary() -> None:
    assert native.empty((4, 4), torch.float32).untyped_storage().resizable()


def test_memory_returns_with_its_last_user() -> None:
    first = native.empty((3, MEBI), torch.float32)
    address, row = first.data_ptr(), first[1]
    row.fill_(1.0)
    del first
    other = native.empty((3, MEBI), torch.float32)
    other.fill_(2.0)
    assert other.data_ptr() != address, "a view still uses the first buffer"
    assert (row == 1.0).all()
    del row
    gc.collect()
    assert native.empty((3, MEBI), torch.float32).data_ptr() == address


def test_two_live_outputs_never_share() -> None:
    alive = [native.empty((1, MEBI), torch.float32) for _ in range(8)]
    for i, tensor in enumerate(alive):
        tensor.fill_(float(i))
    assert [tensor[0, 0].item() for tensor in alive] == list(range(8))


def test_shapes_dtypes_and_boundary() -> None:
    for shape, dtype in (((1, 3, 2 * MEBI), torch.float32), ((MEBI,), torch.int64), ((0, 5), torch.float32)):
        tensor = native.empty(shape, dtype)
        assert (tensor.shape, tensor.dtype) == (shape, dtype)
        assert tensor.is_contiguous()
    assert native.empty((MEBI,), torch.int64).data_ptr() % (2 * MEBI) == 0
