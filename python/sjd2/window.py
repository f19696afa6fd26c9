"""The state of a decoding step, all of it on the device and of fixed shape: what is drafted, where each image stands.

Slot j of image b stands for position pos[b] + j. A step reads this state, and leaves the state of the next step in the
same tensors, so that the step can be replayed as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import sjd2_kernels  # noqa: F401  (registers torch.ops.sjd2)

from .backbones.base import Backbone, Prompt
from .grid import Grid
from .initial import random_tokens, repeated_tokens, stride_of
from .policies import Policy

ops = torch.ops.sjd2


class Window:
    """B windows of L slots.

    Args:
        backbone: for tables and ids.
        policy: what new slots hold.
        prompts, grids, seeds: one per image.
        L: slots.
        times: [T+1] float32, the time of every level; None for the token policies.
        rows: model rows per image, 2 under guidance.

    Attributes:
        draft: [B, L] int64, the token that each slot is judged by, -1 for none.
        q: [B, L, V] float32, the law that each draft was drawn from.
        rows: [B, L, C], the embeddings that the slots are fed with.
        level: [B, L] int32; state: [B, L, C], the de-normalised embeddings of noisy slots.
        forced: [B, L] int64, what the slots must be.
        pos, epoch, done, kv_len, q_start, refeed, out: as in docs/operators.md, section commit.
        accepted: [B, N+1] int32, tokens committed in each step; status: [B] int32, status bits of committed tokens.
    """

    def __init__(
        self,
        backbone: Backbone,
        policy: Policy,
        prompts: Sequence[Prompt],
        grids: Sequence[Grid],
        seeds: Sequence[int],
        L: int,
        times: Tensor | None,
        rows: int,
    ):
        device, V, C, A = backbone.device, backbone.V, backbone.dims.C, policy.refeed
        self.backbone, self.policy, self.B, self.L, self.V = backbone, policy, len(prompts), L, V
        B, N = self.B, max(grid.n_tokens for grid in grids)
        self.N = N

        def whole(values: object, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        def full(shape: tuple[int, ...], value: float, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.full(shape, value, dtype=dtype, device=device)

        self.seed = whole([(seed + 2**63) % 2**64 - 2**63 for seed in seeds])
        self.n_tokens = whole([grid.n_tokens for grid in grids])
        self.forced_line = full((B, N + L), -1)
        for line, grid in zip(self.forced_line, grids, strict=True):
            line[: grid.n_tokens] = grid.forced.to(device)
        per_row = [len(p.cond) for p in prompts] + [len(p.uncond or ()) for p in prompts] * (rows - 1)
        self.prompt_len = whole(per_row, torch.int32)
        self.kv_len = self.prompt_len - 1
        self.q_start = full((B * rows,), A - 1, torch.int32)
        self.refeed = full((B, A), 0)
        self.refeed[:, -1] = whole([p.cond[-1] for p in prompts])
        self.pos, self.epoch = full((B,), 0), full((B,), 0)
        self.done = (self.n_tokens == 0).int()
        self.out, self.accepted = full((B, N), -1), full((B, N + 1), 0, torch.int32)
        self.status, self.bits = full((B,), 0, torch.int32), whole([1, 2, 4], torch.int32)

        self.slot = torch.arange(L, device=device)
        self.draft, self.forced = full((B, L), -1), full((B, L), -1)
        self.rows = torch.zeros(B, L, C, dtype=backbone.dtype, device=device)
        self.q = torch.zeros(B, L, V, device=device) if policy.judged else None
        self.level, self.state, self.times = None, None, None
        if policy.noisy:
            assert times is not None
            self.times = times
            wide = torch.float64 if backbone.dtype == torch.float64 else torch.float32
            self.level = full((B, L), 0, torch.int32)
            self.state = torch.zeros(B, L, C, dtype=wide, device=device)
        self.random = random_tokens(self.seed, N + L, V) if policy.initial in ("random", "left", "above") else None
        self.line, self.stride = None, None
        if policy.initial in ("left", "above"):
            self.line, self.stride = full((B, N + L), -1), whole([stride_of(grid, policy.initial) for grid in grids])
        nothing, zero = full((B, L), -1), full((B,), 0, torch.int32)
        self._shift(None, nothing, nothing, zero, full((B,), L, torch.int32))

    def advance(self, p: Tensor, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor) -> None:
        """Drop the committed slots, carry the others over with their laws, and append new ones.

        Args:
            p: [B, L, V] float32, the laws of this step, which become the laws of the next drafts.
            tokens: [B, L] int64, verified tokens.
            fresh: [B, L] int64, what noisy slots are denoised toward.
            accept_len, n_commit: [B] int32.
        """
        self._shift(p, tokens, fresh, accept_len, n_commit)

    def note(self, n_commit: Tensor, status: Tensor) -> None:
        """Log the commits of this step (epoch is already that of the next), and the status of committed tokens."""
        self.accepted.scatter_add_(1, (self.epoch - 1).clamp(min=0)[:, None], n_commit[:, None])
        seen = torch.where(self.slot < n_commit[:, None], status, 0)
        self.status |= (seen[..., None] & self.bits).amax(1).sum(-1, dtype=torch.int32)

    def stop_at(self, ids: Tensor, n_commit: Tensor) -> None:
        """End every image at the first of ``ids`` [E] among the tokens that this step committed."""
        place = torch.arange(self.N, device=ids.device)
        new = (place >= (self.pos - n_commit)[:, None]) & (place < self.pos[:, None])
        hit = new & (self.out[..., None] == ids).any(-1)
        self.n_tokens.copy_(torch.minimum(self.n_tokens, torch.where(hit, place + 1, self.N).amin(1)))
        self.done |= (self.pos >= self.n_tokens).int()

    def _shift(self, p: Tensor | None, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor) -> None:
        """`advance`; without p, the first window."""
        source = self.slot + n_commit[:, None]
        carried = source < self.L
        source = source.clamp(max=self.L - 1)
        position = self.pos[:, None] + self.slot
        torch.gather(self.forced_line, 1, position, out=self.forced)
        if self.q is not None and p is not None:
            torch.gather(p, 1, source[..., None].expand(p.shape), out=self.q)
        if self.policy.noisy:
            self._noise(tokens, fresh, accept_len, n_commit, carried, source)
        else:
            self._tokens(tokens.gather(1, source), carried, position, tokens if p is not None else None, n_commit)
        self.draft.masked_fill_(position >= self.n_tokens[:, None], -1)

    def _noise(
        self, tokens: Tensor, fresh: Tensor, accept_len: Tensor, n_commit: Tensor, carried: Tensor, source: Tensor
    ) -> None:
        """One denoising step; the drafts of noisy slots as the policy says, none for slots first seen."""
        b = self.backbone
        state, level, draft, rows = ops.noise_mix(
            self.state, self.level, tokens, fresh, n_commit, self.times, b.table, b.mean, b.std, self.seed, self.pos,
            self.forced, self.n_tokens, accept_len, self.done,
        )  # fmt: skip
        if self.policy.draft == "nearest":
            nearest = ops.nearest_token(state, *b.cosine, draft, self.done)
            draft = torch.where(carried | (draft >= 0), nearest, -1)
        elif self.policy.draft == "sampled":
            draft = torch.where(carried & (draft < 0), fresh.gather(1, source), draft)
        for held, new in ((self.state, state), (self.level, level), (self.draft, draft), (self.rows, rows)):
            assert held is not None
            held.copy_(new)

    def _tokens(self, kept: Tensor, carried: Tensor, position: Tensor, tokens: Tensor | None, n_commit: Tensor) -> None:
        """Carried tokens, then new ones of the policy's kind, and the law of the new ones."""
        draft = torch.where(carried, kept, -1)
        if self.random is not None:
            new, repeated = self.random.gather(1, position), None
            if self.line is not None and self.stride is not None and tokens is not None:
                before = (self.pos - n_commit)[:, None]  # where slot 0 stood in the step that is over
                self.line.scatter_(1, before + self.slot, tokens)
                token, usable = repeated_tokens(self.line, before[:, 0] + self.L, position, self.stride, self.V)
                repeated = usable & ~carried
                new = torch.where(repeated, token, new)
            draft = torch.where(carried, draft, new)
            if self.q is not None:
                self.q.masked_fill_(~carried[..., None], 1.0 / self.V)
                if repeated is not None:
                    self.q.masked_fill_(repeated[..., None], 0.0)
                    at = draft.clamp(0, self.V - 1)[..., None]
                    self.q.scatter_(2, at, torch.where(repeated[..., None], 1.0, self.q.gather(2, at)))
        torch.where(self.forced >= 0, self.forced, draft, out=self.draft)
        rows = torch.nn.functional.embedding(self.draft.clamp(min=0), self.backbone.table)
        self.rows.copy_(rows)
