"""The Triton samplers on a device: in CUDA graphs, on any stream, without synchronisation, at outputs beyond 2^31."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from _sampler_cases import as_tensors, logits_case, verify_case
from _triton import assert_same, moved
from torch import Tensor

from sjd2_kernels import process_logits, verify_accept

pytestmark = pytest.mark.gpu
LOGITS, VERDICT = ("p", "fresh", "status"), ("accept_len", "tokens", "ratio")


def step(logits: dict[str, Tensor], window: dict[str, Any], backend: str) -> list[Tensor]:
    """A window's laws and draws, and the verdict on its drafts, which reads both."""
    p, fresh, status = process_logits(**logits, backend=backend)
    return [p, fresh, status, *verify_accept(**(window | {"p": p, "fresh": fresh}), backend=backend)]


def cases(seed: int, accept: str, redraw: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    random = np.random.default_rng(seed)
    B, L, V = 3, 20, 8192
    logits = logits_case(random, B, L, V, torch.bfloat16, share=1.0)
    window = {k: v for k, v in verify_case(random, B, L, V).items() if k in ("draft", "p", "q", "seed", "pos")}
    return logits, as_tensors(window) | {"accept": accept, "redraw": redraw}


@pytest.mark.parametrize(
    ("accept", "redraw"), [("ratio", "fresh"), ("ratio", "couple"), ("ratio", "keep"), ("match", "fresh")]
)
def test_capture_and_replay(accept: str, redraw: str) -> None:
    """B24. Every replay gives the native kernels' results of its own inputs."""
    logits, window = (moved(x) for x in cases(0, accept, redraw))
    step(logits, window, "triton")  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step(logits, window, "triton")
    for seed in range(4):
        fresh_inputs = cases(seed, accept, redraw)
        for static, new in zip((logits, window), fresh_inputs, strict=True):
            for name, value in new.items():
                if isinstance(value, Tensor):
                    static[name].copy_(value)
        graph.replay()
        for name, got, want in zip(LOGITS + VERDICT, outputs, step(*fresh_inputs, "native"), strict=True):
            assert_same(name, got, want)


def test_no_synchronisation() -> None:
    logits, window = (moved(x) for x in cases(1, "ratio", "couple"))
    step(logits, window, "triton")
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(logits, window, "triton")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_side_stream_of_every_device() -> None:
    """B23. Launches go to the current stream of the device of the tensors."""
    logits, window = cases(2, "ratio", "fresh")
    want = step(logits, window, "native")
    for device in range(torch.cuda.device_count()):
        here = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in x.items()} for x in (logits, window)]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            got = step(*here, "triton")
        stream.synchronize()
        assert all(x.device.index == device for x in got)
        for name, a, b in zip(LOGITS + VERDICT, got, want, strict=True):
            assert_same(name, a, b)


def test_more_probabilities_than_32_bits_count() -> None:
    """B22. The last row of an output of over 2^31 elements is the row on its own."""
    V = 184622
    L = 2**31 // V + 2
    row = torch.randn(1, 1, V, generator=torch.Generator().manual_seed(3))
    at = {"seed": torch.tensor([7]), "top_k": torch.tensor([50])}
    p, fresh, _ = process_logits(row.cuda().expand(1, L, V), **moved(at), backend="triton")
    want = process_logits(row, **at, pos=torch.tensor([L - 1]), backend="native")
    assert_same("p", p[:, -1:].contiguous(), want[0])
    assert_same("fresh", fresh[:, -1:].contiguous(), want[1])
