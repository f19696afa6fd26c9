"""A small random transformer that follows the backbone contract, for exact claims about the decoder.

Everything that a decoder can get wrong changes its output: cache lengths, positions, masks, levels, the guidance rows.
`Toy.recompute` is the independent check: the same weights, the whole sequence at once, an explicit mask, explicit
timestep rows, no window attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sjd2.backbones.base import Attend, Backbone, Defaults, Dims, Memory, Prompt
from sjd2.backbones.noise_space import timestep_embedding
from sjd2.grid import Grid, raster
from torch import Tensor

FIRST_IMAGE = 3  # model id of image token 0; the ids before it and after the forced ones are words
WORDS = 6


class Toy(Backbone):
    """V image ids, three forced ids (end of line, begin, end), six words; pre-norm layers, learned positions."""

    def __init__(
        self,
        V: int = 5,
        *,
        layers: int = 2,
        C: int = 8,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        max_positions: int = 64,
        sharpness: float = 1.5,
    ):
        draw = torch.Generator().manual_seed(seed)

        def random(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(*shape, generator=draw, dtype=torch.float64) * scale).to(dtype)

        self.name, self.V, self.default_size, self.defaults = "toy", V, (4, 2), Defaults({"window": 4})
        self.ids = torch.arange(FIRST_IMAGE, FIRST_IMAGE + V + 3)
        self.dims = Dims(layers=layers, H=2, Hkv=1, D=4, C=C, max_positions=max_positions)
        self.embedding = random(FIRST_IMAGE + V + 3 + WORDS, C)
        self.positions = random(max_positions, C, scale=0.7)
        self.layers = [
            {
                "q": random(8, C, scale=1.2 * C**-0.5),
                "k": random(4, C, scale=1.2 * C**-0.5),
                "v": random(4, C, scale=C**-0.5),
                "o": random(C, 8, scale=8**-0.5),
                "up": random(12, C, scale=C**-0.5),
                "down": random(C, 12, scale=12**-0.5),
            }
            for _ in range(layers)
        ]
        self.out = random(V, C, scale=sharpness * C**-0.5)
        self.poisoned = False

    def encode(
        self,
        prompts: Sequence[str],
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        guidance: bool = True,
    ) -> list[Prompt]:
        """One word per letter, then the begin token."""
        first, begin = FIRST_IMAGE + self.V + 3, FIRST_IMAGE + self.V + 1

        def row(text: str) -> tuple[int, ...]:
            return (*(first + byte % WORDS for byte in text.encode()), begin)

        return [Prompt(row(text), row(negative_prompt or "") if guidance else None) for text in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """One code per pixel, an end of line per row, an end token."""
        width, height = size or self.default_size
        return self.fits(raster(height, width, (width, height), eol=self.V, tail=[self.V + 2]))

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The layers through `window_attention`."""
        x = rows + self.positions[positions]
        for i, layer in enumerate(self.layers):
            q, k, v = self._qkv(x, layer)
            timed = attend.level is not None and attend.time_k is not None
            mixed = torch.ops.sjd2.window_attention(
                q, k, v, attend.k_cache[i], attend.v_cache[i], attend.kv_len, attend.q_start, 0.5,
                attend.time_k[i] if timed else None, attend.time_v[i] if timed else None,
                attend.level if timed else None, attend.done, shadow=attend.shadow, refeed=attend.refeed,
            )  # fmt: skip
            x = self._rest(x, mixed, layer)
        return x

    def timestep_kv(self, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Each level's token alone at position 0."""
        x = timestep_embedding(times.double(), self.mean, self.std).to(self.dtype)[:, None] + self.positions[0]
        keys, values = [], []
        for layer in self.layers:
            q, k, v = self._qkv(x, layer)
            keys.append(k[:, 0])
            values.append(v[:, 0])
            x = self._rest(x, v.expand(len(times), 1, 2, 4), layer)
        return keys, values

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the image ids."""
        return _norm(hidden) @ self.out.T

    def decode(self, codes: Tensor) -> Tensor:
        """Grey pixels."""
        return (codes * (255 // self.V)).to(torch.uint8)[..., None].expand(*codes.shape, 3).contiguous()

    def memory(self) -> Memory:
        """Bytes."""
        d = self.dims
        return Memory(self.embedding.nbytes, 2 * d.layers * d.Hkv * d.D * self.dtype.itemsize)

    def _qkv(self, x: Tensor, layer: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        h = _norm(x)
        q, k, v = h @ layer["q"].T, h @ layer["k"].T, h @ layer["v"].T
        return q.view(*q.shape[:-1], 2, 4), k.view(*k.shape[:-1], 1, 4), v.view(*v.shape[:-1], 1, 4)

    def _rest(self, x: Tensor, mixed: Tensor, layer: dict[str, Tensor]) -> Tensor:
        x = x + mixed.reshape(*x.shape[:-1], 8) @ layer["o"].T
        return x + torch.nn.functional.silu(_norm(x) @ layer["up"].T) @ layer["down"].T

    def recompute(self, rows: Tensor, level: Tensor | None = None, times: Tensor | None = None) -> Tensor:
        """Hidden states of whole sequences [R, n, C] at positions 0..n-1.

        With level [n] and times [T+1] the T+1 timestep rows stand in front as real rows: each sees itself only, and the
        noisy rows of its level see it.
        """
        n = rows.shape[1]
        x = rows + self.positions[:n]
        sees = torch.ones(n, n, dtype=torch.bool).tril()
        if level is not None and times is not None:
            T1 = len(times)
            time = timestep_embedding(times.double(), self.mean, self.std).to(self.dtype) + self.positions[0]
            x = torch.cat([time.expand(len(rows), T1, -1), x], 1)
            own = (level[:, None] == torch.arange(T1)) & (level[:, None] > 0)
            above = torch.cat([torch.eye(T1, dtype=torch.bool), torch.zeros(T1, n, dtype=torch.bool)], 1)
            sees = torch.cat([above, torch.cat([own, sees], 1)])
        for layer in self.layers:
            q, k, v = (part.transpose(1, 2) for part in self._qkv(x, layer))
            mixed = torch.nn.functional.scaled_dot_product_attention(
                q, k.expand_as(q), v.expand_as(q), attn_mask=sees, scale=0.5
            )
            x = self._rest(x, mixed.transpose(1, 2), layer)
        return x[:, -n:]

    def next_logits(self, ids: Tensor) -> Tensor:
        """[R, n] model ids -> [R, n, V] logits of the token after each."""
        return self.head(self.recompute(self.rows(ids)))


def _norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
