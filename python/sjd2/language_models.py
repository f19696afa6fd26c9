"""Any causal language model of transformers, decoded by the lossless policies:

    model.generate(**inputs, custom_generate=sjd2.custom_generate, policy="coupled", window=32)

No grid, no guidance; sequences end at the first stop token, wherever in a committed chunk it stands. What transformers
would do to the logits beyond temperature, top-k and top-p is refused, not dropped; so are models that remember more
than keys and values. transformers never hands ``streamer`` and ``assistant_model`` to a method like this one, so they
have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from .backbones.attention import attached
from .backbones.base import Attend, Defaults, Prompt
from .backbones.transformer import TransformersBackbone
from .decoder import Decoder, Sampling
from .grid import Grid, raster
from .policies import Policy, get_policy

# what some models do to their logits after the output layer
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier")
# what is done to the logits, in the order of process_logits; other orders have other laws
_WARPERS = {TemperatureLogitsWarper: "temperature", TopKLogitsWarper: "top_k", TopPLogitsWarper: "top_p"}


class CausalLM(TransformersBackbone):
    """A language model as a backbone: the whole vocabulary is drawn from, nothing is forced.

    Args:
        model: a causal language model of transformers (`PreTrainedModel`).
        tokenize: text -> ids, for `encode`.

    Raises: ValueError for a model whose logits are not its output layer's, or whose layers do more than attend once.
    """

    def __init__(self, model: Any, tokenize: Callable[[str], Sequence[int]] | None = None):
        text, head = getattr(model, model.base_model_prefix, None), model.get_output_embeddings()
        name = type(model).__name__
        if text is None or text is model or not isinstance(head, nn.Linear):
            raise ValueError(f"custom_generate: {name} must be a causal language model with a linear output layer")
        changed = [word for word in _LOGIT_CHANGES if getattr(model.config, word, None) not in (None, 1.0)]
        rest = [(word, part) for word, part in model.named_children() if part is not text and part is not head]
        changed += [word for word, part in rest if next(part.parameters(), None) is not None]
        if changed:
            raise ValueError(f"custom_generate: {name} is not supported, its logits go through {', '.join(changed)}")
        V = head.out_features
        super().__init__(
            text, head, ids=torch.arange(V), V=V, name=name, default_size=(256, 1),
            defaults=Defaults({"window": 32, "guidance": 1.0}), tokenize=tokenize or _no_tokenizer,
        )  # fmt: skip
        self._try_out()

    def _try_out(self) -> None:
        """One row through the model: hybrid models have layers that never come for attention, or come twice."""
        d, device, called = self.dims, self.device, list[int]()
        k, v = (torch.zeros(d.layers, 1, d.Hkv, 1, d.D, dtype=self.dtype, device=device) for _ in range(2))
        nothing, first = (torch.zeros(n, dtype=t, device=device) for n, t in ((1, torch.int32), ((1, 1), torch.int64)))
        self.forward(self.rows(first), first, Attend(k, v, nothing, nothing, called=called))
        if sorted(called) != list(range(d.layers)):
            raise ValueError(
                f"custom_generate: {self.name} is not supported: each of its {d.layers} layers must attend once, "
                f"those that did are {sorted(called)}"
            )

    @cached_property
    def table(self) -> Tensor:  # local ids are model ids: no copy
        """[V, C], the input table itself; what becomes of it where the model scales it."""
        embed = self.text.get_input_embeddings()
        with torch.no_grad():
            every = torch.arange(self.V, device=self.device)
            return embed.weight.detach() if type(embed) is nn.Embedding else embed(every)

    def rows(self, ids: Tensor) -> Tensor:
        """See `Backbone.rows`."""
        return nn.functional.embedding(ids, self.table)

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
        return raster(height, width, (width, height))


def custom_generate(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    generation_config: Any = None,
    policy: str | Policy = "coupled",
    window: int = 32,
    seed: int | Sequence[int] | None = None,
    graph: bool = False,
    **kwargs: Any,
) -> Tensor:
    """A decoding method for `generate` of transformers.

    Args:
        model, input_ids, logits_processor, stopping_criteria, generation_config, kwargs: as `generate` hands them over;
            a prompt is what the attention mask keeps, so padding may be on either side.
        policy: any policy; the lossless ones keep the model's law.
        window: L, slots per sequence.
        seed: s gives s, s+1, ... per row, a list is taken as it is; None draws one from torch's generator.
        graph: replay the step as a CUDA graph.

    Returns: [B, prompt + longest] ids, padded on the right with the pad token.

    Raises: ValueError for options of `generate` that would be ignored.
    """
    sampling = _sampling(logits_processor, generation_config)
    stop_ids, length = _ends(stopping_criteria, generation_config)
    prompts = _prompts(input_ids, kwargs)
    n = length - input_ids.shape[1]
    if n < 1:
        return input_ids
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    seeds = list(range(seed, seed + len(prompts))) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(prompts):
        raise ValueError(
            f"custom_generate: seed must be a number or one per row, got {len(seeds)} for {len(prompts)} rows"
        )
    with _evaluating(model), attached(model.base_model):
        backbone = CausalLM(model)
        decoder = Decoder(
            backbone, get_policy(policy), prompts, [backbone.grid((n, 1))] * len(prompts),
            seeds, L=min(window, n), sampling=sampling, stop_ids=stop_ids,
        )  # fmt: skip
        decoder.run(graph=graph)
    w = decoder.window
    pad = generation_config._pad_token_tensor
    beyond = torch.arange(w.N, device=w.out.device) >= w.n_tokens[:, None]
    out = w.out.masked_fill(beyond, 0 if pad is None else int(pad))
    return torch.cat([input_ids, out[:, : int(w.n_tokens.max())]], 1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Afterwards every module trains that trained before."""
    training = [module for module in model.modules() if module.training]
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _prompts(input_ids: Tensor, inputs: dict[str, Any]) -> list[Prompt]:
    """The ids of each row that the attention mask keeps; inputs besides ids and mask are refused."""
    mask = inputs.get("attention_mask")
    keep = torch.ones_like(input_ids) if mask is None else mask != 0
    for name, value in inputs.items():
        if name == "position_ids" and value is not None:
            counted = (keep.cumsum(-1) - 1).expand_as(value)
            if not torch.equal(counted[keep != 0], value[keep != 0]):
                raise ValueError("custom_generate: position_ids must count the tokens of each prompt from 0")
        elif isinstance(value, Tensor) and name not in ("attention_mask", "cache_position"):
            raise ValueError(f"custom_generate: {name} is not supported, it would be ignored")
    return [Prompt(tuple(ids[seen != 0].tolist())) for ids, seen in zip(input_ids, keep, strict=True)]


