"""process_logits in Triton gives the bits of the native kernel (rung L3): types, odd sizes, options, ties, masks, NaN,
both searches, rows longer than a tile, strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from _sampler_cases import LAYOUTS, logits_case
from _triton import check, far_apart
from torch import Tensor

from sjd2_kernels import process_logits as public
from sjd2_kernels.triton import process_logits as kernels
from sjd2_kernels.triton.launch import Config

TYPES = [torch.float32, torch.bfloat16, torch.float16]


def agree(arguments: dict[str, Any], **kwargs: Any) -> tuple[Tensor, ...]:
    return check(public, ("p", "fresh", "status"), arguments, **kwargs)


def configured(monkeypatch: pytest.MonkeyPatch, HOLD: int, TILE: int, num_warps: int = 4) -> None:
    """Makes every call take one configuration."""
    config = Config("tried by a test", num_warps, blocks={"HOLD": HOLD, "TILE": TILE}, case="more")
    monkeypatch.setattr(kernels, "CONFIGS", (config,))
    monkeypatch.setattr(kernels, "LARGEST", {})


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("V", [1, 31, 999, 1024, 1500])
def test_random_calls(V: int, dtype: torch.dtype) -> None:
    """Optional arguments there or not, seeds and positions at the ends of their range, rows of all kinds."""
    random = np.random.default_rng(V)
    for _ in range(2):
        agree(logits_case(random, 3, 1, V, dtype))


def test_float64_is_rounded_first() -> None:
    agree(logits_case(np.random.default_rng(9), 3, 1, 77, torch.float64))


OPTIONS = ("temperature", "top_k", "top_p", "seed", "pos", "epoch", "forced", "done", "uncond", "guidance")


@pytest.mark.parametrize("option", [None, *OPTIONS])
def test_each_option_alone(option: str | None) -> None:
    case = logits_case(np.random.default_rng(10), 4, 1, 130, torch.float32, share=1.0)
    needed = {"cond", option} | ({"uncond"} if option == "guidance" else set())
    agree({k: v for k, v in case.items() if k in needed})


@pytest.mark.parametrize("config", kernels.CONFIGS, ids=lambda config: config.case)
def test_each_configuration(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """B26. What the table holds, each on the same rows."""
    configured(monkeypatch, **config.blocks, num_warps=config.num_warps)
    agree(logits_case(np.random.default_rng(11), 4, 1, 1001, torch.bfloat16, share=1.0))


@pytest.mark.parametrize("HOLD", [0, 1024], ids=["streamed", "held"])
@pytest.mark.parametrize("V", [256, 257, 1000])
def test_rows_longer_than_a_tile(V: int, HOLD: int, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, HOLD, 256)
    random = np.random.default_rng(V)
    for share in (1.0, 0.6):
        agree(logits_case(random, 4, 1, V, torch.float16, share))


@pytest.mark.parametrize("HOLD", [0, 512], ids=["streamed", "held"])
def test_top_k_of_every_size_and_shape_of_score(HOLD: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """B12, B14. Mixed k in one call; sorted, two-valued, spiked and constant rows, ties at the boundary, masked ids."""
    configured(monkeypatch, HOLD, 256)
    V = 500
    ramp = torch.arange(V, dtype=torch.float32)
    kinds = [
        ramp / V - 0.5,
        ramp % 2,
        0 * ramp,
        torch.where(ramp % 97 < 3, -0.0, -5.0),
        torch.where(ramp < 300, -torch.inf, ramp % 7),
        torch.where(ramp < 3, 3e38, -3e38),
    ]
    k = [2, 37, V - 1]
    cond = torch.stack([kind.expand(len(k), V) for kind in kinds], 1)
    p, _, status = agree({"cond": cond, "top_k": torch.tensor(k)})
    assert (p[0, 0] > 0).sum() == 2
    assert (p[0, 1] > 0).sum() == V // 2  # ties stay
    assert (status == 0).all()


def test_top_p_at_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prefix ends among equal weights, which stay by ascending id, also across tiles."""
    configured(monkeypatch, 1024, 256)
    V = 600
    ramp = torch.arange(V, dtype=torch.float32)
    rows = torch.stack([0 * ramp, ramp % 3, ramp / 50, -(ramp % 2) * 60])
    share = torch.tensor([0.0, 0.5, 0.999, 1 - 2.0**-24, -1.0, torch.nan])
    p, _, _ = agree({"cond": rows.expand(len(share), *rows.shape), "top_p": share})
    assert (p[1, 0] > 0).nonzero()[:, 0].tolist() == list(range(300))
    assert (p[[0, 4]] > 0).sum(-1).tolist() == [[1] * len(rows)] * 2
    assert (p[5, :3] > 0).all()


def test_rows_that_cannot_be_sampled() -> None:
    """B10. NaN, +inf, overflow under guidance, nothing left: flagged, one certain id, other rows untouched."""
    nan, inf = torch.nan, torch.inf
    cond = torch.tensor([
        [nan, 1, 2, 3, 4], [-inf, nan, inf, 0, 0], [0, 1, inf, 3, 4], [-inf] * 5, [1, 2, 3, 4, 5],
        [3e38, 0, 0, 0, 0], [-inf, -inf, 1, 2, -inf], [-3e38, 0, 0, 0, 0],
    ])  # fmt: skip
    uncond = torch.zeros(8, 5)
    uncond[5, 0] = -3e38
    p, fresh, status = agree({"cond": cond[None], "uncond": uncond[None], "guidance": torch.tensor([2.0])})
    assert status.tolist() == [[1, 3, 2, 4, 0, 2, 0, 0]]
    assert fresh[0, [0, 1, 2, 3]].tolist() == [0, 1, 0, 0]
    assert (p[0, 3] == torch.eye(5, device=p.device)[0]).all()
    agree(
        {"cond": cond[None].expand(2, 8, 5), "temperature": torch.tensor([0.0, inf]), "top_p": torch.tensor([0.5] * 2)}
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str) -> None:
    """B21. The same values in other places."""
    case = logits_case(np.random.default_rng(12), 3, 2, 65, torch.bfloat16, share=1.0)
    agree(case, layout=LAYOUTS[layout])


def test_offsets_beyond_32_bits() -> None:
    """B22. Images 2^31 elements apart."""
    case = logits_case(np.random.default_rng(13), 2, 1, 40, torch.bfloat16, share=0.0)
    case["uncond"] = case["cond"].flip(-1)

    def apart(x: Tensor) -> Tensor:
        return far_apart(tuple(x.shape), x.dtype, 2**31 + 8).copy_(x)

    agree(case, layout=apart)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (0, 0, 1)])
def test_no_rows(shape: tuple[int, int, int]) -> None:
    agree({"cond": torch.zeros(shape), "top_k": torch.ones(shape[0], dtype=torch.int64)})


def test_inputs_stay_as_they_are() -> None:
    """B29."""
    case = logits_case(np.random.default_rng(14), 3, 2, 50, torch.float32, share=1.0)
    before = {k: v.clone() for k, v in case.items()}
    agree(case)
    assert all(torch.equal(case[k], before[k]) or case[k].isnan().any() for k in case)
