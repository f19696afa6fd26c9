"""The contract of a backbone: everything the decoder asks of a model, and nothing else.

Letters as in docs/operators.md: B images, R model rows (B, or 2B under guidance: conditional rows first), L window
slots, A re-feed rows, M query rows of one forward pass, H / Hkv heads, D head dim, S cache capacity, C channels, V
image ids, F forced ids, T denoising levels, N tokens to generate.

Ids come in two kinds. *Model ids* are the checkpoint's own, 0..V_all-1. *Local ids* are what the operators see: 0..V-1
the image tokens, V..V+F-1 the forced grid tokens; ``Backbone.ids`` maps local to model ids. The local id of an image
token is its code, the number that the picture decoder knows.

There is no padding anywhere: every model row has its own prompt and its own cache length, and its rotary positions are
0, 1, 2, ... from its first prompt token on.

This file knows torch only. Models over transformers inherit the heavy part from ``transformer.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import sjd2_kernels

from ..grid import Grid
from .noise_space import vocabulary_mean_std

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Dims:
    """The numbers that size a cache and a window."""

    layers: int
    H: int
    Hkv: int
    D: int
    C: int
    max_positions: int


@dataclass(frozen=True)
class Prompt:
    """What one image is conditioned on, as model ids: the conditional row, and under guidance the unconditional one."""

    cond: tuple[int, ...]
    uncond: tuple[int, ...] | None = None


@dataclass
class Attend:
    """What one forward pass hands to every layer's `window_attention`; the arguments are those of docs/operators.md.

    Attributes:
        k_cache, v_cache: one [R, Hkv, S, D] tensor per layer (or one [layers, R, Hkv, S, D]), written in place.
        kv_len, q_start: [R] int32.
        time_k, time_v: one [T+1, Hkv, D] tensor per layer (from `Backbone.timestep_kv`), or None.
        level: [R, M] int32, or None when all rows are clean.
        done: [B] int32, or None.
        shadow, refeed: as in `window_attention`.
        called: where it is a list, the layers that came for attention are noted in it.
    """

    k_cache: Sequence[Tensor] | Tensor
    v_cache: Sequence[Tensor] | Tensor
    kv_len: Tensor
    q_start: Tensor
    time_k: Sequence[Tensor] | Tensor | None = None
    time_v: Sequence[Tensor] | Tensor | None = None
    level: Tensor | None = None
    done: Tensor | None = None
    shadow: int = 0
    refeed: int = 1
    called: list[int] | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes: what the weights hold, and what one cached position of one model row costs.

    Example:
        >>> Memory(weights=14_000_000_000, per_position=2 * 32 * 32 * 128 * 2).cache(rows=2, capacity=4096) / 2**30
        4.0
    """

    weights: int
    per_position: int

    def cache(self, rows: int, capacity: int) -> int:
        """Bytes of a key-value cache: 2 * layers * Hkv * D values per row and position."""
        return rows * capacity * self.per_position


@dataclass(frozen=True)
class Defaults:
    """What ``None`` means in `generate`: the model card's values, with overrides per policy.

    Attributes:
        common: values for every policy; keys are the parameters of `generate` (window, denoise_steps, guidance,
            temperature, top_k, top_p) and ``spacing``, the word for the time grid.
        policy: per policy name, what differs from ``common``.
        options: per policy name, what differs from the policy of `POLICIES` where it is given by its name.

    Example:
        >>> Defaults({"window": 96, "top_k": 2000}, {"sjd": {"window": 16}}).of("sjd")
        {'window': 16, 'top_k': 2000}
    """

    common: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, policy: str) -> dict[str, Any]:
        """The values for ``policy``."""
        return {**self.common, **self.policy.get(policy, {})}


class NoPictureDecoder(RuntimeError):
    """A model without a picture decoder was asked for a picture; the message names the missing file."""


