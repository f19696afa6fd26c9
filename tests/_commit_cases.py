"""A decoder that owns a real cache and keeps its books token by token: what commit is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from _noise_cases import generator
from torch import Tensor

import sjd2_kernels

V = 30  # local ids; the model's id of local id v is 1000 + 7 v
PROMPT_END = -7


@dataclass
class Row:
    """One model row: the tokens it should have seen, and the keys its cache holds (None: a key of something else)."""

    prompt: list[int]
    keys: list[int | None] = field(default_factory=list)
    valid: int = 0  # keys before it are those of the sequence

    def start(self) -> None:
        """Prefill: all of the prompt but its last token is in the cache."""
        self.keys = list(self.prompt[:-1])
        self.valid = len(self.keys)


@dataclass
class Image:
    """One image with its model rows, advanced one token at a time."""

    rows: list[Row]
    n_tokens: int
    A: int
    committed: list[int] = field(default_factory=list)
    epoch: int = 0
    done: bool = False
    taken: int = 0  # tokens committed in this step

    def sequence(self, row: Row) -> list[int]:
        return row.prompt + self.committed

    def forward(self, refeed: list[int], q_start: list[int], draft: list[int], level: list[int]) -> None:
        """What the model does: append keys of the fed rows to each cache, right only for tokens that are fed clean."""
        for row, start in zip(self.rows, q_start, strict=True):
            fed: list[int | None] = list(refeed[start:])
            fed += [1000 + 7 * d if lv == 0 else None for d, lv in zip(draft, level, strict=True)]
            row.keys = row.keys[: row.valid] + fed
            # the rows fed again must be the sequence from the first missing key on: what the operator's state promised
            assert row.keys[: len(self.sequence(row))] == self.sequence(row)

    def again(self, row: Row, slots: int) -> int:
        """Rows to feed again if `slots` window keys may be trusted: those past the last right key, at least 1."""
        sequence, right = self.sequence(row), 0
        trusted = len(sequence) - self.taken + slots
        while right < min(trusted, len(sequence), len(row.keys)) and row.keys[right] == sequence[right]:
            right += 1
        row.valid = min(right, len(sequence) - 1)
        return len(sequence) - row.valid

    def step(self, tokens: list[int], accept_len: int) -> int:
        """Commit token by token, accepted ones and the one after, while re-feeding stays possible and any is wanted."""
        self.taken = 0
        self.epoch += 1
        while self.taken <= accept_len and self.taken < len(tokens) and len(self.committed) < self.n_tokens:
            self.committed.append(1000 + 7 * tokens[self.taken])
            self.taken += 1
            if max(self.again(row, accept_len) for row in self.rows) > self.A:
                self.committed.pop()
                self.taken -= 1
                break
        for row in self.rows:
            self.again(row, accept_len)
        self.done = len(self.committed) >= self.n_tokens
        return self.taken


class Decoder:
    """B images side by side: the operator's tensors, and the simulation that says what they must be."""

    def __init__(self, B: int, L: int, A: int, G: int, N: int, seed: int) -> None:
        g = self.g = generator(seed)
        self.B, self.L, self.A, self.G, self.N = B, L, A, G, N
        lengths = torch.randint(1, 9, (G * B,), generator=g).int()
        self.limit = torch.randint(1, N + 3, (B,), generator=g)
        # prompts of their own that end in one token, since an image's rows are fed again with the same ids
        rows = [Row([-100 * k - i for i in range(1, n)] + [PROMPT_END]) for k, n in enumerate(lengths.tolist(), 1)]
        for row in rows:
            row.start()
        self.images = [Image([rows[k * B + b] for k in range(G)], min(self.limit[b].item(), N), A) for b in range(B)]
        self.ids = 1000 + 7 * torch.arange(V)
        self.prompt_len = lengths
        whole = {"dtype": torch.int64}
        self.state = {
            "out": torch.full((B, N), -5, **whole),
            "pos": torch.zeros(B, **whole),
            "kv_len": lengths - 1,
            "q_start": torch.full((G * B,), A - 1, dtype=torch.int32),
            "refeed": torch.full((B, A), PROMPT_END),
            "epoch": torch.zeros(B, **whole),
            "done": torch.zeros(B, dtype=torch.int32),
        }

    def draw(self, levels: bool) -> dict[str, Tensor]:
        """A window as a decoder meets it: accepted drafts are kept, the token after them mostly is another one."""
        B, L, g = self.B, self.L, self.g
        draft = torch.randint(0, V, (B, L), generator=g)
        accept_len = torch.randint(0, L + 1, (B,), generator=g)
        accept_len = torch.where(torch.rand(B, generator=g) < 0.2, L, accept_len)
        accept_len = torch.where(torch.rand(B, generator=g) < 0.1, 0, accept_len)
        fresh = torch.randint(0, V, (B, L), generator=g)
        keep = torch.rand(B, L, generator=g) < 0.3  # a redraw may return the draft
        slot = torch.arange(L)
        tokens = torch.where((slot < accept_len[:, None]) | keep, draft, fresh)
        forced = torch.rand(B, L, generator=g) < 0.03  # a forced slot is accepted whatever was fed there
        tokens = torch.where(forced, fresh, tokens)
        level = torch.zeros(B, L, dtype=torch.int32)
        if levels:
            first = torch.randint(0, L + 1, (B, 1), generator=g)  # mostly clean first, then noisy; sometimes mixed
            level = torch.where(slot >= first, torch.randint(0, 4, (B, L), generator=g), 0).int()
        return {"tokens": tokens, "draft": draft, "accept_len": accept_len.int(), "level": level if levels else None}

    def call(self, window: dict[str, Any], state: dict[str, Tensor], backend: str) -> Tensor:
        return sjd2_kernels.commit(
            **window, ids=self.ids, prompt_len=self.prompt_len, n_tokens=self.limit, **state, backend=backend
        )

    def simulate(self, window: dict[str, Any]) -> tuple[list[int], dict[str, Tensor]]:
        """n_commit, and what the operator's state must be after this window."""
        want = {name: value.clone() for name, value in self.state.items()}
        counts = []
        for b, image in enumerate(self.images):
            if image.done:
                counts.append(0)
                continue
            rows = range(b, self.G * self.B, self.B)
            level = window["level"][b].tolist() if window["level"] is not None else [0] * self.L
            starts = [self.state["q_start"][r].item() for r in rows]
            image.forward(self.state["refeed"][b].tolist(), starts, window["draft"][b].tolist(), level)
            counts.append(image.step(window["tokens"][b].tolist(), window["accept_len"][b].item()))
            c = len(image.committed)
            want["out"][b, :c] = torch.tensor(image.committed)
            want["pos"][b], want["epoch"][b], want["done"][b] = c, image.epoch, int(image.done)
            for row, r in zip(image.rows, rows, strict=True):
                want["kv_len"][r] = row.valid
                want["q_start"][r] = self.A - (len(image.sequence(row)) - row.valid)
            again = len(image.sequence(image.rows[0])) - image.rows[0].valid
            tail = image.committed[-again:] if again <= c else image.committed
            want["refeed"][b] = torch.tensor([image.committed[-1]] * (self.A - len(tail)) + tail)
        return counts, want
