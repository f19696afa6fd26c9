"""FlexAttention through the model: the loss of dense attention, in float64 and under autocast.

The library's function runs as it is, but for the compiler, and without gradients, which FlexAttention lacks on a CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _tuning import FAMILIES, batch_of, wide
from sjd2.backbones import TransformersBackbone
from sjd2.finetune.attention import use_attention
from sjd2.finetune.batch import Batch, noisy
from sjd2.finetune.levels import Teeth
from sjd2.finetune.objective import NextCleanToken
from sjd2.schedule import time_grid
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from transformers.integrations import flex_attention as library

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture(autouse=True)
def dtypes(monkeypatch: pytest.MonkeyPatch) -> list[set[torch.dtype]]:
    """FlexAttention without a compiler; what it was given."""
    seen: list[set[torch.dtype]] = []

    def plain(q: Tensor, k: Tensor, v: Tensor, training: bool = False, **options: Any) -> Tensor:
        seen.append({q.dtype, k.dtype, v.dtype})
        return flex_attention(q, k, v, **options)

    monkeypatch.setattr(library, "compile_friendly_flex_attention", plain)
    return seen


def nats(backbone: TransformersBackbone, batch: Batch, flex: bool) -> Tensor:
    use_attention(backbone.text, flex)
    with torch.no_grad():
        return NextCleanToken(backbone.text, backbone.lm_head, flex=flex)(**vars(batch))


def noisy_batch(backbone: TransformersBackbone) -> Batch:
    batch = batch_of(backbone, ["a", "abab", None])
    return noisy(batch, backbone.grid().forced, time_grid(4), Teeth.around(8, 4, clean=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_dense_attention(family: str, dtypes: list[set[torch.dtype]]) -> None:
    backbone = wide(family)
    for batch in (noisy_batch(backbone), batch_of(backbone, ["a", "abab", None])):
        before = len(dtypes)
        torch.testing.assert_close(nats(backbone, batch, True), nats(backbone, batch, False), rtol=0, atol=1e-9)
        assert len(dtypes) == before + 2, "both layers went through FlexAttention"


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_mixes_no_dtypes(family: str, dtypes: list[set[torch.dtype]]) -> None:
    backbone = FAMILIES[family](seed=3)
    batch = noisy_batch(backbone)
    exact = nats(backbone, batch, False)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = nats(backbone, batch, True)
    assert dtypes == [{torch.bfloat16}] * 2
    torch.testing.assert_close(narrow.mean(), exact.mean(), rtol=0.02, atol=0)
