"""The scale of the noise, and timesteps as tokens of that scale, against literal restatements."""

from __future__ import annotations

import math

import pytest
import torch
from sjd2.backbones import noise_space
from sjd2.backbones.noise_space import timestep_embedding, vocabulary_mean_std
from sjd2.backbones.tiny import tiny_emu3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_mean_and_deviation_over_the_whole_vocabulary_in_chunks(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_space, "CHUNK", 7)
    table = (torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 0.01 + 100).to(dtype)
    mean, std = vocabulary_mean_std(table)
    wide = table.double()
    expected = [sum(wide[:, c].tolist()) / 50 for c in range(6)]
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(mean, torch.tensor(expected))
    spread = [math.sqrt(sum((x - m) ** 2 for x in wide[:, c].tolist()) / 50) for c, m in enumerate(expected)]
    torch.testing.assert_close(std, torch.tensor(spread))  # a one-pass float32 sum of squares would be off by far


def test_backbone_uses_all_rows_of_its_table_not_only_the_image_ids() -> None:
    backbone = tiny_emu3()
    torch.testing.assert_close(backbone.mean, backbone.embedding.detach().mean(0))
    torch.testing.assert_close(backbone.std, backbone.embedding.detach().std(0, correction=0))
    assert (backbone.table.mean(0) - backbone.mean).abs().max() > 0.01


@pytest.mark.parametrize("C", [8, 9])
def test_timestep_rows_are_the_standardised_sinusoid_denormalised(C: int) -> None:
    generator = torch.Generator().manual_seed(1)
    mean, std = torch.randn(C, generator=generator), torch.rand(C, generator=generator) + 0.5
    times = [0.0, 0.002, 0.31, 1.0]
    got = timestep_embedding(torch.tensor(times, dtype=torch.float64), mean, std)
    for row, t in zip(got.tolist(), times, strict=True):
        half = C // 2
        angles = [1000 * t / 10_000 ** (i / half) for i in range(half)]
        wave = [math.cos(a) for a in angles] + [math.sin(a) for a in angles] + [0.0] * (C % 2)
        middle = sum(wave) / C
        spread = math.sqrt(sum((w - middle) ** 2 for w in wave) / C)
        expected = [m + s * (w - middle) / spread for m, s, w in zip(mean.tolist(), std.tolist(), wave, strict=True)]
        assert row == pytest.approx(expected, abs=1e-10)


def test_levels_are_told_apart() -> None:
    rows = timestep_embedding(torch.linspace(0, 1, 26), torch.zeros(64), torch.ones(64))
    assert rows.dtype == torch.float32
    assert torch.cdist(rows, rows).fill_diagonal_(9).min() > 1
