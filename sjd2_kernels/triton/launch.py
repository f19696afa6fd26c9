"""How a kernel is launched: its configuration from the operator's table, on the device of its tensors.

Every operator file has a table ``CONFIGS``, a tuple of `Config`. The first entry whose case and architecture fit is
the default, the only one that runs unless SJD2_AUTOTUNE=1 is set. Then all fitting entries are timed once per shape,
and the fastest is remembered on disk (autotune.py). Results of rung L3 do not depend on the choice; where a sum's order
follows the blocks (window_attention, nearest_token) its last bits do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ASSUMED_ARCHITECTURE = 90  # where no GPU is: in the interpreter


@dataclass(frozen=True)
class Config:
    """One launch configuration of a kernel, and why it is that."""

    reason: str
    num_warps: int
    num_stages: int = 1
    blocks: dict[str, int] = field(default_factory=dict)  # the kernel's tile sizes, by parameter name
    case: str = ""  # the shapes it is for, in the operator's own words
    arch: tuple[int, ...] = ()  # compute capabilities it is for (80, 90, 100); empty is all

    def options(self) -> dict[str, int]:
        """Keyword arguments of a launch, but enable_fp_fusion: each launch says that itself, defaults change."""
        return {**self.blocks, "num_warps": self.num_warps, "num_stages": self.num_stages}


def architecture(tensor: Tensor) -> int:
    """Compute capability of the tensor's device, 90 for 9.0."""
    if not tensor.is_cuda:
        return ASSUMED_ARCHITECTURE
    major, minor = torch.cuda.get_device_capability(tensor.device)
    return 10 * major + minor


def fitting(table: tuple[Config, ...], case: str, arch: int) -> Iterator[Config]:
    """Entries for ``case`` and ``arch``; a card that none names counts as the newest named one before it."""
    entries = [config for config in table if config.case == case]
    known = {a for config in entries for a in config.arch}
    stands_for = max((a for a in known if a <= arch), default=min(known, default=arch))
    yield from (config for config in entries if not config.arch or stands_for in config.arch)


def launch(
    operator: str,
    table: tuple[Config, ...],
    anchor: Tensor,
    run: Callable[[Config], Any],
    *,
    case: str = "",
    shape: tuple[int, ...] = (),
) -> None:
    """Run a kernel with the configuration that fits.

    Args:
        operator: for messages and as part of the autotuner's key.
        table: the operator's CONFIGS.
        anchor: a tensor on the device where it runs.
        run: launches with a given configuration; may be called several times when tuning, so it must be repeatable.
        case, shape: which entries of the table fit; what else the best of them depends on.
    """
    with on_device(anchor):
        arch = architecture(anchor)
        configs = list(fitting(table, case, arch))
        if not configs:
            raise ValueError(f"{operator}: no launch configuration for case {case!r} on architecture {arch}")
        chosen = configs[0]
        if os.environ.get("SJD2_AUTOTUNE") == "1" and anchor.is_cuda and len(configs) > 1:
            from .autotune import fastest

            chosen = fastest(operator, configs, run, (case, *shape))
        run(chosen)


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launches go to the device of ``tensor``, whatever the current one is."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
