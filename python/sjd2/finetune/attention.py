"""FlexAttention under mixed precision, as an attention function of transformers.

Under autocast rotary embeddings leave queries and keys in float32 beside values in bfloat16. Scaled-dot-product
attention is cast by autocast itself; FlexAttention refuses the mixture. So they are cast here, then it is the library's
own function.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.flex_attention import flex_attention_forward

NAME = "sjd2_flex"


def cast_flex_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """The registered function: [B, H, M, D] queries -> [B, M, H, D], and what the library's function returns beside."""
    return flex_attention_forward(module, query.to(value.dtype), key.to(value.dtype), value, attention_mask, **kwargs)


def use_attention(text: PreTrainedModel, flex: bool) -> None:
    """Run ``text`` with FlexAttention, which is to be given block masks, or with scaled-dot-product attention."""
    if flex:
        AttentionInterface.register(NAME, cast_flex_attention)
    text.set_attn_implementation({"": NAME if flex else "sdpa"})
