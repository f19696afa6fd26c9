"""A model that is a table: the law of the next code for every prefix of codes; a noisy position is a mixture of codes.

It has no weights, but a cache, positions and levels like any other: what it knows of the past is what was written into
the cache, where it was written. So the law of every picture can be written down, and tens of thousands of pictures are
decoded in a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sjd2.backbones.base import Attend, Backbone, Defaults, Dims, Memory, Prompt
from sjd2.grid import Grid, raster
from torch import Tensor

KINDS = ("a", "b")  # what can be asked for; the unconditional row is a table of its own


class Table(Backbone):
    """Pictures of ``height`` x ``width`` codes with an end of line and an end token.

    A row of a noisy slot stands for every code at once, each with the weight softmax(row); a clean row for its own.
    """

    def __init__(self, V: int = 3, width: int = 2, height: int = 2, seed: int = 0, concentration: float = 0.5):
        self.name, self.V, self.default_size, self.defaults = "table", V, (width, height), Defaults({"window": 4})
        F = width * height
        draw = torch.distributions.Dirichlet(torch.full((V,), concentration, dtype=torch.float64))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            rows = sum(V**f for f in range(F))
            law = (1 - 0.05 * V) * draw.sample((len(KINDS) + 1, rows)) + 0.05  # kind, prefix, next
        self.laws = [law[:, (V**f - 1) // (V - 1) :][:, : V**f] for f in range(F)]
        self.ids = torch.arange(V + 2)
        self.dims = Dims(layers=1, H=1, Hkv=1, D=V + 1, C=V + 1, max_positions=1000)
        self.embedding = torch.zeros(V + 2 + len(KINDS) + 1, V + 1, dtype=torch.float64)
        self.embedding[:V, :V] = 4.0 * torch.eye(V)
        self.embedding[V + 2 :, V] = torch.arange(1.0, len(KINDS) + 2)
        self.free = (self.grid().forced < 0).nonzero().flatten()

    def encode(self, prompts: Sequence[str], **kwargs: Any) -> list[Prompt]:
        """One token that says which table."""
        first = self.V + 2
        return [Prompt((first + KINDS.index(text),), (first + len(KINDS),)) for text in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """One code per pixel."""
        width, height = size or self.default_size
        return raster(height, width, (width, height), eol=self.V, tail=[self.V + 1])

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Log of the next code's law, for every row."""
        R, M, _ = rows.shape
        V, shadow, cache = self.V, attend.shadow, attend.k_cache[0][:, 0]
        n, S = M - shadow, cache.shape[1]
        weight = torch.nn.functional.one_hot(rows[..., :V].argmax(-1), V).to(rows)
        if attend.level is not None:
            weight = torch.where((attend.level > 0)[..., None], rows[..., :V].softmax(-1), weight)
        held = torch.cat([weight, rows[..., V:]], -1)
        # append, as window_attention does: rows before q_start, finished images and shadow rows write nothing
        place = attend.kv_len[:, None] + torch.arange(n) - attend.q_start[:, None]
        live = (torch.arange(n) >= attend.q_start[:, None]) & (place < S)
        if attend.done is not None:
            live &= (attend.done == 0).repeat(R // len(attend.done))[:, None]
        row, m = live.nonzero().unbind(-1)
        cache[row, place[row, m]] = held[row, m]
        # where nothing was written the cache is NaN, and so is every law that would need it
        kind, past = cache[:, 0, V].nan_to_num().long() - 1, cache[:, 1:, :V]
        joint, laws, joints = torch.ones(R, 1, dtype=rows.dtype), [], []
        for law, at in zip(self.laws, self.free, strict=True):
            joints.append(joint)
            laws.append(_next(joint, law, kind))
            joint = (joint[:, :, None] * past[:, at, None, :]).flatten(1)
        seen = torch.searchsorted(self.free, positions)  # codes up to and with the row's own
        out = torch.stack(laws, 1).gather(1, seen.clamp(max=len(laws) - 1)[..., None].expand(R, M, V))
        for j in range(shadow):  # the context left of it, and itself
            out[:, n + j] = self._shadow(weight[:, n + j], seen[:, n + j], positions[:, n + j], kind, joints, laws)
        return out.log()

    def _shadow(
        self, weight: Tensor, seen: Tensor, position: Tensor, kind: Tensor, joints: list[Tensor], laws: list[Tensor]
    ) -> Tensor:
        """The next code's law [R, V] behind one row of noise."""
        out = torch.stack(laws, 1).gather(1, seen.clamp(max=len(laws) - 1)[:, None, None].expand(-1, 1, self.V))[:, 0]
        for f in range(1, len(laws)):
            joint = (joints[f - 1][:, :, None] * weight[:, None, :]).flatten(1)
            its_own = (seen == f) & (position == self.free[f - 1] + 1)  # the row stands at a code
            out = torch.where(its_own[:, None], _next(joint, self.laws[f], kind), out)
        return out

    def head(self, hidden: Tensor) -> Tensor:
        """The rows are logits."""
        return hidden

    def timestep_kv(self, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Nobody reads them."""
        zero = torch.zeros(len(times), 1, self.dims.D, dtype=self.dtype)
        return [zero], [zero]

    def decode(self, codes: Tensor) -> Tensor:
        """Black."""
        return torch.zeros(*codes.shape, 3, dtype=torch.uint8)

    def memory(self) -> Memory:
        """Bytes."""
        return Memory(0, 2 * self.dims.D * 8)

    def joint(self, kind: str, guidance: float, temperature: float) -> Tensor:
        """[V^F] the probability of every picture under sampling code by code, last code fastest."""
        joint = torch.ones(1, dtype=torch.float64)
        for law in self.laws:
            cond, uncond = law[KINDS.index(kind)].log(), law[-1].log()
            p = ((uncond + guidance * (cond - uncond)) / temperature).softmax(-1)
            joint = (joint[:, None] * p).flatten()
        return joint


def _next(joint: Tensor, law: Tensor, kind: Tensor) -> Tensor:
    """[R, V] the mixture with weights ``joint`` [R, prefixes] of the laws [kinds, prefixes, V] of each row's kind."""
    out = joint @ law[0]
    for k in range(1, len(law)):
        out = torch.where((kind == k)[:, None], joint @ law[k], out)
    return out
