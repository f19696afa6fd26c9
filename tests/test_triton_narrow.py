"""How kernels on float16 and bfloat16 get by in the interpreter, and what they do on a device."""

from __future__ import annotations

import pytest
import torch
import triton.language as tl

from sjd2_kernels.triton import narrow


@pytest.mark.parametrize("interpreting", [True, False])
@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float32, tl.float32), (torch.bfloat16, tl.bfloat16), (torch.float16, tl.float16)]
)
def test_float32_stands_in_only_in_the_interpreter(
    dtype: torch.dtype, name: tl.dtype, interpreting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow, "interpreting", lambda: interpreting)
    like = torch.zeros(2, dtype=dtype)
    assert narrow.matrix_type(dtype) == (tl.float32 if interpreting else name)
    out = narrow.landing((3, 5), like)
    assert out.shape == (3, 5)
    assert out.dtype == (torch.float32 if interpreting else dtype)
    out.fill_(1.00390625)  # half way between two bfloat16
    assert torch.equal(narrow.landed(out, like), torch.full((3, 5), 1.00390625).to(dtype))
