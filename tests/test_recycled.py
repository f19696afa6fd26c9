"""Outputs of the native kernels: big ones live in recycled memory, which comes back only when its last user is gone."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from sjd2_kernels import native

FLOAT32, BFLOAT16, FLOAT16, FLOAT64 = range(4)  # as csrc/include/sjd2/real.h
MEBI = 1 << 20


def new_tensor(*sizes: int, dtype: int = FLOAT32) -> Tensor:
    tensor: Tensor = native.module().new_tensor(sizes, dtype)
    return tensor


def test_memory_returns_with_its_last_user() -> None:
    first = new_tensor(3, MEBI)
    address, row = first.data_ptr(), first[1]
    row.fill_(1.0)
    del first
    other = new_tensor(3, MEBI)
    other.fill_(2.0)
    assert other.data_ptr() != address, "a view still uses the first buffer"
    assert (row == 1.0).all()
    del row
    gc.collect()
    assert new_tensor(3, MEBI).data_ptr() == address


def test_two_live_outputs_never_share() -> None:
    alive = [new_tensor(*sizes) for sizes in ((1, MEBI), (7,)) for _ in range(8)]
    for i, tensor in enumerate(alive):
        tensor.fill_(float(i))
    assert all((tensor == i).all() for i, tensor in enumerate(alive))


@pytest.mark.parametrize("sizes", [(1, 3, 2 * MEBI), (MEBI,), (0, 5), (5, 0), (2, 3, 4, 5), (1, 1)])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(FLOAT32, torch.float32), (BFLOAT16, torch.bfloat16), (FLOAT16, torch.float16), (FLOAT64, torch.float64)],
)
def test_shapes_dtypes_and_alignment(sizes: tuple[int, ...], code: int, dtype: torch.dtype) -> None:
    tensor = new_tensor(*sizes, dtype=code)
    assert (tensor.shape, tensor.dtype, tensor.device.type) == (sizes, dtype, "cpu")
    assert tensor.is_contiguous()
    assert not tensor.requires_grad
    assert tensor.data_ptr() % 64 == 0
    if tensor.nbytes >= native.module().RECYCLE_FROM:
        assert tensor.data_ptr() % (2 * MEBI) == 0


def test_sizes_that_no_memory_holds_are_an_error() -> None:
    for sizes in ((2**40, 2**40), (2**61, 1)):
        with pytest.raises(MemoryError):
            new_tensor(*sizes)
    with pytest.raises(ValueError, match="at most 4 axes"):
        new_tensor(1, 1, 1, 1, 1)


def test_the_watcher_sees_every_new_tensor() -> None:
    seen: list[Tensor] = []
    before = native.module().watch_new_tensors(seen.append)
    try:
        p, fresh, status = torch.ops.sjd2.process_logits(torch.zeros(1, 2, 3))
    finally:
        assert native.module().watch_new_tensors(before) is not None
    assert [tensor.data_ptr() for tensor in seen] == [p.data_ptr(), fresh.data_ptr(), status.data_ptr()]
