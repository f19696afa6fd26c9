"""B22: rows beyond 2**31 elements, which 32-bit offsets would wrap. Untouched pages of the buffers take no memory."""

from __future__ import annotations

import numpy as np
import torch

import sjd2_kernels

FAR = 2**31 + 64


def _far_apart(rows: torch.Tensor) -> torch.Tensor:
    """The same [2, V] rows with FAR elements between their starts, as [1, 2, V]."""
    V = rows.shape[-1]
    numpy_type = {torch.float32: np.float32, torch.bfloat16: np.uint16}[rows.dtype]
    buffer = torch.from_numpy(np.zeros(FAR + V, numpy_type)).view(rows.dtype)
    far = buffer.as_strided((1, 2, V), (0, FAR, 1))
    far.copy_(rows)
    return far


def test_process_logits_reads_far_rows() -> None:
    rows = torch.randn(1, 2, 1000).bfloat16()
    near = sjd2_kernels.process_logits(rows, rows.flip(-1), guidance=2.0, top_k=100, seed=3)
    far = sjd2_kernels.process_logits(_far_apart(rows), _far_apart(rows.flip(-1)), guidance=2.0, top_k=100, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(near, far, strict=True))


def test_verify_accept_reads_far_rows() -> None:
    p, q = (torch.softmax(torch.randn(1, 2, 1000), -1) for _ in range(2))
    draft = torch.tensor([[5, 7]])
    near = sjd2_kernels.verify_accept(draft, p, q, seed=3, pos=0, redraw="couple")
    far = sjd2_kernels.verify_accept(draft, _far_apart(p), _far_apart(q), seed=3, pos=0, redraw="couple")
    assert all(torch.equal(a, b) for a, b in zip(near, far, strict=True))
