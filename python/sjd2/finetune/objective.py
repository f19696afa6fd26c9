"""Next-clean-token prediction (SJD2 Eq. 2): the loss that teaches a causal model to read noisy embeddings.

    rows      [ timesteps 1 .. T | prompt | image tokens 0 .. N-1 ]
    input     image token i at level l > 0: (1 - t_l) e + t_l (mean + std eps), drawn by `noise_embed` at position i
    mask      causal among the sequence's rows; a timestep sees itself only; a noisy row also sees its own timestep
    loss      cross-entropy of the clean token at i, from the row before it

The same layout as in decoding, except that there a timestep's keys and values are constants (`Backbone.timestep_kv`)
and here its row is computed with gradients. With all levels zero this is plain next-token training, and no timestep row
is fed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

import sjd2_kernels  # noqa: F401  (registers torch.ops.sjd2)

from ..backbones.noise_space import timestep_embedding, vocabulary_mean_std


@dataclass
class Batch:
    """Sequences of one length of picture; prompts may differ in length.

    Attributes:
        tokens: [B, n] int64, prompt, picture and padding on the right, as model ids.
        prompt: [B] int64, length of the prompt, at least 1.
        level: [B, N] int32, noise level of each image token; 0 is clean.
        seed: [B] int64, of the noise.
        times: [T+1] float32, the time of every level; None where all levels are zero.
    """

    tokens: Tensor
    prompt: Tensor
    level: Tensor
    seed: Tensor
    times: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)[:-1]}
        return Batch(**moved, times=None if self.times is None else self.times.to(device, non_blocking=True))


class NextCleanToken(nn.Module):
    """A text model, its head, and the loss.

    Args:
        text: maps input embeddings to final hidden states (``inputs_embeds``, ``attention_mask``, ``position_ids``).
        lm_head: the linear layer to the full vocabulary.
        flex: use FlexAttention's block mask, on CUDA, instead of a dense one; the model must then run with
            ``attn_implementation="flex_attention"``.

    Forward: a `Batch` -> [B, N] float32, negative log-likelihood of each image token in nats.
    """

    def __init__(self, text: nn.Module, lm_head: nn.Module, *, flex: bool = False):
        super().__init__()
        self.text, self.lm_head, self.flex = text, lm_head, flex

    def forward(
        self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """See the class; the arguments are the fields of `Batch`."""
        B, n = tokens.shape
        N = level.shape[1]
        position = torch.arange(n, device=tokens.device)
        if times is None:
            rows, skipped = self.table()[tokens], 0
            positions, mask = None, None  # the library's own: it takes given positions for packed sequences
        else:
            level = row_levels(level, prompt, n)
            rows, skipped = self.noisy_rows(tokens, prompt, level, seed, times), len(times) - 1
            positions = torch.cat([position.new_zeros(skipped), position])[None]
            mask = block_mask(level, skipped) if self.flex else dense_mask(level, skipped)
        out = self.text(inputs_embeds=rows, attention_mask=mask, position_ids=positions, use_cache=False)
        read = prompt[:, None] - 1 + torch.arange(N, device=tokens.device)
        hidden = out.last_hidden_state[:, skipped:]
        hidden = hidden.gather(1, read[..., None].expand(B, N, hidden.shape[-1]))
        logits = self.lm_head(hidden).float()
        return nn.functional.cross_entropy(logits.transpose(1, 2), tokens.gather(1, read + 1), reduction="none")

    def table(self) -> Tensor:
        """[V_all, C], the input embeddings."""
        weight: Tensor = self.text.get_input_embeddings().weight  # type: ignore[operator]
        return weight

    def noisy_rows(self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor) -> Tensor:
        """[B, T+n, C]: the timestep rows and the sequence; mean and spread of the table get no gradient (they are
        constants in decoding)."""
        table = self.table()
        with torch.no_grad():
            mean, std = vocabulary_mean_std(table)
            steps = timestep_embedding(times[1:], mean, std).to(table.dtype)
        rows = torch.ops.sjd2.noise_embed(table, tokens, mean, std, times[level.long()], seed, -prompt)
        return torch.cat([steps.expand(len(tokens), -1, -1), rows], 1)


def row_levels(level: Tensor, prompt: Tensor, n: int) -> Tensor:
    """[B, N] levels of image tokens -> [B, n] levels of rows; prompt and padding are clean."""
    at = torch.arange(n, device=level.device) - prompt[:, None]
    inside = (at >= 0) & (at < level.shape[1])
    return torch.where(inside, level.gather(1, at.clamp(0, level.shape[1] - 1)), 0)


def dense_mask(level: Tensor, T: int) -> Tensor:
    """[B, n] levels -> [B, 1, T+n, T+n] bool, True where a row may look.

    Example:
        >>> dense_mask(torch.tensor([[0, 2]]), 2)[0, 0].int().tolist()
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1]]
    """
    B, n = level.shape
    step = torch.arange(T, device=level.device)
    mask = level.new_zeros(B, T + n, T + n, dtype=torch.bool)
    mask[:, :T, :T] = torch.eye(T, dtype=torch.bool, device=level.device)
    mask[:, T:, :T] = level[..., None] == step + 1
    mask[:, T:, T:] = torch.ones(n, n, dtype=torch.bool, device=level.device).tril()
    return mask[:, None]


def block_mask(level: Tensor, T: int) -> Any:
    """`dense_mask` as a block mask of FlexAttention."""
    from torch.nn.attention.flex_attention import create_block_mask

    B, n = level.shape

    def may_look(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        own = level[b, (q - T).clamp(min=0)] == k + 1
        return torch.where(q < T, k == q, torch.where(k < T, own, k <= q))

    return create_block_mask(may_look, B, None, T + n, T + n, device=str(level.device))
