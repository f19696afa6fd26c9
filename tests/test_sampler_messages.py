"""What the samplers say to a wrong argument: operator, argument, what it must be, what came. Word for word."""
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import pytest
import torch
from _live import on_backends

from sjd2_kernels import process_logits, verify_accept

NAN = float("nan")
VERIFY = {
    "draft": torch.zeros(24, 6, dtype=torch.long),
    "p": torch.zeros(24, 6, 37),
    "q": torch.zeros(24, 6, 37),
    "seed": torch.zeros(24, dtype=torch.long),
    "pos": torch.zeros(24, dtype=torch.long),
    "fresh": torch.zeros(24, 6, dtype=torch.long),
}


@on_backends("verify_accept")
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"draft": torch.zeros(24, 6)}, TypeError, "verify_accept: draft must have dtype int64, got float32"),
        ({"p": torch.zeros(24, 6, 37).double()}, TypeError, "verify_accept: p must have dtype float32, got float64"),
        ({"q": torch.zeros(24, 6, 36)}, ValueError, "verify_accept: q must have shape [24, 6, 37] to match p [24, 6, 37], got (24, 6, 36)"),
        ({"p": torch.zeros(24, 6)}, ValueError, "verify_accept: p must have shape [B, L, V] (see docs/operators.md for the letters), got (24, 6)"),
        ({"p": torch.zeros(24, 6, 0)}, ValueError, "verify_accept: p must have at least one id in its last axis, got (24, 6, 0)"),
        ({"seed": torch.zeros(24, 1).long()}, ValueError, "verify_accept: seed must have shape [24] to match p [24, 6, 37], got (24, 1)"),
        ({"epoch": torch.zeros(24).int()}, TypeError, "verify_accept: epoch must have dtype int64, got int32"),
        ({"verifiable": torch.zeros(24, 6).int()}, TypeError, "verify_accept: verifiable must have dtype bool, got int32"),
        ({"done": torch.zeros(24).bool()}, TypeError, "verify_accept: done must have dtype int32, got bool"),
        ({"q": torch.zeros(24, 6, 37, device="meta")}, ValueError, "verify_accept: q must be on cpu like p, got meta; move it with .to('cpu')"),
        ({"seed": None}, TypeError, "verify_accept: seed must be a tensor, got NoneType"),
        ({"q": None}, TypeError, "verify_accept: q must be a tensor, got NoneType"),
        ({"draft": [1, 2]}, TypeError, "verify_accept: draft must be a tensor, got list"),
        ({"pos": 1.5}, TypeError, "verify_accept: pos must be a tensor or a whole number, got float"),
        ({"seed": 2**63}, ValueError, "verify_accept: seed must be in -9223372036854775808..9223372036854775807, got 9223372036854775808"),
        ({"accept": "always"}, ValueError, "verify_accept: accept must be one of ratio, match, got 'always'"),
        ({"redraw": "never"}, ValueError, "verify_accept: redraw must be one of fresh, couple, keep, got 'never'"),
        ({"accept": "match", "fresh": None}, ValueError, "verify_accept: fresh must be given with accept='match', which compares the draft with it, got None"),
        ({"accept": "match", "redraw": "keep"}, ValueError, "verify_accept: redraw must be 'fresh' with accept='match' (no residual there), got 'keep'"),
    ],
)  # fmt: skip
def test_verify_accept(backend: str, change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        verify_accept(**(VERIFY | change), backend=backend)
    assert str(caught.value) == text


@on_backends("process_logits")
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"cond": torch.zeros(2, 3)}, ValueError, "process_logits: cond must have shape [B, L, V] (see docs/operators.md for the letters), got (2, 3)"),
        ({"cond": torch.tensor(1.0)}, ValueError, "process_logits: cond must have shape [B, L, V] (see docs/operators.md for the letters), got ()"),
        ({"cond": None}, TypeError, "process_logits: cond must be a tensor, got NoneType"),
        ({"temperature": "hot"}, TypeError, "process_logits: temperature must be a tensor or a number, got str"),
        ({"top_k": 2.5}, TypeError, "process_logits: top_k must be a tensor or a whole number, got float"),
        ({"cond": torch.zeros(2, 3, 4).int()}, TypeError, "process_logits: cond must have dtype float32 or bfloat16 or float16 or float64, got int32"),
        ({"cond": torch.zeros(2, 3, 0)}, ValueError, "process_logits: cond must have at least one id in its last axis, got (2, 3, 0)"),
        ({"uncond": torch.zeros(2, 3, 5)}, ValueError, "process_logits: uncond must have shape [2, 3, 4] to match cond [2, 3, 4], got (2, 3, 5)"),
        ({"uncond": torch.zeros(2, 3, 4).half()}, TypeError, "process_logits: uncond must have dtype float32, got float16"),
        ({"guidance": 3.0}, ValueError, "process_logits: guidance needs uncond, the logits of the unconditional rows, got None"),
        ({"temperature": torch.ones(3)}, ValueError, "process_logits: temperature must have shape [2] to match cond [2, 3, 4], got (3,)"),
        ({"temperature": -0.5}, ValueError, "process_logits: temperature must be >= 0, got -0.5"),
        ({"top_p": NAN}, ValueError, "process_logits: top_p must be a number, got nan"),
        ({"top_k": torch.ones(2)}, TypeError, "process_logits: top_k must have dtype int64, got float32"),
        ({"seed": torch.ones(2).int()}, TypeError, "process_logits: seed must have dtype int64, got int32"),
        ({"forced": torch.ones(2, 4).long()}, ValueError, "process_logits: forced must have shape [2, 3] to match cond [2, 3, 4], got (2, 4)"),
        ({"done": torch.ones(2).long()}, TypeError, "process_logits: done must have dtype int32, got int64"),
        ({"uncond": torch.zeros(2, 3, 4, device="meta")}, ValueError, "process_logits: uncond must be on cpu like cond, got meta; move it with .to('cpu')"),
    ],
)  # fmt: skip
def test_process_logits(backend: str, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        process_logits(**({"cond": torch.zeros(2, 3, 4)} | arguments), backend=backend)
    assert str(caught.value) == text
