"""The decoding loop: prefill, step, stop. One loop for every policy and backbone; ar is its window of one.

A step feeds A re-feed rows and the window, and gets the laws of the L slots from the last re-feed row and the first L-1
window rows: the row of a position gives the law of the next one (SJD2 Eq. 2). The row of the last slot is never read,
neither its output nor its key (the last committed token is always fed again), so M = A + L - 1 rows are fed, and S
shadow rows behind them.

Everything stays on the device; the host reads done flags, one step late (stop.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import cache, shadow
from .backbones.base import Attend, Backbone, Prompt
from .grid import Grid
from .policies import Policy
from .schedule import time_grid
from .stop import Graph, Latch
from .window import Window, ops


@dataclass(frozen=True)
class Sampling:
    """How logits become laws: the numbers of `process_logits`. Guidance 1 needs no unconditional rows."""

    guidance: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0


class Decoder:
    """Decodes B images.

    Args:
        backbone: the model.
        policy: what is drafted and how it is verified.
        prompts, grids, seeds: one per image; grids may differ in size.
        L: window slots.
        denoise_steps, spacing: T and the time grid of policies with noise; a policy with ``levels`` has its own T.
        sampling: guidance, temperature, top-k, top-p.
        stop_ids: model ids that end an image's sequence, wherever in a committed chunk they stand.

    Raises: ValueError for prompts that cannot be decoded, MemoryError before anything is allocated.

    Example: see docs/decoder.md.
    """

    def __init__(
        self,
        backbone: Backbone,
        policy: Policy,
        prompts: Sequence[Prompt],
        grids: Sequence[Grid],
        seeds: Sequence[int],
        *,
        L: int,
        denoise_steps: int = 25,
        spacing: str = "karras",
        sampling: Sampling | None = None,
        stop_ids: Sequence[int] = (),
    ):
        self.backbone, self.policy, self.prompts = backbone, policy, prompts
        self.sampling = sampling or Sampling()
        B, A, L = len(prompts), policy.refeed, policy.window or L
        G = 1 if self.sampling.guidance == 1 else 2
        self.B, self.L, self.G, self.M = B, L, G, A + L - 1
        self.shadow = min(policy.shadow, L - 1)
        S = check_requests(backbone, prompts, grids, seeds, L, G)
        longest = max(len(row) for prompt in prompts for row in (prompt.cond, prompt.uncond or ()))
        sizes = cache.plan(backbone, policy, B, G * B, L, longest, S)
        cache.check(sizes, backbone.name)
        self.k_cache, self.v_cache = cache.allocate(backbone, G * B, S)
        self.time_k, self.time_v, times = None, None, None
        if policy.noisy:
            self.T = policy.levels or denoise_steps
            times = time_grid(self.T, spacing).to(backbone.device)
            self.time_k, self.time_v = backbone.timestep_kv(times)
        self.window = Window(backbone, policy, prompts, grids, seeds, L, times, G)
        self._constants(stop_ids)

    def _constants(self, stop_ids: Sequence[int]) -> None:
        """Tensors that a step reads and nobody writes."""
        s, device, B = self.sampling, self.backbone.device, self.B

        def number(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.full((B,), value, dtype=dtype, device=device)

        self.guidance = number(s.guidance) if self.G == 2 else None
        self.temperature = number(s.temperature) if s.temperature != 1 else None
        self.top_k = number(s.top_k, torch.int64) if s.top_k else None
        self.top_p = number(s.top_p) if s.top_p < 1 else None
        self.zero = number(0, torch.int64)
        self.row = torch.arange(self.M, device=device)
        self.stop_ids = torch.tensor(stop_ids, device=device) if stop_ids else None
        # the two rows of an image may end their prompts differently; afterwards their re-feed rows are the same
        ends = [p.cond[-1] for p in self.prompts] + [(p.uncond or (0,))[-1] for p in self.prompts] * (self.G - 1)
        self.ends = None if ends == ends[:B] * self.G else torch.tensor(ends, device=device)[:, None]

    @torch.no_grad()
    def prefill(self) -> None:
        """Put all prompt tokens but the last into the cache; the last one is the first re-feed row."""
        w, device = self.window, self.backbone.device
        rows = [p.cond for p in self.prompts] + [p.uncond or () for p in self.prompts] * (self.G - 1)
        M = max(len(row) for row in rows) - 1
        if M == 0:
            return
        ids = torch.tensor([[0] * (M + 1 - len(row)) + list(row[:-1]) for row in rows], device=device)
        q_start = M + 1 - w.prompt_len
        positions = (torch.arange(M, device=device) - q_start[:, None]).clamp(min=0)
        nothing = torch.zeros_like(q_start)
        attend = Attend(self.k_cache, self.v_cache, nothing, q_start)
        self.backbone.forward(self.backbone.rows(ids), positions, attend)

    @torch.no_grad()
    def step(self) -> None:
        """One forward pass: laws of all slots, verification, commit, next window. Reads nothing on the host."""
        w, policy, A, L = self.window, self.policy, self.policy.refeed, self.L
        hidden = self.backbone.forward(*self.feed())
        p, fresh, status = self.laws(hidden[:, A - 1 : A - 1 + L], w.pos, w.forced)
        verify_epoch = w.epoch if policy.verify_epoch == "iteration" else self.zero

        def verify(p: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
            accept = "match" if policy.accept == "match" else "ratio"
            q = p if w.q is None else w.q
            accept_len, tokens, _ = ops.verify_accept(
                w.draft, p, q, w.seed, w.pos, fresh, verify_epoch, None, w.forced, w.done,
                accept=accept, redraw=policy.redraw,
            )  # fmt: skip
            return accept_len, tokens

        accept_len, tokens = verify(p, fresh)
        if self.shadow:
            other, other_fresh = self.shadow_laws(hidden[:, self.M :], p, fresh)
            tokens, left = shadow.choose(w.draft, tokens, verify(other, other_fresh)[1])
            p = torch.where(left[..., None], p, other)
        if policy.noisy:
            accept_len, tokens, fresh = self.settle(accept_len, tokens, fresh)
        n_commit = ops.commit(
            tokens, w.draft, accept_len, self.backbone.ids, w.prompt_len, w.n_tokens,
            w.out, w.pos, w.kv_len, w.q_start, w.refeed, w.epoch, w.done, w.level,
        )  # fmt: skip
        w.note(n_commit, status)
        if self.stop_ids is not None:
            w.stop_at(self.stop_ids, n_commit)
        w.advance(p, tokens, fresh, accept_len, n_commit)

    def feed(self) -> tuple[Tensor, Tensor, Attend]:
        """Rows [R, M+S, C], their rotary positions, and what their attention needs."""
        w, A, b = self.window, self.policy.refeed, self.backbone
        own = self.L - 1  # window rows
        refeed = w.refeed.repeat(self.G, 1)
        if self.ends is not None:
            refeed = torch.where((w.pos == 0).repeat(self.G)[:, None], self.ends, refeed)
        rows = [b.rows(refeed), w.rows[:, :own].repeat(self.G, 1, 1)]
        positions = ((w.kv_len - w.q_start)[:, None] + self.row).clamp(0, self.k_cache.shape[3] - 1)
        level = None if w.level is None else torch.nn.functional.pad(w.level[:, :own], (A, 0))
        if self.shadow:
            assert level is not None
            rows.append(self.noise(self.shadow).repeat(self.G, 1, 1))
            positions = torch.cat([positions, positions[:, A : A + self.shadow]], 1)
            level = torch.nn.functional.pad(level, (0, self.shadow), value=self.T)
        if level is not None:
            level = level.repeat(self.G, 1)
        attend = Attend(
            self.k_cache, self.v_cache, w.kv_len, w.q_start, self.time_k, self.time_v, level, w.done, self.shadow, A
        )
        return torch.cat(rows, 1), positions, attend

    def noise(self, count: int) -> Tensor:
        """[B, count, C] rows of pure noise at the first slots, the noise that new slots enter with."""
        w, b = self.window, self.backbone
        token = torch.zeros(self.B, count, dtype=torch.int64, device=b.device)
        return ops.noise_embed(
            b.table, token, b.mean, b.std, torch.ones_like(token, dtype=torch.float32), w.seed, w.pos, w.done
        )

    def laws(self, hidden: Tensor, pos: Tensor, forced: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Law, draw and status of the tokens that follow the rows [R, n, C]; the first one stands at pos."""
        w, logits = self.window, self.backbone.head(hidden)
        uncond = logits[self.B :] if self.G == 2 else None
        epoch = w.epoch if self.policy.draft_epoch == "iteration" else self.zero
        return ops.process_logits(
            logits[: self.B], uncond, self.guidance, self.temperature, self.top_k, self.top_p,
            w.seed, pos, epoch, forced, w.done,
        )  # fmt: skip

    def shadow_laws(self, hidden: Tensor, p: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """p and fresh with slots 1..S as the shadow rows see them."""
        w, n = self.window, self.shadow
        p_shadow, fresh_shadow, _ = self.laws(hidden, w.pos + 1, w.forced[:, 1 : n + 1])
        return (
            torch.cat([p[:, :1], p_shadow, p[:, n + 1 :]], 1),
            torch.cat([fresh[:, :1], fresh_shadow, fresh[:, n + 1 :]], 1),
        )

    def settle(self, accept_len: Tensor, tokens: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What noisy slots hold after verification, and what they are denoised toward."""
        w, policy = self.window, self.policy
        assert w.level is not None
        if policy.redraw == "couple":
            return accept_len, tokens, tokens  # a slot that was noise has no draft: its token is a draw of its law
        if policy.accept == "pure":  # SJD2 App. B: clean and within L/T of the front is enough
            clean = (w.level == 0) & (w.draft >= 0)
            run = clean.int().cumprod(-1).sum(-1).clamp(1, math.ceil(self.L / self.T))
            tokens = torch.where(clean & (w.slot < run[:, None]), w.draft, torch.where(w.level > 0, fresh, tokens))
            return (run - 1).int() * (w.done == 0).int(), tokens, fresh
        if policy.draft == "nearest":  # such a draft was not drawn from q, a residual would be unsound
            tokens = torch.where((w.level > 0) & (w.slot >= accept_len[:, None]), fresh, tokens)
        return accept_len, tokens, fresh

    def run(self, *, graph: bool = False, progress: Callable[[int, list[int]], None] | None = None) -> None:
        """Decode to the last token of every image.

        Args:
            graph: capture the step as a CUDA graph after two eager steps and replay it.
            progress: called after every step with the number of steps and each image's committed tokens, one step late.
        """
        self.prefill()
        step = Graph(self.step, self.backbone.device) if graph else self.step
        latch, steps, finished = Latch(self.window.pos, self.window.done), 0, False
        while not finished:
            step()
            steps += 1
            committed, finished = latch()
            if progress is not None and committed is not None:
                progress(steps, committed)


def check_requests(
    backbone: Backbone, prompts: Sequence[Prompt], grids: Sequence[Grid], seeds: Sequence[int], L: int, G: int
) -> int:
    """Refuse requests that cannot be decoded, whatever the memory; reads nothing on the device.

    Args:
        backbone: the model.
        prompts, grids, seeds: one per image.
        L: window slots.
        G: model rows per image, 2 under guidance.

    Returns: the positions that the longest request needs.

    Raises: ValueError.
    """
    if L < 1:
        raise ValueError(f"decoder: L must be at least 1 slot, got {L}")
    if not len(prompts) == len(grids) == len(seeds) or not prompts:
        raise ValueError(
            f"decoder: prompts, grids and seeds must be one per image, at least one image; "
            f"got {len(prompts)}, {len(grids)}, {len(seeds)}"
        )
    needed = 0
    for b, (prompt, grid) in enumerate(zip(prompts, grids, strict=True)):
        rows = [prompt.cond] if G == 1 else [prompt.cond, prompt.uncond or ()]
        if not all(rows):
            raise ValueError(f"decoder: prompt {b} must have at least one token in each of its {G} rows")
        length, limit = max(map(len, rows)), backbone.dims.max_positions
        if length + grid.n_tokens > limit:
            raise ValueError(
                f"decoder: prompt {b} is too long: {length} tokens and {grid.n_tokens} to generate are more than "
                f"the {limit} positions of {backbone.name}; shorten it by {length + grid.n_tokens - limit} tokens"
            )
        needed = max(needed, length + grid.n_tokens)
    return needed
