"""Seconds: the settings take turns, few prompts are repeated, and numbers are per picture and per step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation import timing as module
from sjd2.evaluation.decoding import Decoded
from sjd2.evaluation.settings import chosen
from sjd2.evaluation.task import prompts_task
from sjd2.evaluation.timing import ROUNDS, time_settings
from toy_backbone import Toy

TOY = Toy()


def test_settings_take_turns_and_numbers_are_those_of_the_decodings(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def decode(backbone: Any, setting: Any, captions: Any, seeds: Any, *_: Any) -> Decoded:
        calls.append((setting.name, list(captions)))
        slow = 2.0 if setting.name == "ar" else 1.0
        steps = torch.tensor([10, 20][: len(captions)] + [5] * (len(captions) - 2))
        return Decoded(torch.empty(0), steps, slow * (len(calls) if len(captions) == 1 else 100))

    monkeypatch.setattr(module, "decode", decode)
    taken = time_settings(TOY, chosen("ar,sjd 2"), prompts_task(["a", "b"]), "prompts", Sampling(), TOY.grid(), 4)
    turns = [(name, [text]) for text in ("a", "b", "a") for name in ("ar", "sjd 2")]
    assert ROUNDS == 3
    assert calls == [("ar", ["a"]), *turns, ("ar", ["a", "b", "a", "b"]), ("sjd 2", ["a", "b", "a", "b"])]
    assert taken["ar"] == {"alone": 8.0, "alone_step": 24 / 30, "batch": 50.0, "batch_step": 10.0}  # calls 2, 4, 6
    assert taken["sjd 2"] == {"alone": 5.0, "alone_step": 15 / 30, "batch": 25.0, "batch_step": 5.0}


def test_with_a_model() -> None:
    taken = time_settings(TOY, chosen("sjd 2"), prompts_task(["a"]), "prompts", Sampling(), TOY.grid(), 2)
    assert set(taken["sjd 2"]) == {"alone", "alone_step", "batch", "batch_step"}
    assert min(taken["sjd 2"].values()) > 0
