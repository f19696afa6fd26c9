"""Which implementation runs: what is live on this machine, what was asked for, and why something is missing.

Choice, in this order: the ``backend`` argument of the Python function, the environment variable ``SJD2_BACKEND``, the
best live backend of the tensors' device. A backend that is asked for by name and cannot serve is an error, never a
fallback.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from .schemas import SCHEMAS

# best first
PREFERENCE: dict[str, tuple[str, ...]] = {"cpu": ("native", "reference"), "cuda": ("triton", "cuda", "reference")}
BACKENDS = ("native", "triton", "cuda", "reference")
# backends that serve some operators only; the others serve all, and their derivatives
OPERATORS_OF: dict[str, tuple[str, ...]] = {"cuda": ("process_logits", "verify_accept")}
# of these, which run on it though Triton is live, each with the file in bench/results that measured it to be faster
CUDA_BEFORE_TRITON: dict[str, str] = {}


@cache
def why_not(backend: str) -> str | None:
    """The reason why ``backend`` cannot be used on this machine, or None if it can."""
    if backend == "reference":
        return None
    reason: str | None = _package(backend).why_not()
    return reason


def served_by(operator: str, device: str) -> tuple[str, ...]:
    """The backends of ``operator`` for tensors on ``device``, live or not, best first."""
    names = tuple(name for name in PREFERENCE.get(device, ()) if operator in OPERATORS_OF.get(name, (operator,)))
    if operator in CUDA_BEFORE_TRITON:
        return tuple(sorted(names, key=lambda name: name != "cuda"))
    return names


def _package(backend: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{backend}")


@cache
def implementation(operator: str, backend: str) -> Callable[..., Any]:
    """The function of ``backend`` that implements ``operator``."""
    module = importlib.import_module(f"{__package__}.{backend}.{operator}")
    function: Callable[..., Any] = getattr(module, operator)
    return function


def select(operator: str, device: str, backend: str | None = None) -> Callable[..., Any]:
    """The implementation of ``operator`` for tensors on ``device`` ("cpu" or "cuda").

    Raises:
        ValueError: an unknown backend, or one that does not serve this device.
        RuntimeError: a backend that is not live here; the message says why and what to do.
    """
    asked = backend or os.environ.get("SJD2_BACKEND")
    served = served_by(operator, device)
    if asked:
        if asked == "triton" and device == "cpu" and _package(asked).interpreting():
            served += (asked,)  # never unasked: it is there to show what a kernel computes
        if asked not in BACKENDS:
            raise ValueError(f"{operator}: backend must be one of {', '.join(BACKENDS)}, got {asked!r}")
        if asked not in served:
            lacks = (
                "has no kernel for it" if asked in PREFERENCE.get(device, ()) else f"does not serve {device} tensors"
            )
            raise ValueError(f"{operator}: backend {asked!r} {lacks}, use {' or '.join(served)}")
        reason = why_not(asked)
        if reason:
            raise RuntimeError(f"{operator}: backend {asked!r} is not available: {reason}")
        return implementation(operator, asked)
    for name in served:
        reason = why_not(name)
        if reason is None:
            return implementation(operator, name)
        _log_missing(name, reason)
    raise RuntimeError(f"{operator}: no backend serves {device} tensors")


@cache
def _log_missing(backend: str, reason: str) -> None:
    """Say once that a faster backend was passed over; the results are the same, the time is not."""
    text = "backend %r is not available, a slower one runs: %s (sjd2_kernels.show_config() says more)"
    logging.getLogger(__package__).warning(text, backend, reason.partition("\n")[0])


def show_config() -> str:
    """Print, and return, what is installed, which backends are live and why others are not, and what operators use.

    Returns:
        The text, a line per backend and device.

    Examples:
        >>> text = show_config()  # doctest: +ELLIPSIS
        sjd2-kernels ...
    """
    text = configuration()
    print(text)
    return text


def configuration() -> str:
    """The text of `show_config`."""
    import torch

    from . import __version__

    lines = [f"sjd2-kernels {__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads"]
    for name in BACKENDS:
        reason = why_not(name)
        state = f"live{_detail(name)}" if reason is None else "not live: " + reason.replace("\n", "\n" + " " * 13)
        lines.append(f"  {name:<10} {state}")
    asked = os.environ.get("SJD2_BACKEND")
    lines.append(f"  SJD2_BACKEND {asked or 'not set (the best live backend is used)'}")
    for device in PREFERENCE:
        operators: dict[str, list[str]] = {}
        for operator in SCHEMAS:
            live = [name for name in served_by(operator, device) if why_not(name) is None]
            operators.setdefault(live[0] if live else "nothing live", []).append(operator)
        lines += [f"  {device:<10} {', '.join(names)}: {backend}" for backend, names in operators.items()]
    return "\n".join(lines)


def _detail(name: str) -> str:
    return "" if name == "reference" else f" ({_package(name).describe()})"
