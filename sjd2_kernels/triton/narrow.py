"""Kernels on float16 and bfloat16 in Triton's interpreter, whose arithmetic on them is wrong (bfloat16) or truncates.

There the kernels compute in float32 right after the load, and outputs land in float32 and are rounded outside.
"""

import torch
import triton.language as tl
from torch import Tensor

from . import interpreting

_NAMES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


def matrix_type(dtype: torch.dtype) -> tl.dtype:
    """The type in which operands of ``dtype`` enter a matrix product."""
    return tl.float32 if interpreting() else _NAMES[dtype]


def landing(shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
    """An output tensor of the dtype of ``like``, for `landed` when the kernel has written it."""
    return like.new_empty(shape, dtype=torch.float32 if interpreting() else like.dtype)


def landed(out: Tensor, like: Tensor) -> Tensor:
    """The finished output: rounded to the dtype of ``like`` where it landed in float32."""
    return out.to(like.dtype)
