"""Registers every operator with PyTorch: schema, fake, and one implementation that validates and picks a backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import autograd, backends, native, schemas, validation

_library = torch.library.Library(schemas.NAMESPACE, "DEF")


def _implementation(operator: str, device: str) -> Callable[..., Any]:
    check = validation.CHECKS[operator]

    def run(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return backends.select(operator, device)(*args, **kwargs)

    return run


def _implementation_on_cpu(operator: str) -> Callable[..., Any]:
    """The native kernel where nothing else is asked for and the arguments are plain, as nearly always."""
    careful = _implementation(operator, "cpu")

    def run(*args: Any, **kwargs: Any) -> Any:
        direct = native.direct(operator)
        if direct is not None:
            preferred, kernel = direct
            if preferred() and (result := kernel(torch.get_num_threads(), *args, **kwargs)) is not None:
                return result
        return careful(*args, **kwargs)

    return run


for _operator, _schema in schemas.SCHEMAS.items():
    _library.define(_operator + _schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(_operator, _implementation_on_cpu(_operator), "CPU")
    _library.impl(_operator, _implementation(_operator, "cuda"), "CUDA")
    torch.library.register_fake(f"{schemas.NAMESPACE}::{_operator}", schemas.fake(_operator), lib=_library)

autograd.register(_library)
