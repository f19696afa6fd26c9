"""Whole decodings of toy models, thousands of images in one call: what the operators must do together.

A toy model is a table of conditional laws given the whole prefix, so the law of all its sequences can be written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from sjd2_kernels import process_logits, rng, verify_accept


@dataclass(frozen=True)
class Model:
    """K symbols, N tokens, ``logits`` [prefixes, K]: prefix 0 is the empty one, prefix n followed by symbol s is n K +
    s + 1."""

    K: int
    N: int
    logits: Tensor

    @staticmethod
    def random(K: int, N: int, seed: int, concentration: float = 0.7) -> Model:
        """Laws that differ from prefix to prefix (the more, the lower the concentration), nothing below 0.03."""
        law = np.random.default_rng(seed).dirichlet([concentration] * K, (K**N - 1) // (K - 1))
        return Model(K, N, torch.from_numpy(np.log((1 - 0.03 * K) * law + 0.03)).float())

    def after(self, prefix: Tensor, symbol: Tensor) -> Tensor:
        """The prefix with one more symbol; 0 beyond the end, where nothing is ever committed."""
        longer = prefix * self.K + symbol + 1
        return torch.where(longer < len(self.logits), longer, 0)

    def joint(self, law: np.ndarray | None = None) -> np.ndarray:
        """The probability [K**N] of every sequence, last symbol fastest; ``law`` [prefixes, K] instead of
        softmax(logits)."""
        law = torch.softmax(self.logits.double(), -1).numpy() if law is None else law
        level, first, out = 1, 0, np.ones(1)
        for _ in range(self.N):
            out = (out[:, None] * law[first : first + level]).ravel()
            first, level = first + level, level * self.K
        return out


@dataclass(frozen=True)
class Policy:
    """A lossless way to decode: what is carried over, how it is verified, which epochs are the iteration number."""

    accept: str = "ratio"
    redraw: str = "fresh"
    draft_epoch: bool = True
    verify_epoch: bool = True
    speculate: bool = True


POLICIES = {
    "ar": Policy(draft_epoch=False, verify_epoch=False, speculate=False),
    "jacobi": Policy(accept="match"),
    "sjd": Policy(),
    "coupled": Policy(redraw="couple"),
    "gumbel": Policy(draft_epoch=False),
    "match": Policy(accept="match", draft_epoch=False, verify_epoch=False),
}


@dataclass(frozen=True)
class Decoder:
    """One decoding setup; ``verify`` and ``carry_q`` are there to be replaced by wrong ones."""

    model: Model
    policy: Policy
    window: int
    backend: str | None = None
    start: str = (
        "uniform"  # what new slots hold: uniform (q = 1/K), onehot, soft (a fixed token said to be uniform), none
    )
    forced: tuple[int, ...] = ()  # by position, -1 where free
    process: tuple[tuple[str, Any], ...] = ()  # arguments of process_logits
    verify: Callable[..., tuple[Tensor, Tensor, Tensor]] = verify_accept
    carry_q: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = lambda p, q, draft, tokens: p

    def initial(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """The first draft of every position, and its law: [B, N + L], [B, N + L, K]."""
        position = torch.arange(self.model.N + self.window).expand(len(seed), -1)
        K, flat = self.model.K, torch.full((*position.shape, self.model.K), 1 / self.model.K)
        if self.start == "uniform":
            word = rng.words(seed[:, None], position, rng.STREAM_INITIAL, 0, 1)[..., 0]
            return word % K, flat
        if self.start == "none":
            return torch.full_like(position, -1), flat
        draft = position % K
        return draft, flat if self.start == "soft" else torch.nn.functional.one_hot(draft, K).float()

    def laws(self, prefix: Tensor, seed: Tensor, pos: Tensor, epoch: int, done: Tensor | None = None) -> Any:
        """process_logits at the given prefixes [B, L]."""
        options = dict(self.process)
        uncond = self.model.logits.roll(1, -1)[prefix] if "guidance" in options else None
        return process_logits(
            self.model.logits[prefix],
            uncond,
            **options,
            seed=seed,
            pos=pos,
            epoch=epoch,
            done=done,
            backend=self.backend,
        )

    def __call__(self, seed: Tensor) -> tuple[Tensor, int]:
        """Decode one image per seed: tokens [B, N], and the number of iterations."""
        model, policy, L = self.model, self.policy, self.window
        B, N, slot = len(seed), model.N, torch.arange(L)
        by_position = torch.tensor((self.forced + (-1,) * (N + L))[: N + L])
        out, pos, prefix = torch.full((B, N), -1), torch.zeros(B, dtype=torch.long), torch.zeros(B, dtype=torch.long)
        first_draft, first_q = self.initial(seed)
        draft, q = first_draft[:, :L], first_q[:, :L]
        for iteration in range(N):
            done = (pos == N).int()
            forced = by_position[pos[:, None] + slot]
            draft = draft if policy.speculate else torch.full_like(draft, -1)
            symbols = torch.where(forced >= 0, 0, draft.clamp(min=0))
            prefixes = [prefix]
            for j in range(L - 1):
                prefixes.append(model.after(prefixes[-1], symbols[:, j]))
            p, fresh, status = self.laws(
                torch.stack(prefixes, 1), seed, pos, iteration if policy.draft_epoch else 0, done
            )
            assert (status == 0).all()
            n, tokens, _ = self.verify(
                draft, p, q, seed, pos, fresh, iteration if policy.verify_epoch else 0, forced=forced, done=done,
                accept=policy.accept, redraw=policy.redraw, backend=self.backend,
            )  # fmt: skip
            n = torch.where(done == 1, 0, torch.minimum((n + 1).clamp(max=L), N - pos))
            for j in range(L):
                taken = j < n
                out[taken, pos[taken] + j] = tokens[taken, j]
                prefix = torch.where(
                    taken, model.after(prefix, torch.where(forced[:, j] >= 0, 0, tokens[:, j])), prefix
                )
            pos = pos + n
            source, position = slot + n[:, None], pos[:, None] + slot
            old, source = source < L, source.clamp(max=L - 1)
            carried = self.carry_q(p, q, draft, tokens).gather(1, source[..., None].expand(B, L, model.K))
            draft = torch.where(old, tokens.gather(1, source), first_draft.gather(1, position))
            q = torch.where(old[..., None], carried, first_q.gather(1, position[..., None].expand(B, L, model.K)))
            if (pos == N).all():
                break
        assert (pos == N).all(), "every iteration must commit at least one token"
        return out, iteration + 1

    def with_(self, **changes: Any) -> Decoder:
        return replace(self, **changes)


def p_value(out: Tensor, joint: np.ndarray, K: int) -> float:
    """Chi-square of whole sequences [B, n] against ``joint`` [K**n]; cells that expect fewer than 5 are taken together.

    0 if a sequence of probability 0 is there.
    """
    B, n = out.shape
    cell = (out * K ** torch.arange(n - 1, -1, -1)).sum(-1)
    count, expected = np.bincount(cell.numpy(), minlength=K**n), B * joint
    if count[joint == 0].any():
        return 0.0
    count, expected = count[joint > 0], expected[joint > 0]
    small = expected < 5
    if small.any():
        count, expected = (np.append(x[~small], x[small].sum()) for x in (count, expected))
    return float(stats.chi2.sf(((count - expected) ** 2 / expected).sum(), len(count) - 1))
