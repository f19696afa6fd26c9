"""A backbone over a decoder-only model of transformers: everything that does not depend on the model's grammar.

A subclass adds prompts, grid and picture decoder. Nothing of the wrapped model is copied: its own layers run, with
`window_attention` plugged in (attention.py), and only the rows of its output head that belong to image ids are
multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .attention import attach, no_mask
from .base import Attend, Backbone, Defaults, Dims, Memory, NoPictureDecoder
from .noise_space import timestep_embedding

Tokenize = Callable[[str], Sequence[int]]
Pictures = Callable[[Tensor], Tensor]


class TransformersBackbone(Backbone):
    """The shared part of `LuminaMGPT`, `Emu3` and models like them.

    Args:
        text: the model that maps input embeddings to final hidden states (its output has ``last_hidden_state``).
        lm_head: the linear layer to the full vocabulary.
        ids: [V+F] int64, the model's id of every local id.
        V: number of image ids.
        name: for reports.
        default_size: (width, height) in pixels.
        defaults: the model card's values.
        tokenize: text -> model ids, without special tokens.
        pictures: [B, height, width] codes -> [B, pixel height, pixel width, 3] uint8; None if there is no picture
            decoder.
        no_pictures: the error text of `decode` in that case: which file is missing and where it comes from.
        max_positions: the longest sequence; None is what the configuration says.
    """

    def __init__(
        self,
        text: PreTrainedModel,
        lm_head: nn.Linear,
        *,
        ids: Tensor,
        V: int,
        name: str,
        default_size: tuple[int, int],
        defaults: Defaults,
        tokenize: Tokenize,
        pictures: Pictures | None = None,
        no_pictures: str = "no picture decoder was given",
        max_positions: int | None = None,
    ):
        self.text, self.lm_head = text, lm_head
        text.train(False)
        self.name, self.V, self.default_size, self.defaults = name, V, default_size, defaults
        self.tokenize, self.pictures, self.no_pictures = tokenize, pictures, no_pictures
        self.ids = ids.to(device=self.embedding.device, dtype=torch.int64)
        if int(ids.max()) >= len(self.embedding) or int(ids.min()) < 0:
            raise ValueError(
                f"{name}: ids must be in 0..{len(self.embedding) - 1}, got {int(ids.min())}..{int(ids.max())}"
            )
        config = text.config
        D = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.dims = Dims(
            layers=config.num_hidden_layers,
            H=config.num_attention_heads,
            Hkv=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            D=D,
            C=config.hidden_size,
            max_positions=max_positions or config.max_position_embeddings,
        )
        first = int(ids[0])
        # a contiguous run of ids is a view of the head's weight; anything else has to be gathered once
        self._run = slice(first, first + V) if torch.equal(ids[:V].cpu(), torch.arange(first, first + V)) else None
        self._no_mask = no_mask(self.embedding.device)
        attach(text)

    @property
    def embedding(self) -> Tensor:  # type: ignore[override]  # always the live weight: tuning changes it in place
        """[V_all, C], the model's own input table."""
        return cast(nn.Embedding, self.text.get_input_embeddings()).weight

    @torch.no_grad()
    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """See `Backbone.forward`."""
        if rows.dim() != 3 or positions.shape != rows.shape[:2]:
            raise ValueError(
                f"{self.name}: rows must be [R, M, {self.dims.C}] and positions [R, M], "
                f"got {tuple(rows.shape)} and {tuple(positions.shape)}"
            )
        out = self.text(
            inputs_embeds=rows,
            position_ids=positions,
            attention_mask=self._no_mask,
            use_cache=False,
            sjd2_window=attend,
        )
        hidden: Tensor = out.last_hidden_state
        return hidden

    @torch.no_grad()
    def timestep_kv(self, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """See `Backbone.timestep_kv`. One token per level, alone in its row at position 0."""
        n, device, d = len(times), self.embedding.device, self.dims
        wide = times.to(device=device, dtype=torch.float64 if self.dtype == torch.float64 else torch.float32)
        rows = timestep_embedding(wide, self.mean, self.std).to(self.dtype)[:, None]
        k, v = (torch.zeros(d.layers, n, d.Hkv, 1, d.D, dtype=self.dtype, device=device) for _ in range(2))
        nothing = torch.zeros(n, dtype=torch.int32, device=device)
        self.forward(rows, torch.zeros(n, 1, dtype=torch.int64, device=device), Attend(k, v, nothing, nothing))
        return [layer[:, :, 0] for layer in k], [layer[:, :, 0] for layer in v]

    def head(self, hidden: Tensor) -> Tensor:
        """See `Backbone.head`."""
        return nn.functional.linear(hidden, *(self._gathered if self._run is None else self._head_rows(self._run)))

    def _head_rows(self, pick: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.lm_head.weight.detach(), self.lm_head.bias
        return weight[pick], None if bias is None else bias.detach()[pick]

    @cached_property
    def _gathered(self) -> tuple[Tensor, Tensor | None]:
        return self._head_rows(self.ids[: self.V])

    def decode(self, codes: Tensor) -> Tensor:
        """See `Backbone.decode`.

        Raises:
            NoPictureDecoder: names the missing file.
        """
        if self.pictures is None:
            raise NoPictureDecoder(f"{self.name}: cannot draw the picture: {self.no_pictures}")
        return self.pictures(codes)

    def memory(self) -> Memory:
        """See `Backbone.memory`."""
        # a tied head is one tensor, and is counted once
        held = {id(p): p.numel() * p.element_size() for m in (self.text, self.lm_head) for p in m.parameters()}
        d = self.dims
        return Memory(sum(held.values()), 2 * d.layers * d.Hkv * d.D * self.dtype.itemsize)
