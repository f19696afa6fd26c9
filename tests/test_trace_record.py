"""Records of decodings: the picture is that of `generate`, and every note agrees with a count by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.pipeline import Pipeline
from sjd2.policies import get_policy
from sjd2.trace import record as module
from sjd2.trace.record import NOTHING, Trace, record
from toy_backbone import Toy

TOY = Toy(dtype=torch.float32)
SAMPLING = Sampling(guidance=1.5)
VALUES: dict[str, Any] = {"window": 4, "denoise_steps": 3, "spacing": "karras"}


def made(policy: str, seed: int = 3, size: tuple[int, int] = (5, 4)) -> Trace:
    return record(TOY, get_policy(policy), "ab", TOY.grid(size), SAMPLING, seed, VALUES)


@pytest.mark.parametrize("policy", ["ar", "sjd", "coupled", "sjd2", "sjd2-exact"])
def test_the_decoding_is_that_of_generate(policy: str) -> None:
    out = Pipeline(TOY).generate("ab", policy, None if policy == "ar" else 4, 3, 1.5, size=(5, 4), seed=3, draw=False)
    trace = made(policy)
    assert TOY.ids[torch.tensor(trace.tokens)].tolist() == out.tokens[0].tolist()
    assert trace.accept_lengths == out.accept_lengths[0]
    assert len(trace.seconds) == len(trace.accept_lengths)
    assert min(trace.seconds) > 0
    assert trace.prefill > 0


@pytest.mark.parametrize("policy", ["ar", "sjd", "sjd2", "sjd2-exact"])
def test_windows_end_with_the_picture_and_show_forced_tokens(policy: str) -> None:
    trace, grid = made(policy), TOY.grid((5, 4))
    forced, stand = grid.forced.tolist(), trace.committed
    assert len(trace.windows) == len(trace.levels) == len(trace.seconds) + 1
    assert trace.windows[-1] == []
    for start, slots in zip(stand, trace.windows, strict=True):
        assert len(slots) == min(trace.window, grid.n_tokens - start)
        for place, slot in enumerate(slots, start):
            if policy == "ar":
                assert slot in (NOTHING, forced[place])
            else:
                assert slot == forced[place] if forced[place] >= 0 else 0 <= slot < TOY.V


def test_accepted_slots_held_what_was_committed() -> None:
    """All committed tokens but the last of a chunk were drafts, so the window before the step showed them."""
    trace = made("sjd")
    longer = 0
    for step, (start, length) in enumerate(zip(trace.committed, trace.accept_lengths, strict=False)):
        kept = min(length - 1, trace.window)
        assert trace.windows[step][:kept] == trace.tokens[start : start + kept]
        longer += kept
    assert longer > 0


def test_levels_fall_from_noise_to_tokens() -> None:
    trace, free = made("sjd2"), TOY.grid((5, 4)).forced < 0
    first = [level for level, chosen in zip(trace.levels[0], free.tolist(), strict=False) if chosen]
    assert set(first) == {VALUES["denoise_steps"]}
    seen: dict[int, int] = {}
    for start, levels in zip(trace.committed, trace.levels, strict=True):
        for place, level in enumerate(levels, start):
            assert level <= seen.get(place, 3)
            seen[place] = level
    assert 0 in seen.values()
    assert made("sjd").levels[0] == []


@pytest.mark.parametrize("policy", ["ar", "sjd", "sjd2"])
def test_lives_are_those_of_a_count_by_hand(policy: str) -> None:
    trace = made(policy)
    lived, at, N = [0] * len(trace.tokens), [0] * len(trace.tokens), len(trace.tokens)
    pos = 0
    for step, length in enumerate(trace.accept_lengths, 1):
        for place in range(pos, min(pos + trace.window, N)):
            lived[place] += 1
        for place in range(pos, pos + length):
            at[place] = step
        pos += length
    assert trace.lived == lived
    assert trace.committed_at == at
    if policy == "ar":
        assert set(lived) == {1}


def test_clocks() -> None:
    trace = Trace("sjd", 2, 2, prefill=1.0, seconds=[0.5, 0.25], accept_lengths=[1, 2])
    assert trace.clock("seconds") == [1.0, 1.5, 1.75]
    assert trace.clock("steps") == [0.0, 1.0, 2.0]
    held = trace.as_json()
    assert (held["steps"], held["committed_at"], held["lived"]) == (2, [1, 2, 2], [1, 2, 1])


def test_logits_that_are_not_finite_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Toy.head
    monkeypatch.setattr(Toy, "head", lambda self, hidden: head(self, hidden) * float("nan"))
    with pytest.raises(ValueError, match="trace: sjd: the logits of toy were not finite; try another dtype"):
        made("sjd")


def test_the_example_is_right() -> None:
    assert doctest.testmod(module).failed == 0
