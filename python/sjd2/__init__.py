"""The thin decoder over `sjd2_kernels`: the decoding loop, its policies and the backbones.

`sjd2.load(...).generate(prompts, policy=...)` is all that most programs need. Importing this package is light; what
needs transformers is imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .language_models import custom_generate
    from .pipeline import Output, Pipeline, load
    from .policies import POLICIES, Policy, get_policy
    from .schedule import time_grid

_WHERE = {
    "load": "pipeline",
    "Pipeline": "pipeline",
    "Output": "pipeline",
    "custom_generate": "language_models",
    "POLICIES": "policies",
    "Policy": "policies",
    "get_policy": "policies",
    "time_grid": "schedule",
}

__all__ = ["POLICIES", "Output", "Pipeline", "Policy", "custom_generate", "get_policy", "load", "time_grid"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sjd2' has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
