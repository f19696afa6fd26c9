"""Decode one picture and note what every step did.

The step is the decoder's own; after each one the window is copied to the host, outside the time that is taken. So a
recorded decoding waits for the device after each step: its seconds are right for comparing steps and policies, a plain
`generate` on a GPU is faster.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..backbones.base import Backbone
from ..decoder import Decoder, Sampling
from ..grid import Grid
from ..policies import Policy
from ..window import ops

NOTHING = -1  # in Trace.windows: the slot has neither token nor noise


@dataclass
class Trace:
    """One decoding, n steps for N tokens. Positions count from 0, steps from 1.

    Attributes:
        policy: its name. window: L. rows: what a step feeds beside the re-feed rows, shadow rows included.
        accept_lengths: n numbers, tokens that each step committed.
        seconds: n numbers, the time of each step. prefill: seconds before the first step.
        windows: n+1 lists, what the slots show before each step and after the last one, from the first uncommitted
            position on: the local id of the slot's token, of the token nearest to its noise, or `NOTHING`.
        levels: n+1 lists, the noise level of each slot, 0 for a token; empty lists for policies without noise.
        tokens: N local ids, the result.
    """

    policy: str
    window: int
    rows: int
    prefill: float = 0.0
    accept_lengths: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    windows: list[list[int]] = field(default_factory=list)
    levels: list[list[int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def committed(self) -> list[int]:
        """n+1 numbers, tokens that stand after each number of steps."""
        total = [0]
        for length in self.accept_lengths:
            total.append(total[-1] + length)
        return total

    @property
    def committed_at(self) -> list[int]:
        """N numbers, the step that committed each token."""
        return [step for step, length in enumerate(self.accept_lengths, 1) for _ in range(length)]

    @property
    def lived(self) -> list[int]:
        """N numbers, the steps in which each position was in the window, that of its commit included.

        Example:
            >>> Trace("sjd", 2, 2, accept_lengths=[1, 2]).lived
            [1, 2, 1]
        """
        first: list[int] = []  # the step in which a position enters: when fewer than L positions before it are open
        for step, stand in enumerate(self.committed[:-1], 1):
            first += [step] * (min(stand + self.window, self.committed[-1]) - len(first))
        return [last - entered + 1 for entered, last in zip(first, self.committed_at, strict=True)]

    def clock(self, by: str) -> list[float]:
        """n+1 numbers, when each number of steps was done: in "seconds" from the start, or in "steps"."""
        if by == "steps":
            return [float(step) for step in range(len(self.seconds) + 1)]
        total = [self.prefill]
        for seconds in self.seconds:
            total.append(total[-1] + seconds)
        return total

    def as_json(self) -> dict[str, Any]:
        """All of it, and what follows from it: a reader needs no code of ours."""
        return asdict(self) | {"committed_at": self.committed_at, "lived": self.lived, "steps": len(self.seconds)}


@torch.no_grad()
def record(
    backbone: Backbone, policy: Policy, prompt: str, grid: Grid, sampling: Sampling, seed: int, values: dict[str, Any]
) -> Trace:
    """Decode one picture and note every step.

    Args:
        backbone: the model. policy: how. prompt: in words.
        grid: of the picture, from ``backbone.grid``.
        sampling: how logits become laws.
        seed: of the picture; the picture is that of `Pipeline.generate` with the same arguments.
        values: window, denoise_steps and spacing, as `pipeline.settle` gives them.

    Raises: ValueError where the logits were not finite, and what `Decoder` raises.
    """
    rows = backbone.encode([prompt], size=grid.size, guidance=sampling.guidance != 1)
    decoder = Decoder(
        backbone, policy, rows, [grid], [seed], L=values["window"],
        denoise_steps=values["denoise_steps"], spacing=values["spacing"], sampling=sampling,
    )  # fmt: skip
    w, made = decoder.window, Trace(policy.name, decoder.L, decoder.L + decoder.shadow)
    start = _now(backbone.device)
    decoder.prefill()
    made.prefill = _now(backbone.device) - start
    done = 0
    while True:
        shown = _slots(decoder)
        made.windows.append(shown[: grid.n_tokens - done])
        made.levels.append([] if w.level is None else w.level[0, : grid.n_tokens - done].tolist())
        if done == grid.n_tokens:
            break
        start = _now(backbone.device)
        decoder.step()
        made.seconds.append(_now(backbone.device) - start)
        before, done = done, int(w.pos[0])
        made.accept_lengths.append(done - before)
    if bool(w.status.any()):
        raise ValueError(f"trace: {policy.name}: the logits of {backbone.name} were not finite; try another dtype")
    local = grid.forced.clone()
    local[grid.forced < 0] = backbone.codes(w.out, grid).flatten().cpu()
    made.tokens = local.tolist()
    return made


def _slots(decoder: Decoder) -> list[int]:
    """What each slot shows."""
    w, b = decoder.window, decoder.backbone
    if w.level is None or w.state is None:
        return w.draft[0].tolist()
    noisy = w.level > 0
    nearest = ops.nearest_token(w.state, *b.cosine, torch.where(noisy, NOTHING, w.draft))
    beyond = w.pos[:, None] + w.slot >= w.n_tokens[:, None]
    shown = torch.where(w.forced >= 0, w.forced, nearest)
    return torch.where(beyond, NOTHING, shown)[0].tolist()


def _now(device: torch.device) -> float:
    """The time when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
