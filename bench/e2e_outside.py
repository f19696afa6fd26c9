"""The outside baseline: transformers' own generate, with its own guidance, cache and sampling, on the same weights."""

from __future__ import annotations

import time
from typing import Any

import torch
from sjd2.backbones.attention import attach
from sjd2.backbones.transformer import TransformersBackbone
from transformers import PreTrainedModel

GUIDANCE, K = 3.0, 2000
FEW, MORE = 2, 10  # tokens of two calls: their difference leaves prompt and set-up out


def measure(model: PreTrainedModel, backbone: TransformersBackbone, B: int, device: str) -> dict[str, Any]:
    """Milliseconds per token of `generate` from the middle of a picture on.

    Guidance is transformers' own (`guidance_scale`), which runs the unconditional row in a call of its own.
    """
    prompt = backbone.grid().n_tokens // 2
    ids = backbone.ids[torch.arange(prompt, device=device) % backbone.V].repeat(B, 1)
    model.set_attn_implementation({"": "sdpa"})
    try:
        _generate(model, ids, FEW)  # warm-up
        few, more = (min(_seconds(model, ids, n, device) for _ in range(3)) for n in (FEW, MORE))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"B": B, "skipped": str(error).splitlines()[0]}
    finally:
        attach(backbone.text)
    return {"B": B, "milliseconds": 1e3 * (more - few) / (MORE - FEW), "prompt": prompt}


def _generate(model: Any, ids: torch.Tensor, n: int) -> torch.Tensor:
    out: torch.Tensor = model.generate(
        ids, attention_mask=torch.ones_like(ids), negative_prompt_ids=ids,
        negative_prompt_attention_mask=torch.ones_like(ids), guidance_scale=GUIDANCE, do_sample=True, top_k=K,
        min_new_tokens=n, max_new_tokens=n, pad_token_id=0,
    )  # fmt: skip
    if out.shape[1] != ids.shape[1] + n:
        raise RuntimeError(f"generate: asked for {n} tokens, got {out.shape[1] - ids.shape[1]}")
    return out


def _seconds(model: Any, ids: torch.Tensor, n: int, device: str) -> float:
    start = time.perf_counter()
    _generate(model, ids, n)
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
