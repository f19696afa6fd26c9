"""Any causal language model of transformers, decoded by the lossless policies:

    model.generate(**inputs, custom_generate=sjd2.custom_generate, policy="coupled", window=32)

No grid, no guidance; sequences end at the first stop token, wherever in a committed chunk it stands. What transformers
would do to the logits beyond temperature, top-k and top-p is refused, not dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from .backbones.attention import attached
from .backbones.base import Defaults, Prompt
from .backbones.transformer import TransformersBackbone
from .decoder import Decoder, Sampling
from .grid import Grid, raster
from .policies import Policy, get_policy

# what some models do to their logits after the output layer
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier")


class CausalLM(TransformersBackbone):
    """A language model as a backbone: the whole vocabulary is drawn from, nothing is forced.

    Args:
        model: a causal language model of transformers (`PreTrainedModel`).
        tokenize: text -> ids, for `encode`.

    Raises: ValueError for a model whose logits are not its output layer's, or whose rows are not its table's.
    """

    def __init__(self, model: Any, tokenize: Callable[[str], Sequence[int]] | None = None):
        text, head = getattr(model, model.base_model_prefix, None), model.get_output_embeddings()
        name = type(model).__name__
        if text is None or text is model or not isinstance(head, nn.Linear):
            raise ValueError(f"custom_generate: {name} must be a causal language model with a linear output layer")
        changed = [word for word in _LOGIT_CHANGES if getattr(model.config, word, None) not in (None, 1.0)]
        if changed or type(text.get_input_embeddings()) is not nn.Embedding:
            raise ValueError(f"custom_generate: {name} scales its {', '.join(changed) or 'embeddings'}: not supported")
        V = head.out_features
        super().__init__(
            text, head, ids=torch.arange(V), V=V, name=name, default_size=(256, 1),
            defaults=Defaults({"window": 32, "guidance": 1.0}), tokenize=tokenize or _no_tokenizer,
        )  # fmt: skip

    @property
    def table(self) -> Tensor:  # local ids are model ids: no copy
        """[V, C], the input table itself."""
        return self.embedding.detach()

    def encode(
        self,
        prompts: Sequence[str],
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        guidance: bool = True,
    ) -> list[Prompt]:
        """See `Backbone.encode`."""
        uncond = tuple(self.tokenize(negative_prompt or "")) if guidance else None
        return [Prompt(tuple(self.tokenize(text)), uncond) for text in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """One row of ``size[0]`` free tokens."""
        width, height = size or self.default_size
        return self.fits(raster(height, width, (width, height)))


def custom_generate(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    generation_config: Any = None,
    policy: str | Policy = "coupled",
    window: int = 32,
    seed: int | None = None,
    graph: bool = False,
    **kwargs: Any,
) -> Tensor:
    """A decoding method for `generate` of transformers.

    Args:
        model, input_ids, logits_processor, stopping_criteria, generation_config, kwargs: as `generate` hands them over;
            prompts are padded on the left, as ever.
        policy: any policy; the lossless ones keep the model's law.
        window: L, slots per sequence.
        seed: s gives s, s+1, ... per row; None draws one from torch's generator.
        graph: replay the step as a CUDA graph.

    Returns: [B, prompt + longest] ids, padded on the right with the pad token.

    Raises: ValueError for options of `generate` that would be ignored.
    """
    sampling, stop_ids, length = _options(logits_processor, stopping_criteria, generation_config)
    for name in ("streamer", "assistant_model"):
        if kwargs.get(name) is not None:
            raise ValueError(f"custom_generate: {name} is not supported")
    mask = kwargs.get("attention_mask")
    keep = torch.ones_like(input_ids) if mask is None else mask
    prompts = [Prompt(tuple(ids[seen != 0].tolist())) for ids, seen in zip(input_ids, keep, strict=True)]
    n = length - input_ids.shape[1]
    if n < 1:
        return input_ids
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    with attached(model.base_model):
        backbone = CausalLM(model)
        decoder = Decoder(
            backbone, get_policy(policy), prompts, [backbone.grid((n, 1))] * len(prompts),
            [seed + b for b in range(len(prompts))], L=min(window, n), sampling=sampling, stop_ids=stop_ids,
        )  # fmt: skip
        decoder.run(graph=graph)
    w = decoder.window
    pad = generation_config._pad_token_tensor
    beyond = torch.arange(w.N, device=w.out.device) >= w.n_tokens[:, None]
    out = w.out.masked_fill(beyond, 0 if pad is None else int(pad))
    return torch.cat([input_ids, out[:, : int(w.n_tokens.max())]], 1)


def _options(processors: Any, criteria: Any, config: Any) -> tuple[Sampling, list[int], int]:
    """Sampling, stop ids and the full length that `generate` asks for."""
    chosen: dict[str, Any] = {} if config.do_sample else {"temperature": 0.0}
    for processor in processors or []:
        if isinstance(processor, TemperatureLogitsWarper):
            chosen["temperature"] = processor.temperature
        elif isinstance(processor, TopKLogitsWarper):
            chosen["top_k"] = processor.top_k
        elif isinstance(processor, TopPLogitsWarper):
            chosen["top_p"] = processor.top_p
        else:
            raise ValueError(f"custom_generate: {type(processor).__name__} is not supported, it would be ignored")
    for criterion in criteria or []:
        if not isinstance(criterion, MaxLengthCriteria | EosTokenCriteria):
            raise ValueError(f"custom_generate: {type(criterion).__name__} is not supported, it would be ignored")
    if config.num_beams > 1 or config.return_dict_in_generate:
        raise ValueError("custom_generate: num_beams and return_dict_in_generate are not supported")
    eos = config._eos_token_tensor
    return Sampling(**chosen), [] if eos is None else eos.flatten().tolist(), config.max_length


def _no_tokenizer(text: str) -> Sequence[int]:
    raise ValueError("custom_generate: a tokenizer is needed to encode text; give ids, or tokenize=...")