def _sampling(processors: Any, config: Any) -> Sampling:
    """The numbers of `process_logits` that `generate` asks for."""
    mode = config.get_generation_mode()
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE) or config.return_dict_in_generate:
        what = "return_dict_in_generate" if config.return_dict_in_generate else f"generation mode {mode.value}"
        raise ValueError(f"custom_generate: {what} is not supported")
    chosen: dict[str, Any] = {} if config.do_sample else {"temperature": 0.0}
    order = []
    for processor in processors or []:
        field = _WARPERS.get(type(processor))
        if field is None:
            raise ValueError(f"custom_generate: {type(processor).__name__} is not supported, it would be ignored")
        if getattr(processor, "filter_value", -torch.inf) != -torch.inf or (
            field == "top_p" and processor.min_tokens_to_keep > 1  # top-k has it in its k
        ):
            raise ValueError(f"custom_generate: filter_value and min_tokens_to_keep of {field} are not supported")
        order.append(type(processor))
        chosen[field] = getattr(processor, field)
    if order != [kind for kind in _WARPERS if kind in order]:
        raise ValueError(
            "custom_generate: temperature, top-k and top-p are supported once each and in this order, "
            f"got {', '.join(kind.__name__ for kind in order)}"
        )
    return Sampling(**chosen)


def _ends(criteria: Any, config: Any) -> tuple[list[int], int]:
    """The stop ids, and the length of a row with its prompt, at which `generate` wants to end."""
    stop_ids, length = list[int](), config.max_length
    for criterion in criteria or []:
        if isinstance(criterion, EosTokenCriteria):
            stop_ids += criterion.eos_token_id.flatten().tolist()
        elif isinstance(criterion, MaxLengthCriteria):
            length = min(length, criterion.max_length)
        else:
            raise ValueError(f"custom_generate: {type(criterion).__name__} is not supported, it would be ignored")
    return stop_ids, length


def _no_tokenizer(text: str) -> Sequence[int]:
    raise ValueError("custom_generate: a tokenizer is needed to encode text; give ids, or tokenize=...")
