"""A forward pass on the device: no synchronisation, and the same numbers from a captured graph."""

from __future__ import annotations

import pytest
import torch
from sjd2.backbones import Attend
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_window_neither_synchronises_nor_changes_in_a_captured_graph(make: type, dtype: torch.dtype) -> None:
    backbone = make(dtype=dtype, device="cuda", seed=3)
    d = backbone.dims
    k, v = (torch.zeros(d.layers, 2, d.Hkv, 24, d.D, dtype=dtype, device="cuda") for _ in range(2))
    time_k, time_v = backbone.timestep_kv(torch.linspace(0, 1, 4))
    lengths, start = (torch.tensor(x, dtype=torch.int32, device="cuda") for x in ([3, 5], [1, 0]))
    level = torch.tensor([[0, 1, 2, 3]] * 2, dtype=torch.int32, device="cuda")
    attend = Attend(k, v, lengths, start, time_k, time_v, level)
    rows = backbone.rows(torch.arange(8, device="cuda").view(2, 4))
    positions = torch.tensor([[2, 3, 4, 5], [5, 6, 7, 8]], device="cuda")

    def step() -> torch.Tensor:
        return backbone.head(backbone.forward(rows, positions, attend))

    eager = step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # capture wants a warm-up on a stream of its own
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    rows.mul_(2)
    graph.replay()
    changed = captured.clone()
    rows.div_(2)
    graph.replay()
    assert torch.equal(captured, eager)
    assert not torch.equal(changed, eager)
