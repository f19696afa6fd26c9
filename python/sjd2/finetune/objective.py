"""Next-clean-token prediction (SJD2 Eq. 2): the loss that teaches a causal model to read noisy embeddings.

    rows      [ timesteps 1 .. T | prompt | image tokens 0 .. N-1 ]
    input     image token i at level l > 0: (1 - t_l) e + t_l (mean + std eps), drawn by `noise_embed` at position i
    mask      masks.py
    loss      cross-entropy of the clean token at i, from the row before it

The same layout as in decoding, except that there a timestep's keys and values are constants (`Backbone.timestep_kv`)
and here its row is computed with gradients. With all levels zero this is plain next-token training, and no timestep row
is fed.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import sjd2_kernels  # noqa: F401  (registers torch.ops.sjd2)

from ..backbones.noise_space import timestep_embedding, vocabulary_mean_std
from .masks import block_mask, dense_mask, row_levels

LOGITS = 2**28  # computed at a time: 1 GiB of float32; Emu3 has 184,622 for each of 8,193 tokens


# computes a second time in the backward pass what it does not keep
_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


class NextCleanToken(nn.Module):
    """A text model, its head, and the loss.

    It is the module that data-parallel wrappers hold as their root, and it reads the whole embedding table: FSDP
    gathers the table before this forward, provided that the table is no unit of its own.

    Args:
        text: maps input embeddings to final hidden states (``inputs_embeds``, ``attention_mask``, ``position_ids``).
        lm_head: the linear layer to the full vocabulary.
        flex: make block masks for FlexAttention instead of dense ones, see `attention.use_attention`.
        logits: computed at a time; where there are more, the head runs in parts and once more in the backward pass.

    Forward: the fields of a `Batch` -> [B, N] float32, negative log-likelihood of each image token in nats.
    """

    def __init__(self, text: nn.Module, lm_head: nn.Module, *, flex: bool = False, logits: int = LOGITS):
        super().__init__()
        self.text, self.lm_head, self.flex, self.logits = text, lm_head, flex, logits

    def forward(
        self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """See the class; the arguments are the fields of `Batch`."""
        hidden = self.hidden(tokens, prompt, level, seed, times)
        N = level.shape[1]
        target = tokens.gather(1, prompt[:, None] + torch.arange(N, device=tokens.device))
        rows = max(1, self.logits // len(self.table()))
        parts = list(zip(hidden.flatten(0, 1).split(rows), target.flatten().split(rows), strict=True))
        nats = self.nll(*parts[0]) if len(parts) == 1 else torch.cat([_again(self.nll, *part) for part in parts])
        return nats.view_as(target).clone()  # FSDP hangs its hooks on the output, which must not be a view

    def hidden(
        self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """[B, N, C], the final hidden states whose logits are the laws of the image tokens: those of the rows before
        them."""
        B, n = tokens.shape
        N = level.shape[1]
        position = torch.arange(n, device=tokens.device)
        level = row_levels(level, prompt, n)
        if times is None:
            rows, skipped = self.table()[tokens], 0
            # the library's own positions and dense mask: it takes given positions for packed sequences
            positions, mask = None, block_mask(level, 0) if self.flex else None
        else:
            rows, skipped = self.noisy_rows(tokens, prompt, level, seed, times), len(times) - 1
            positions = torch.cat([position.new_zeros(skipped), position])[None]
            mask = block_mask(level, skipped) if self.flex else dense_mask(level, skipped)
        out = self.text(inputs_embeds=rows, attention_mask=mask, position_ids=positions, use_cache=False)
        read = skipped + prompt[:, None] - 1 + torch.arange(N, device=tokens.device)
        found: Tensor = out.last_hidden_state
        return found.gather(1, read[..., None].expand(B, N, found.shape[-1]))

    def nll(self, hidden: Tensor, target: Tensor) -> Tensor:
        """[rows, C] hidden states and [rows] tokens -> [rows] float32 (float64 for a float64 model)."""
        logits = self.lm_head(hidden)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return nn.functional.cross_entropy(wide, target, reduction="none")

    def table(self) -> Tensor:
        """[V_all, C], the input embeddings."""
        weight: Tensor = self.text.get_input_embeddings().weight  # type: ignore[operator]
        return weight

    def noisy_rows(self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor) -> Tensor:
        """[B, T+n, C]: the timestep rows and the sequence; mean and spread of the table get no gradient (they are
        constants in decoding).

        Raises: ValueError for times in a narrow dtype: 1000 t would lose the timestep.
        """
        if times.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"NextCleanToken: times must be float32, got {times.dtype}; does a wrapper cast the inputs?"
            )
        table = self.table()
        with torch.no_grad():
            mean, std = vocabulary_mean_std(table)
            wide = torch.float64 if table.dtype == torch.float64 else torch.float32
            steps = timestep_embedding(times[1:].to(wide), mean, std).to(table.dtype)
        rows = torch.ops.sjd2.noise_embed(table, tokens, mean, std, times.float()[level.long()], seed, -prompt)
        return torch.cat([steps.expand(len(tokens), -1, -1), rows], 1)
