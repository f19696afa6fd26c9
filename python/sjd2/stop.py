"""When to stop without waiting for the device: flags read one step late; and the step as one replayed CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Latch:
    """Position and done flag of every image, as they were one call ago.

    Each call starts the copy of the present values to the host and waits for the copy that the call before started, so
    the device always has a step to work on. Finished images skip the one step too many.

    Args:
        pos: [B] int64, done: [B] int32, as the step writes them.
    """

    def __init__(self, pos: Tensor, done: Tensor):
        self.pos, self.done = pos, done
        self.cuda = pos.device.type == "cuda"
        shape = (2, pos.shape[0])
        self.host = [torch.zeros(shape, dtype=torch.int64, pin_memory=self.cuda) for _ in range(2)]
        self.events = [torch.cuda.Event() for _ in range(2)] if self.cuda else []
        self.calls = 0

    def __call__(self) -> tuple[list[int] | None, bool]:
        """Committed tokens of each image and whether all are done, after the step before; None, False at first."""
        now, before = self.calls % 2, (self.calls + 1) % 2
        self.host[now].copy_(torch.stack([self.pos, self.done.long()]), non_blocking=True)
        if self.cuda:
            self.events[now].record()
        self.calls += 1
        if self.calls == 1:
            return None, False
        if self.cuda:
            self.events[before].synchronize()
        committed, done = self.host[before].tolist()
        return committed, all(done)


class Graph:
    """A step that is captured once and replayed.

    The first two calls run eagerly on a side stream (they warm up allocator and libraries, and are real steps), the
    third captures. The step must have fixed shapes, keep its state in place and never read a device value.

    Args:
        step: the function to capture.
        device: must be a CUDA device.

    Raises:
        ValueError: elsewhere.
    """

    WARM_UP = 2

    def __init__(self, step: Callable[[], None], device: torch.device):
        if device.type != "cuda":
            raise ValueError(f"graph=True needs a CUDA device, the model is on {device}")
        self.step, self.calls = step, 0
        self.stream, self.graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()

    def __call__(self) -> None:
        """Run one step."""
        self.calls += 1
        if self.calls <= self.WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.step()
            torch.cuda.current_stream().wait_stream(self.stream)
            return
        if self.calls == self.WARM_UP + 1:
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.step()  # recorded, not run
        self.graph.replay()
