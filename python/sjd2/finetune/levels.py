"""Noise levels of a training sequence: saw teeth that rise by segments and fall back to clean (SJD2 section 4.2).

    0 0 0 | 1 1 1 | 2 2 | 3 3 3 3 | 0 0 | 1 1 | 2 2 2 | 3 ...

The image tokens are cut at random into segments of one level each; the next segment has the next higher level; at a
random position the level stops rising and falls to zero. That is what a window looks like when it is decoded: clean
tokens at the front, noisier ones behind. Segment lengths, the length of a tooth and the share of fully clean sequences
are ours, the paper is silent about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Teeth:
    """How a sequence is cut.

    Attributes:
        clean: share of sequences without any noise.
        tooth: shortest and longest tooth, in tokens.
        pause: shortest and longest clean run before a tooth.
        segments: (weight, shortest, longest): each tooth draws one of these ranges for its segments. Decoding with a
            window L and T levels leaves about L/T tokens on a level; long segments stand for its beginning, when the
            whole window is on one level.
        from_one: share of teeth that start at level 1; the others start anywhere.
    """

    clean: float = 0.12
    tooth: tuple[int, int] = (8, 160)
    pause: tuple[int, int] = (1, 48)
    segments: tuple[tuple[float, int, int], ...] = ((0.6, 1, 8), (0.2, 1, 24), (0.2, 16, 127))
    from_one: float = 0.5

    @classmethod
    def around(cls, L: int, T: int, clean: float = 0.12) -> Self:
        """Teeth for decoding with a window of ``L`` slots and ``T`` levels: most segments around L/T tokens, teeth up
        to a window and two thirds.

        Example:
            >>> Teeth.around(96, 24).segments
            ((0.6, 1, 8), (0.2, 1, 24), (0.2, 16, 128))
        """
        step = L / T
        usual, wide = (max(1, round(times * step)) for times in (2, 6))
        segments = ((0.6, 1, usual), (0.2, 1, wide), (0.2, max(1, L // 6), max(1, L * 4 // 3)))
        return cls(clean=clean, tooth=(min(8, L), max(L * 5 // 3, 2)), pause=(1, max(1, L // 2)), segments=segments)

    def levels(self, N: int, T: int, rng: np.random.Generator) -> np.ndarray:
        """The level of every token.

        Args:
            N: tokens. T: highest level. rng: the source of all choices.

        Returns: [N] int32 in 0..T.

        Example:
            >>> line = Teeth(clean=0).levels(64, 4, np.random.default_rng(1))
            >>> int(line.min()), int(line.max())
            (0, 4)
        """
        line = np.zeros(N, np.int32)
        if rng.random() < self.clean:
            return line
        at = 0 if rng.random() < 0.5 else -int(rng.integers(self.tooth[1]))  # the first one may have begun before
        weights = np.array([weight for weight, _, _ in self.segments])
        while at < N:
            at += int(rng.integers(self.pause[0], self.pause[1] + 1))
            end = min(N, at + int(rng.integers(self.tooth[0], self.tooth[1] + 1)))
            level = 1 if rng.random() < self.from_one else int(rng.integers(1, T + 1))
            _, low, high = self.segments[rng.choice(len(weights), p=weights / weights.sum())]
            while at < end:
                length = int(rng.integers(low, high + 1))
                line[max(at, 0) : max(min(at + length, end), 0)] = level
                at, level = at + length, min(level + 1, T)
            at = max(at, end)
        return line