class Backbone(ABC):
    """What a new model must supply: seven attributes, seven abstract methods. The rest follows from them.

    Attributes:
        name: for reports and error messages.
        V: number of image ids.
        ids: [V+F] int64, the model's id of every local id.
        dims: layers, heads, channels, the longest sequence.
        defaults: the model card's values for None.
        embedding: [V_all, C], the model's own input table, indexed by model ids.
        default_size: (width, height) in pixels that ``size=None`` means.
    """

    name: str
    V: int
    ids: Tensor
    dims: Dims
    defaults: Defaults
    embedding: Tensor
    default_size: tuple[int, int]

    @abstractmethod
    def encode(
        self,
        prompts: Sequence[str],
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        guidance: bool = True,
    ) -> list[Prompt]:
        """The prompt rows of each image, up to and including the last token before the first generated one.

        Args:
            prompts: one text per image.
            negative_prompt: text of the unconditional row; None is the model's own.
            size: (width, height) in pixels; None is the model's own.
            guidance: whether the unconditional rows are wanted.
        """

    @abstractmethod
    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """The token grid of a picture of ``size`` = (width, height) pixels; None is the model's own size.

        Raises: ValueError for a size that the model cannot draw.
        """

    @abstractmethod
    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The model's last hidden states (after its final norm) of one window, through `window_attention`.

        Args:
            rows: [R, M, C] input embeddings, dtype of the model.
            positions: [R, M] int64, rotary position of each row.
            attend: caches and lengths; the caches are written, the lengths are not moved.

        Returns: [R, M, C]. Rows before q_start and rows of finished images hold finite values without a meaning.
        """

    @abstractmethod
    def timestep_kv(self, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Keys and values of the timestep tokens, one [T+1, Hkv, D] tensor per layer.

        Args:
            times: [T+1] float32, the time of each level; times[0] = 0. Level 0's row is never read.
        """

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """[..., C] hidden states -> [..., V] logits over the image ids only."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """[B, height, width] codes -> [B, pixel height, pixel width, 3] uint8 pictures.

        Raises: NoPictureDecoder where there is none.
        """

    @abstractmethod
    def memory(self) -> Memory:
        """Bytes of the weights and of one cached position."""

    @property
    def F(self) -> int:
        """Number of forced ids."""
        return self.ids.numel() - self.V

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of the rows and of the cache."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.embedding.device

    @property
    def vocabulary(self) -> Tensor:
        """The rows whose mean and spread scale the noise: the whole input table, text included, as in the paper."""
        return self.embedding

    @cached_property
    def table(self) -> Tensor:
        """[V+F, C], the embedding rows of the local ids."""
        return self.embedding.detach()[self.ids]

    @cached_property
    def _mean_std(self) -> tuple[Tensor, Tensor]:
        return vocabulary_mean_std(self.vocabulary)

    @property
    def mean(self) -> Tensor:
        """[C] float32, mean of the embeddings over the vocabulary."""
        return self._mean_std[0]

    @property
    def std(self) -> Tensor:
        """[C] float32, standard deviation (division by the number of rows) of the embeddings over the vocabulary."""
        return self._mean_std[1]

    @cached_property
    def cosine(self) -> tuple[Tensor, Tensor]:
        """Table [V, C] and bias [V] of `nearest_token`: the nearest image token by cosine in normalised space."""
        rows = self.table[: self.V].split(2048)  # in parts: the arithmetic is float64
        parts = [sjd2_kernels.cosine_table(part, self.mean, self.std) for part in rows]
        table, bias = (torch.cat(part) for part in zip(*parts, strict=True))
        return table, bias

    def rows(self, ids: Tensor) -> Tensor:
        """[...] model ids -> [..., C] input rows."""
        return torch.nn.functional.embedding(ids, self.embedding.detach())

    def codes(self, tokens: Tensor, grid: Grid) -> Tensor:
        """[..., N] model ids as generated -> [..., height, width] codes of the picture decoder.

        Raises: ValueError where a free position does not hold an image token (an unfinished picture).
        """
        chosen = grid.free(tokens)
        ordered, order = self.ids[: self.V].to(chosen.device).sort()
        place = torch.searchsorted(ordered, chosen.contiguous()).clamp_(max=self.V - 1)
        wrong = ordered[place] != chosen
        if bool(wrong.any()):
            raise ValueError(
                f"{self.name}: {int(wrong.sum())} of {wrong.numel()} positions hold no image token (unfinished?)"
            )
        return order[place]

    def fits(self, grid: Grid) -> Grid:
        """``grid``, if the model can count that far.

        Raises: ValueError if the picture alone is longer than the model's positions.
        """
        if grid.n_tokens > self.dims.max_positions:
            raise ValueError(
                f"{self.name}: a picture of {grid.size[0]}x{grid.size[1]} pixels has {grid.n_tokens} tokens, "
                f"the model knows {self.dims.max_positions} positions; take a smaller size"
            )
        return grid

    def images(self, codes: Tensor) -> list[Image]:
        """[B, height, width] codes -> B Pillow pictures."""
        from PIL import Image

        return [Image.fromarray(picture) for picture in self.decode(codes).cpu().numpy()]
