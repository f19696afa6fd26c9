"""Milliseconds and operators of a decoding step outside the model: python -m bench.decoder_step

The model is replaced by one that returns prepared logits, so everything that is timed is the decoder's: building the
rows, laws, verification, commit, the next window. Guidance on, top-k 2000, one image, C = 4096; policies take turns.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from sjd2.backbones import Defaults, Dims, Memory, Prompt
from sjd2.backbones.base import Attend, Backbone
from sjd2.decoder import Decoder, Sampling
from sjd2.grid import Grid, raster
from sjd2.policies import get_policy
from torch import Tensor

POLICIES = ("ar", "sjd", "coupled", "sjd2", "sjd2-exact")
ROUNDS, WARM_UP = 15, 3


class Prepared(Backbone):
    """Logits that were drawn beforehand: two sets in turn, near each other as in successive iterations."""

    def __init__(self, V: int, L: int, C: int = 4096):
        draw = torch.Generator().manual_seed(0)
        self.name, self.V, self.default_size, self.defaults = "prepared", V, (64, 64), Defaults()
        self.ids, self.dims = torch.arange(V + 1), Dims(1, 1, 1, 8, C, 10_000)
        self.embedding = torch.randn(V + 1, C, generator=draw)
        first = 2 * torch.randn(2, L, V, generator=draw)
        self.logits = [first, first + 0.3 * torch.randn(2, L, V, generator=draw)]
        self.calls = 0

    def encode(self, prompts: Any, **kwargs: Any) -> list[Prompt]:
        """One token."""
        return [Prompt((0,), (0,)) for _ in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """Rows of 64 codes and an end of line."""
        return raster(64, 64, (64, 64), eol=self.V)

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The rows as they are."""
        return rows

    def timestep_kv(self, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Zeros."""
        zero = torch.zeros(len(times), 1, 8)
        return [zero], [zero]

    def head(self, hidden: Tensor) -> Tensor:
        """Prepared logits."""
        self.calls += 1
        return self.logits[self.calls % 2][:, : hidden.shape[1]]

    def decode(self, codes: Tensor) -> Tensor:
        """Black."""
        return torch.zeros(*codes.shape, 3, dtype=torch.uint8)

    def memory(self) -> Memory:
        """Nothing worth counting."""
        return Memory(0, 64)


def main() -> None:
    """Print one row per case."""
    print("| V | L | " + " | ".join(POLICIES) + " |\n|" + "---|" * (2 + len(POLICIES)))
    for V in (8192, 32768):
        for L in (16, 96):
            model = Prepared(V, L)
            decoders = {}
            for name in POLICIES:
                made = Decoder(
                    model, get_policy(name), model.encode([""]), [model.grid()], [1], L=L,
                    denoise_steps=25, sampling=Sampling(3.0, top_k=2000),
                )  # fmt: skip
                decoders[name] = made
            best = dict.fromkeys(POLICIES, float("inf"))
            for turn in range(ROUNDS + WARM_UP):
                for name, made in decoders.items():
                    start = time.perf_counter()
                    made.step()
                    if turn >= WARM_UP:
                        best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
            print(f"| {V} | {L} | " + " | ".join(f"{best[name]:.2f}" for name in POLICIES) + " |", flush=True)


if __name__ == "__main__":
    main()
