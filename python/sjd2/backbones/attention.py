"""`window_attention` as an attention function of transformers, so that no model code is copied.

transformers calls a registered function once per layer with q [R, H, M, D] and k, v [R, Hkv, M, D], rotary embedding
already applied, and forwards unknown keyword arguments of the model call to it. Ours reads the caches and lengths of
the pass from the argument ``sjd2_window`` (an `Attend`). Without that argument it is the library's own
scaled-dot-product attention with the library's own mask, so a model that carries our name behaves as before when it is
called as before.

The one trap: a model builds a causal mask before its layers, and looks at position ids for packed sequences, which
reads a device value on the host. A four-dimensional mask is passed through untouched, so `no_mask` (no elements)
switches all of that off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

import sjd2_kernels  # noqa: F401  (registers torch.ops.sjd2)

from .base import Attend

NAME = "sjd2_window"
# attention variants that some models ask for by keyword and window_attention does not compute
_UNSUPPORTED = ("softcap", "s_aux")


def no_mask(device: torch.device) -> Tensor:
    """The mask that says: `window_attention` knows what each row may see. Four dimensions, no elements."""
    return torch.empty(0, 0, 0, 0, device=device)


def window_attention_forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sjd2_window: Attend | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The registered function: [R, H, M, D] queries -> [R, M, H, D], and None for the attention weights.

    Raises: ValueError where the window would be silently wrong: a mask or a cache besides the window's, a bidirectional
    layer, dropout, a sliding window shorter than the cache, score capping or attention sinks, a model that does not
    hand the window on to its layers.
    """
    if sjd2_window is None and attention_mask is not None and attention_mask.numel() == 0:
        raise ValueError(
            f"window attention: the model around {type(module).__name__} does not hand keyword arguments on to its "
            "attention layers, so they cannot see the window"
        )
    if sjd2_window is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    _check(module, query.shape[2], key, attention_mask, dropout, sjd2_window, kwargs)
    layer: int = module.layer_idx
    if sjd2_window.called is not None:
        sjd2_window.called.append(layer)
    time_k, time_v, level = sjd2_window.time_k, sjd2_window.time_v, sjd2_window.level
    # the three go together: without levels every row is clean, without timesteps no level is read
    timed = time_k is not None and time_v is not None and level is not None
    out = torch.ops.sjd2.window_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        sjd2_window.k_cache[layer],
        sjd2_window.v_cache[layer],
        sjd2_window.kv_len,
        sjd2_window.q_start,
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        time_k[layer] if timed and time_k is not None else None,
        time_v[layer] if timed and time_v is not None else None,
        level if timed else None,
        sjd2_window.done,
        shadow=sjd2_window.shadow,
        refeed=sjd2_window.refeed,
    )
    return out, None


def _check(
    module: Any,
    rows: int,
    key: Tensor,
    mask: Tensor | None,
    dropout: float,
    window: Attend,
    kwargs: dict[str, Any],
) -> None:
    name = type(module).__name__
    if not getattr(module, "is_causal", True) or kwargs.get("is_causal") is False:
        raise ValueError(f"window attention: {name} is bidirectional, window attention is causal only")
    if mask is not None and mask.numel() > 0:
        raise ValueError(
            f"window attention: {name} got an attention mask of shape {tuple(mask.shape)}; rows have no padding here, "
            "give each row its own kv_len and q_start instead"
        )
    if key.shape[2] != rows:
        raise ValueError(
            f"window attention: {name} got {key.shape[2]} keys for {rows} rows; "
            "call the model with use_cache=False and without past_key_values"
        )
    if dropout:
        raise ValueError(f"window attention: {name} runs with dropout {dropout}; call model.eval() first")
    sliding = kwargs.get("sliding_window")
    capacity = window.k_cache[module.layer_idx].shape[2]
    if sliding is not None and sliding < capacity:
        raise ValueError(
            f"window attention: {name} has a sliding window of {sliding}, shorter than the cache ({capacity})"
        )
    for word in _UNSUPPORTED:
        if kwargs.get(word) is not None:
            raise ValueError(f"window attention: {name} needs {word!r}, which window attention does not compute")


@contextmanager
def attached(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Within the context the model's own layers use window attention; afterwards what they used before."""
    before = model.config._attn_implementation
    try:
        attach(model)
        yield model
    finally:
        model.set_attn_implementation({"": before})


def attach(model: PreTrainedModel) -> None:
    """Let the model's own layers use window attention; a sub-model's (Emu3's VQ attention) stay as they are.

    Raises: ValueError for a model that does not ask transformers' AttentionInterface, or that keeps more than keys and
    values of the past.
    """
    name = type(model).__name__
    if model._is_stateful:
        raise ValueError(f"window attention: {name} has recurrent layers, whose state cannot be rolled back")
    if not model._can_set_attn_implementation():
        raise ValueError(f"window attention: the layers of {name} do not use transformers' AttentionInterface")
    model.set_attn_implementation({"": NAME})


AttentionInterface.register(NAME, window_attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
