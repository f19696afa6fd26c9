"""The plan of a decoding: sized and reported before anything is allocated, and what is really held and touched."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import pytest
import torch
from sjd2 import cache
from sjd2.backbones.base import Prompt
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.decoder import Decoder, Sampling
from sjd2.pipeline import Pipeline
from sjd2.policies import get_policy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from toy_backbone import Toy


def test_cache_size_is_what_is_allocated() -> None:
    model = Toy(dtype=torch.float32)
    k, v = cache.allocate(model, 4, 30)
    assert k.shape == (2, 4, 1, 30, 4)
    plan = cache.plan(model, get_policy("coupled"), B=2, R=4, L=4, longest=1, S=30)
    assert plan.cache == k.nbytes + v.nbytes


def test_capacity_is_that_of_the_longest_request() -> None:
    """A long prompt with a small picture and a short prompt with a large one: each fits, their sum need not."""
    model = Toy(max_positions=28)
    prompts = model.encode(["a", "a longer one"])
    sampling = Sampling(guidance=2.0)
    grids = [model.grid((8, 2)), model.grid((4, 2))]
    made = Decoder(model, get_policy("coupled"), prompts, grids, [1, 2], L=5, sampling=sampling)
    assert made.k_cache.shape[3] == max(2 + 19, 13 + 11)
    made.run()
    for b in range(2):
        alone = Decoder(model, get_policy("coupled"), [prompts[b]], [grids[b]], [1 + b], L=5, sampling=sampling)
        alone.run()
        assert torch.equal(made.window.out[b, : grids[b].n_tokens], alone.window.out[0])


def test_not_enough_memory_names_the_numbers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    model = Toy()
    with caplog.at_level(logging.INFO, "sjd2.cache"):
        Pipeline(model).generate("a", guidance=2.0)
    assert "toy: cache 0.0 MiB (2 rows x 13 positions) + window 0.0 MiB (1 images x 4 slots), " in caplog.text
    monkeypatch.setattr(cache, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(cache, "allocate", lambda *args: pytest.fail("allocated before it was checked"))
    with pytest.raises(MemoryError, match=r"toy: not enough memory: cache .* lower the number of images .*\(now 1\)"):
        Pipeline(model).generate("a")


class Held(TorchDispatchMode):
    """Bytes of all storages that operators made and that are still alive: now, and the most since `peak` was reset."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.keys, self.now, self.peak = {t.untyped_storage()._cdata for t in known}, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.keys:
            self.keys.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.keys.discard(key)
        self.now -= size


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize(
    ("policy", "options", "V", "length"),
    [
        ("ar", {}, 4096, 20),
        ("coupled", {}, 4096, 20),
        ("sjd2", {}, 4096, 20),
        ("sjd2-exact", {"shadow": 8}, 4096, 20),
        ("coupled", {}, 64, 900),
    ],
)
def test_what_is_held_and_touched_is_near_the_plan(
    make: Any, policy: str, options: dict[str, Any], V: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laws of many ids, a long prompt; the weights are not counted, what a kernel allocates inside is not seen."""
    plans: list[cache.Plan] = []
    monkeypatch.setattr(cache, "check", lambda plan, name: plans.append(plan))
    model = make(V=V, dtype=torch.bfloat16, max_positions=1024)
    grid = model.grid()
    prompts = [Prompt((1,) * length, (1, 2))] * 2
    weights = [*model.text.parameters(), *model.text.buffers(), model.lm_head.weight]
    with Held([*weights, model.ids]) as held:
        made = Decoder(
            model, get_policy(policy, **options), prompts, [grid] * 2, [1, 2],
            L=24, denoise_steps=8, sampling=Sampling(2.0, top_k=50),
        )  # fmt: skip
        held.peak = held.now
        made.prefill()
        for _ in range(3):
            made.step()
    planned = plans[0].cache + plans[0].buffers
    assert 0.6 * planned < held.peak < 1.1 * planned, f"{held.peak / planned:.2f} of the plan"


def test_tables_that_are_there_already_are_not_counted_again() -> None:
    model = tiny_emu3(V=512)
    sizes = []
    for _ in range(2):
        sizes.append(cache.plan(model, get_policy("sjd2"), B=1, R=1, L=4, longest=1, S=30).buffers)
        assert model.cosine[0].shape == (512, 64)
    assert sizes[0] - sizes[1] == 2 * 512 * 64 * 4
