"""Which parameter gets which optimizer, and the learning rate at every step."""

from __future__ import annotations

import itertools

import torch
from _tuning import FAMILIES
from sjd2.finetune.objective import NextCleanToken
from sjd2.finetune.optimizers import Schedule, adamw, muon


def model() -> NextCleanToken:
    made = FAMILIES["emu3"]()
    return NextCleanToken(made.text, made.lm_head)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    schedule = Schedule(100, warmup=10, flat=0.5, end=0.1)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9:50] == [1.0] * 41
    assert all(a > b for a, b in itertools.pairwise(factors[50:]))
    assert abs(factors[99] - (0.1 + 0.9 / 50)) < 1e-12
    assert [Schedule(3, warmup=0).factor(step) > 0 for step in range(3)] == [True] * 3


def test_every_parameter_is_in_one_group() -> None:
    made = model()
    for optimizers in (adamw(made, 1e-3), muon(made, made.text.layers, 1e-3, 1e-3)):
        held = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        assert sorted(map(id, held)) == sorted(map(id, made.parameters()))


def test_vectors_do_not_decay_and_muon_has_the_matrices_between_hidden_states() -> None:
    made = model()
    (optimizer,) = adamw(made, 1e-3, 0.5)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name for name, p in made.named_parameters() if decays[id(p)] == 0} == {
        name for name, p in made.named_parameters() if p.dim() < 2
    }
    first, rest = muon(made, made.text.layers, 1e-3, 2e-3)
    assert isinstance(first, torch.optim.Muon)
    hidden = {id(p) for group in first.param_groups for p in group["params"]}
    for name, p in made.named_parameters():
        assert (id(p) in hidden) == (".layers." in name and name.endswith("_proj.weight")), name
    assert rest.param_groups[0]["lr"] == 2e-3
