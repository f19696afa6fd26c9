"""Kernels for parallel decoding of autoregressive image models (SJD2), as torch operators.

Importing this package registers ``torch.ops.sjd2.*``. The functions here are the same operators with defaults and
numbers broadcast to tensors; docs/operators.md is their contract.
"""

__version__ = "0.1.0"

from . import registration as _registration  # noqa: F401  (registers the operators)
from .backends import show_config
from .functional import commit, process_logits, verify_accept
from .window import cosine_table, nearest_token, noise_embed, noise_mix, window_attention

__all__ = [
    "commit",
    "cosine_table",
    "nearest_token",
    "noise_embed",
    "noise_mix",
    "process_logits",
    "show_config",
    "verify_accept",
    "window_attention",
]
