"""process_logits + verify_accept at L = 96, guidance on, one image, beside the eager chains and a copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sjd2_kernels

from . import eager, harness

L, GUIDANCE = 96, 3.0
# peer -> least ratio, by (V, top-k): what issue and design ask for on two CPU cores
TARGETS = {
    (65536, 2000): {"eager": 40.0, "smart eager": 15.0},
    (8192, 2000): {"eager": 20.0, "smart eager": 10.0},
    (65536, 0): {"eager": 12.0},
    (8192, 0): {"eager": 12.0},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("k", [2000, 0])
@pytest.mark.parametrize("V", [8192, 65536])
def test_step(compare: Any, V: int, k: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cond, uncond = ((2.0 * torch.randn(1, L, V)).to(dtype) for _ in range(2))
    # the draft comes from the law of slightly other logits, as from the previous iteration
    q, draft, _ = sjd2_kernels.process_logits(cond * 0.95, uncond, guidance=GUIDANCE, top_k=k or None, seed=1)
    one = torch.zeros(1, dtype=torch.int64)
    guidance, top_k = torch.full((1,), GUIDANCE), torch.full((1,), k)

    def ours(cond: torch.Tensor, uncond: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        p, fresh, _ = torch.ops.sjd2.process_logits(cond, uncond, guidance, None, top_k, None, one, one)
        return p, torch.ops.sjd2.verify_accept(draft, p, q, one, one, fresh)[1]

    p, tokens = ours(cond, uncond, q)
    # error gate: at most twice the error of the same-precision PyTorch expression (and one unit of float32 more)
    scores = eager.guided(cond.float(), uncond.float(), GUIDANCE)
    exact, single = eager.top_k_law(scores.double(), k), eager.top_k_law(scores, k)
    assert (p - exact).abs().max() <= 2 * (single - exact).abs().max() + 2**-23
    assert tokens.min() >= 0
    assert tokens.max() < V

    buffers = harness.copies((cond, uncond, q))
    variants = {
        "sjd2": lambda i: ours(*buffers[i % len(buffers)]),
        "eager": lambda i: eager.chain(*buffers[i % len(buffers)], draft, GUIDANCE, k),
        "copy": lambda i: [t.clone() for t in buffers[i % len(buffers)]],
    }
    if k:
        variants["smart eager"] = lambda i: eager.smart_chain(*buffers[i % len(buffers)], draft, GUIDANCE, k)
    name = f"V={V} top-k={k or 'off'} {str(dtype).removeprefix('torch.')}"
    suite = f"process_logits + verify_accept, L = {L}, guidance, one image"
    compare(suite, name, variants, TARGETS[V, k] if dtype is torch.float32 else None)
