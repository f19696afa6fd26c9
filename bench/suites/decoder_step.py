"""A decoding step outside the model: the policies of the decoder beside what the published loop does in an iteration.

The model is replaced by one that returns prepared logits, so everything that is timed is the decoder's: building the
rows, laws, verification, commit, the next window. Guidance on, top-k 2000, one image. The decoder multiplies the head's
image rows only, so its logits are over V ids; the published loop processes the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sjd2.backbones import Defaults, Dims, Memory, Prompt
from sjd2.backbones.base import Attend, Backbone
from sjd2.decoder import Decoder, Sampling
from sjd2.grid import Grid, raster
from sjd2.policies import get_policy
from torch import Tensor

from .. import eager, published
from ..case import Case, Spec, within
from ..clock import Clock, Variant
from ..counting import count
from ..replay import Replayed
from .sampling import GUIDANCE, K

OPERATOR = "decoding step without the model"
POLICIES = ("ar", "coupled", "sjd2", "sjd2-exact")  # beside sjd, whose arithmetic is that of the published loop
MODELS = {"Lumina-mGPT": published.LUMINA, "Emu3": published.EMU3}
TINY = published.Vocabulary(400, 8, 96, 300, 6)
T = 25


def specs(grid: str) -> list[Spec]:
    """Both vocabularies; the windows of SJD (16) and SJD2 (96, 128)."""
    if grid == "smoke":
        return [Spec("decoder_step", OPERATOR, {"model": "tiny", "V": 96, "of": 400, "L": 4, "C": 32})]
    found = []
    for name, v in MODELS.items():
        windows = (16, 96 if name == "Lumina-mGPT" else 128)
        for L in windows if grid == "full" or name == "Lumina-mGPT" else windows[:1]:
            numbers = {"model": name, "V": v.V, "of": v.size, "L": L, "C": 4096}
            found.append(Spec("decoder_step", OPERATOR, numbers, headline=L == 16))
    return found


class Prepared(Backbone):
    """Logits that were drawn beforehand: two sets in turn, near each other as in successive iterations."""

    def __init__(self, V: int, L: int, C: int, device: str):
        self.name, self.V, self.default_size, self.defaults = "prepared", V, (64, 64), Defaults()
        self.ids, self.dims = torch.arange(V + 1, device=device), Dims(1, 1, 1, 8, C, 10_000)
        self.embedding = torch.randn(V + 1, C, device=device)
        first = 2 * torch.randn(2, L, V, device=device)
        self.logits = [first, first + 0.3 * torch.randn(2, L, V, device=device)]
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
        zero = torch.zeros(len(times), 1, 8, device=self.device)
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


def _steps(model: Prepared, policy: str, L: int) -> Replayed:
    sampling = Sampling(GUIDANCE, top_k=K)
    prompts, grids = model.encode([""]), [model.grid()]
    decoder = Decoder(model, get_policy(policy), prompts, grids, [1], L=L, denoise_steps=T, sampling=sampling)
    return Replayed(decoder)


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """Ours is policy sjd; what each variant asks of the device is counted as well."""
    n = spec.numbers
    v = MODELS.get(n["model"], TINY)
    torch.manual_seed(0)
    model = Prepared(v.V, n["L"], n["C"], device)
    ours = _steps(model, "sjd", n["L"])
    iteration = _published(v, n["L"], device)
    peers: dict[str, Callable[[], Variant]] = {"published loop": lambda: Variant(iteration)}
    for policy in POLICIES:
        peers[f"policy {policy}"] = lambda policy=policy: _steps(model, policy, n["L"]).variant()

    def gate() -> dict[str, float]:
        """The step commits what the operators' gates do not see: at least one token, and only drawable ones."""
        w = ours.decoder.window
        before = int(w.pos[0])
        ours.decoder.step()
        after = int(w.pos[0])
        new = w.out[0, before:after].clone()
        ours.restore()
        wrong = int((new < 0).sum() + (new > model.V).sum()) + (after <= before)
        return within(float(wrong), 0.0, "decoder: tokens out of range, or none")

    counts = {"sjd2": count(ours.decoder.step, v.V), "published loop": count(iteration, v.V)}
    ours.restore()
    return Case(spec, [()], ours.variant(), gate, peers, counts=counts)


def _published(v: published.Vocabulary, W: int, device: str) -> Callable[[], Any]:
    """An iteration whose drafts were drawn from the law of slightly other logits, as in the iteration before."""
    logits = 2 * torch.randn(2, W, v.size, device=device)
    near = logits + 0.3 * torch.randn(2, W, v.size, device=device)
    scores = near[1] + GUIDANCE * (near[0] - near[1])
    scores[:, : v.first] = -torch.inf
    scores[:, v.first + v.V :] = -torch.inf
    law = eager.top_k_law(scores, min(K, v.V))
    drafts = eager.draw(law)
    return lambda: published.iteration(logits, drafts, law, 0, v, GUIDANCE, min(K, v.V))
