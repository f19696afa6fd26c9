"""Which CPU backends a test of an operator runs on."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from sjd2_kernels import backends

REQUIRE_NATIVE = os.environ.get("SJD2_REQUIRE_NATIVE") == "1"

TRITON_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where tests of Triton kernels put their tensors


def live(operator: str, device: str = "cpu") -> list[str]:
    """The live backends of ``operator``, best first; with SJD2_REQUIRE_NATIVE=1 also one that is not, so that its tests
    fail."""
    return [
        name
        for name in backends.PREFERENCE[device]
        if (REQUIRE_NATIVE and name == "native")
        or (backends.why_not(name) is None and importlib.util.find_spec(f"sjd2_kernels.{name}.{operator}"))
    ]


def on_backends(*operators: str) -> pytest.MarkDecorator:
    """Parametrise ``backend`` over those that serve all of ``operators``."""
    return pytest.mark.parametrize("backend", [b for b in live(operators[0]) if all(b in live(o) for o in operators)])
