"""What a piece of PyTorch code asks of the device: tensor operations, waits of the host, bytes of wide results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# operations whose result the host needs before it can go on; copies to the CPU are seen by their devices
WAITS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal")


class Counter(TorchDispatchMode):
    """Counts inside its block.

    Args:
        wide: results whose last dimension is at least this count as vocabulary-sized.

    Attributes:
        operations: calls that compute or copy; views are free and not counted.
        synchronisations: calls after which the host waits.
        wide_bytes: bytes of vocabulary-sized results.
    """

    def __init__(self, wide: int):
        super().__init__()
        self.wide = wide
        self.operations = self.synchronisations = self.wide_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [returned.alias_info for returned in func._schema.returns]
        if aliases and all(alias is not None and not alias.is_write for alias in aliases):
            return out  # a view
        self.operations += 1
        name = func._schema.name.split("::")[1]
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        sources = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        down = any(t.is_cpu for t in results) and any(not t.is_cpu for t in sources)
        picked = name.startswith("index") and any(t.dtype == torch.bool for t in sources[1:])  # by a mask: how many?
        self.synchronisations += name in WAITS or down or picked
        self.wide_bytes += sum(t.numel() * t.element_size() for t in results if t.dim() and t.shape[-1] >= self.wide)
        return out

    def record(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "operations": self.operations,
            "synchronisations": self.synchronisations,
            "wide_bytes": self.wide_bytes,
        }


def count(call: Callable[[], object], wide: int) -> dict[str, int]:
    """What one call asks of the device."""
    with torch.no_grad(), Counter(wide) as counter:
        call()
    return counter.record()
