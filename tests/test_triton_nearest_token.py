"""nearest_token's Triton kernels: the operator's own tests, and ties between blocks, tiles and packed slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import test_nearest_token as operator
import torch
from _noise_cases import assert_same, generator, rows_of
from _triton_device import triton_device  # noqa: F401

import sjd2_kernels
from sjd2_kernels.triton import nearest_token as kernels

pytestmark = pytest.mark.usefixtures("triton_device")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = [(1, 1, 1, 1), (1, 1, 3, 2), (2, 5, 0, 7), (1, 16, 65, 63), (2, 33, 64, 65), (1, 9, 130, 300)]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 packed slots, so that few slots make several of them."""
    configs = tuple(replace(config, blocks={**config.blocks, "BM": 16}) for config in kernels.CONFIGS)
    monkeypatch.setattr(kernels, "CONFIGS", configs)


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        *((operator.test_equals_brute_force, {"dtype": x, "state": torch.float32}) for x in DTYPES),
        (operator.test_equals_brute_force, {"dtype": torch.float32, "state": torch.float64}),
        *((operator.test_odd_sizes, dict(zip("BLCV", sizes, strict=True))) for sizes in SIZES),
        *((operator.test_no_slots, {"B": B, "L": L}) for B, L in ((0, 3), (3, 0))),
        *((operator.test_ties_go_to_the_lowest_id, {"dtype": x}) for x in DTYPES),
        (operator.test_nan_never_wins, {"C": 1}),
        (operator.test_nan_state_gives_an_id_and_stays_in_its_slot, {}),
        (operator.test_any_layout, {"dtype": torch.float32}),
        (operator.test_inputs_are_not_written, {}),
        (operator.test_offsets_past_2_to_31, {}),
        (operator.test_cosine_table_finds_the_nearest_by_cosine, {"dtype": torch.bfloat16}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)  # fmt: skip
def test_of_the_operator(test: Callable[..., None], arguments: dict[str, Any]) -> None:
    test(**arguments, backend="triton")


def test_a_split_of_float32_in_three_is_exact() -> None:
    """A winner by 2**-23 is found with a bfloat16 table, where a state of two bfloat16 would tie."""
    C, V = 64, 200
    state, table = torch.zeros(1, 2, C), torch.zeros(V, C, dtype=torch.bfloat16)
    state[0, 0, 0], state[0, 1, 0] = 1 + 2.0**-9 + 2.0**-23, -(1 + 2.0**-9 + 2.0**-23)
    table[7, 0], table[150, 0] = 1.0, -1.0
    bias = torch.full((V,), -10.0)
    bias[7] = bias[150] = 0.0
    bias[3] = 1 + 2.0**-9  # the score of a state without its last part, at a lower id
    got = sjd2_kernels.nearest_token(state, table, bias, backend="triton")
    assert got.tolist() == [[7, 150]]


def test_an_infinite_state_still_finds_its_id() -> None:
    """The split of an infinity must not turn it into a NaN."""
    table, bias = torch.zeros(5, 3, dtype=torch.bfloat16), torch.zeros(5)
    table[:, 1] = torch.tensor([-1.0, -2.0, 3.0, 4.0, -5.0])
    state = torch.tensor([[[1.0, float("inf"), 2.0], [1.0, float("-inf"), 2.0]]])
    assert sjd2_kernels.nearest_token(state, table, bias, backend="triton").tolist() == [[2, 0]]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_slots_are_packed_and_come_back_in_their_places(share: float) -> None:
    """39 slots of which none, a few, or all need scores; scratch full of NaN behind the packed ones."""
    g = generator(7)
    B, L, C, V = 3, 13, 16, 70
    a = operator.case(B=B, L=L, C=C, V=V, dtype=torch.bfloat16)
    a["draft"] = torch.where(torch.rand(B, L, generator=g) < share, -1, a["draft"].clamp(min=0))
    assert_same(sjd2_kernels.nearest_token(**a, backend="triton"), sjd2_kernels.nearest_token(**a, backend="reference"))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_bits_do_not_depend_on_the_batch(dtype: torch.dtype) -> None:
    """Near-ties in which a change in the order of a sum shows: a slot's winner is the same in any company."""
    g = generator(11)
    table = (torch.randn(100, generator=g) + 1e-7 * torch.randn(130, 100, generator=g)).to(dtype)
    a = {"state": torch.randn(3, 7, 100, generator=g), "table": table, "bias": torch.zeros(130)}
    whole = sjd2_kernels.nearest_token(**a, backend="triton")
    for images in ([2, 0, 1], [1], [0, 0]):
        part = sjd2_kernels.nearest_token(**rows_of(a, images, operator.WHOLE), backend="triton")
        assert_same(part, whole[images], f"images {images}")
    draft = torch.where(torch.rand(3, 7, generator=g) < 0.5, 5, -1)
    got = sjd2_kernels.nearest_token(**a, draft=draft, backend="triton")
    assert_same(got, torch.where(draft >= 0, draft, whole), "among slots with drafts")


def test_every_configuration_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """B26: each alone gives the reference's winners."""
    for config in kernels.CONFIGS:
        dtype = torch.bfloat16 if config.case.startswith("bfloat16") else torch.float32
        monkeypatch.setattr(kernels, "CONFIGS", (config,))
        monkeypatch.setattr(kernels, "_case", lambda table, case=config.case: case)
        monkeypatch.setattr("sjd2_kernels.triton.launch.ASSUMED_ARCHITECTURE", (*config.arch, 90)[0])
        a = operator.case(B=2, L=33, C=70, V=300, dtype=dtype)
        operator.check_margin(a, sjd2_kernels.nearest_token(**a, backend="triton"))
