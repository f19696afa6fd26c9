"""The Triton kernels: CUDA tensors, and CPU tensors under Triton's interpreter; one file per operator.

Written for triton 3.6 to 3.9. The interpreter (TRITON_INTERPRET=1 in the environment before triton is imported) shows
without a GPU what a kernel computes, slowly; no call gets there unless it asks for backend="triton" by name.
"""

from __future__ import annotations

from functools import cache

import torch

INTERPRETER_ADVICE = "TRITON_INTERPRET=1 in the environment of a new process runs the kernels on CPU tensors, slowly"


@cache
def version() -> str | None:
    """The version of the installed triton, None without one."""
    try:
        import triton
    except ImportError:
        return None
    found: str = triton.__version__
    return found


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter in this process."""
    if version() is None:
        return False
    from triton import knobs

    return bool(knobs.runtime.interpret)


def why_not() -> str | None:
    """The reason why the Triton kernels cannot be used, or None."""
    if version() is None:
        return "the package triton is not installed: pip install 'sjd2-kernels[triton]'"
    if interpreting() or torch.cuda.is_available():
        return None
    return f"torch finds no CUDA device; {INTERPRETER_ADVICE}"


def describe() -> str:
    """One line for show_config()."""
    return f"triton {version()}" + (", interpreter, CPU tensors on request" if interpreting() else "")
