"""A step reads nothing on the host, allocates no state, and calls few operators."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from sjd2.backbones.base import Attend
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import get_policy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from toy_backbone import Toy

# aten calls that move no data
VIEWS = {
    "slice", "unsqueeze", "squeeze", "expand", "view", "_unsafe_view", "select", "t", "transpose", "permute", "alias",
    "detach", "as_strided", "reshape", "split",
}  # fmt: skip
READS = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "item", "masked_select", "unique", "unique_consecutive",
    "repeat_interleave", "bincount", "lift_fresh",
}  # fmt: skip


class Count(TorchDispatchMode):
    """Counts what reaches the dispatcher; refuses what would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[-1].split(".")[0]
        # repeats and masks make shapes of values; lift_fresh is torch.tensor(numbers), a copy that waits for the device
        masked = name.startswith("index") and any(x.dtype == torch.bool for x in tree_iter(args[1]) if x is not None)
        if name in READS or masked:
            raise AssertionError(f"{func.name()} reads a device value on the host")
        self.calls[f"sjd2::{name}" if func.namespace == "sjd2" else name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def kernels(self) -> int:
        return sum(count for name, count in self.calls.items() if name not in VIEWS)


class Silent(Toy):
    """A model without operations of its own, so that what is counted is the decoder's."""

    def forward(self, rows: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        if not hasattr(self, "fixed") or self.fixed.shape != rows.shape:
            self.fixed = torch.randn(rows.shape, dtype=rows.dtype, generator=torch.Generator().manual_seed(1))
        return self.fixed

    def head(self, hidden: Tensor) -> Tensor:
        return torch.cat([hidden] * self.V, -1)[..., : self.V]


@contextmanager
def nobody_reads() -> Iterator[None]:
    """`.item()`, `.tolist()`, bool(tensor) and their like raise; tolist does not pass the dispatcher on the CPU."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a device value is read on the host")

    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(torch.Tensor, name, refuse)
        yield


NAMES = ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "cpu")


DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "decoder.md").read_text(encoding="utf-8")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ar", {}),
    ("match", {}),
    ("sjd", {}),
    ("coupled", {}),
    ("coupled", {"initial": "above"}),
    ("sjd2", {}),
    ("sjd2", {"accept": "pure"}),
    ("sjd2-exact", {}),
    ("sjd2-exact", {"shadow": 3}),
]


@pytest.mark.parametrize(("policy", "options"), CASES)
def test_a_step_reads_nothing_and_calls_few_operators(policy: str, options: dict[str, Any]) -> None:
    """The published loop makes 381 tensor operations and 30 synchronisations per step outside the model."""
    model = Silent(dtype=torch.float32)
    model.cosine  # noqa: B018  (made once per model)
    model.table  # noqa: B018
    grid = model.grid((4, 5))
    made = Decoder(
        model, get_policy(policy, **options), model.encode(["ab", "c"]), [grid] * 2, [1, 2],
        L=8, denoise_steps=3, sampling=Sampling(2.0, 0.9, 4, 0.9),
    )  # fmt: skip
    made.prefill()
    made.step()
    state = {name: value.data_ptr() for name, value in vars(made.window).items() if isinstance(value, Tensor)}
    with nobody_reads(), Count() as count:
        made.step()
    ours = sum(n for name, n in count.calls.items() if name.startswith("sjd2::"))
    label = f"`{policy}`" + "".join(f", {key}={value}" for key, value in options.items())
    print(f"\n| {label} | {count.kernels} | {ours} | 0 |")
    documented = re.search(rf"^\| {re.escape(label)} \| (\d+) \| (\d+) \| 0 \|$", DOCUMENT, flags=re.MULTILINE)
    assert documented, "docs/decoder.md has no such row"
    assert count.kernels <= int(documented[1]), count.calls
    assert ours == int(documented[2])
    # a captured graph replays on these addresses
    assert state == {n: value.data_ptr() for n, value in vars(made.window).items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("read", [lambda x: x.item(), lambda x: bool(x), lambda x: x.tolist(), lambda x: int(x)])
def test_the_guard_bites(read: Any) -> None:
    with pytest.raises(AssertionError, match="read"), nobody_reads():
        read(torch.ones(()))


@pytest.mark.parametrize(
    "read",
    [
        lambda x: torch.equal(x, x),
        lambda x: bool(x[0]),
        lambda x: x[x > 0],
        lambda x: x.index_put_((x > 0,), x[:1]),
        lambda x: x.repeat_interleave(x.long()),
        lambda x: x + torch.tensor([1.0, 2.0]),
    ],
)
def test_the_dispatch_guard_bites(read: Any) -> None:
    x = torch.ones(2)
    with pytest.raises(AssertionError, match="reads a device value"), Count():
        read(x)
    with Count():
        _ = torch.where(x > 0, x, 0.0)[:1].clamp(min=0), x[torch.zeros(1, dtype=torch.long)]


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize(("policy", "options"), [("coupled", {}), ("sjd2", {}), ("sjd2-exact", {"shadow": 3})])
def test_nor_does_a_step_with_the_librarys_layers(make: Any, policy: str, options: dict[str, Any]) -> None:
    backbone = make()
    backbone.cosine  # noqa: B018  (made once per model)
    grid = backbone.grid()
    made = Decoder(
        backbone, get_policy(policy, **options), backbone.encode(["ab", "c"]), [grid] * 2, [1, 2],
        L=8, denoise_steps=3, sampling=Sampling(2.0, 0.9, 4, 0.9),
    )  # fmt: skip
    made.prefill()
    with nobody_reads(), Count():
        made.step()
        made.step()


class Told(TorchDispatchMode):
    """Which of our operators were called with ``done`` among their arguments, and which without."""

    def __init__(self, done: Tensor) -> None:
        super().__init__()
        self.done, self.told, self.untold = done, set[str](), set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "sjd2":
            told = any(x is self.done for x in (*args, *(kwargs or {}).values()))
            (self.told if told else self.untold).add(func.name().split("::")[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("policy", "options"), [("coupled", {}), ("sjd2", {}), ("sjd2-exact", {"shadow": 3})])
def test_every_operator_is_told_which_images_are_finished(policy: str, options: dict[str, Any]) -> None:
    """They skip them at once: a finished image costs its slot in the model's batch and nothing else."""
    model = Toy()
    made = Decoder(
        model, get_policy(policy, **options), model.encode(["ab", "c"]), [model.grid()] * 2, [1, 2],
        L=5, denoise_steps=2, sampling=Sampling(2.0),
    )  # fmt: skip
    made.prefill()
    with Told(made.window.done) as mode:
        made.step()
    assert not mode.untold
    assert {"process_logits", "verify_accept", "commit", "window_attention"} <= mode.told


def test_a_run_reads_its_flags_once_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else: the copy of the step before, while the step just started is on its way."""
    model = Silent(dtype=torch.float32)
    made = Decoder(model, get_policy("coupled"), model.encode(["ab"]), [model.grid((4, 5))], [1], L=8)
    model.table  # noqa: B018
    made.prefill()
    monkeypatch.setattr(made, "prefill", lambda: None)  # once per picture, it may read
    reads: list[tuple[int, ...]] = []
    tolist = torch.Tensor.tolist

    def count(self: Tensor) -> Any:
        reads.append(tuple(self.shape))
        return tolist(self)

    with nobody_reads(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", count)
        made.run()
    assert reads == [(2, 1)] * int(made.window.epoch[0])


@pytest.mark.gpu
@pytest.mark.parametrize("policy", ["ar", "coupled", "sjd2"])
def test_a_captured_step_gives_the_tokens_of_the_eager_one(policy: str) -> None:
    outs = []
    for graph in (False, True):
        model = Toy(dtype=torch.float32)
        for name, value in vars(model).items():
            if isinstance(value, Tensor):
                setattr(model, name, value.cuda())
        model.layers = [{name: value.cuda() for name, value in layer.items()} for layer in model.layers]
        made = Decoder(
            model, get_policy(policy), model.encode(["ab", "c"]), [model.grid()] * 2, [1, 2],
            L=4, denoise_steps=3, sampling=Sampling(2.0),
        )  # fmt: skip
        made.run(graph=graph)
        outs.append(made.window.out.cpu())
    assert torch.equal(*outs)
