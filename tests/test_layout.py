"""Arguments are copied only where a kernel cannot read them as they lie."""

from __future__ import annotations

import torch

from sjd2_kernels.layout import dense, rows_last


def test_rows_last_copies_only_a_strided_last_axis() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    for view in (x, x[:, :2], x[..., 1:3], x.transpose(0, 1), x[..., :0]):
        assert rows_last(view) is view
    for view in (x.transpose(0, 2), x[..., ::2]):
        assert rows_last(view).stride(-1) == 1
        assert torch.equal(rows_last(view), view)


def test_dense() -> None:
    x = torch.arange(6)
    assert dense(None) is None
    assert dense(x) is x
    assert dense(x[::2]).tolist() == [0, 2, 4]
    assert dense(x[::2]).is_contiguous()
