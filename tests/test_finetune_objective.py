"""The loss against a literal restatement, and the training layout against the decoder's own forward, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from _oracle import NOISE, words
from _tuning import FAMILIES, batch_of, wide
from sjd2.backbones import Attend, TransformersBackbone
from sjd2.decoder import Decoder
from sjd2.finetune import objective as objective_module
from sjd2.finetune.batch import Batch, at_time, noisy
from sjd2.finetune.levels import Teeth
from sjd2.finetune.objective import NextCleanToken
from sjd2.policies import get_policy
from sjd2.schedule import time_grid
from torch import Tensor
from transformers import DynamicCache

EXACT = {"rtol": 0.0, "atol": 1e-9}
T = 4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=FAMILIES, scope="module")
def backbone(request: pytest.FixtureRequest) -> TransformersBackbone:
    return wide(request.param)


def noisy_batch(backbone: TransformersBackbone) -> Batch:
    """Prompts of three lengths, one without caption; every level occurs."""
    teeth = Teeth(clean=0, tooth=(4, 20), pause=(1, 3), segments=((1.0, 1, 2),), from_one=0.7)
    batch = noisy(batch_of(backbone, ["a", "abab", None]), backbone.grid().forced, time_grid(T, "linear"), teeth)
    assert set(batch.level.flatten().tolist()) == set(range(T + 1))
    return batch


def eps(seed: int, position: int, channels: int) -> Tensor:
    """[channels] standard normals by Box-Muller, from the words of docs/rng.md."""
    word = words(seed, position, NOISE, 0, channels).astype(np.float32)
    u = np.minimum((word + np.float32(0.5)).astype(np.float64) * 2.0**-32, 1 - 2.0**-24)
    radius, angle = np.sqrt(-2 * np.log(u[0::2])), 2 * np.pi * u[1::2]
    return torch.from_numpy(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1))


def restated_rows(backbone: TransformersBackbone, batch: Batch, b: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """The rows of sequence b and their levels, position by position from the definition; image token 0 has the noise
    of position ``first``."""
    table, times = backbone.embedding.detach(), batch.times
    mean = table.mean(0).float().double()
    std = ((table - table.mean(0)) ** 2).mean(0).sqrt().float().double()
    p, N = int(batch.prompt[b]), batch.level.shape[1]
    rows, levels = [], []
    for place, token in enumerate(batch.tokens[b, : p + N].tolist()):
        level = int(batch.level[b, place - p]) if place >= p else 0
        t = float(times[level])
        noise = mean + std * eps(int(batch.seed[b]), first + place - p, len(mean)) if level else 0
        rows.append((1 - t) * table[token] + t * noise)
        levels.append(level)
    return torch.stack(rows), torch.tensor(levels)


def clock(t: float, mean: Tensor, std: Tensor) -> Tensor:
    """A timestep's row: cosines, then sines of 1000 t over periods up to 10,000, standardised, at the table's scale."""
    half = len(mean) // 2
    angles = [1000 * t / 10_000 ** (i / half) for i in range(half)]
    wave = torch.tensor([math.cos(x) for x in angles] + [math.sin(x) for x in angles], dtype=torch.float64)
    return mean + std * (wave - wave.mean()) / wave.std(correction=0)


@torch.no_grad()
def restated_logits(backbone: TransformersBackbone, rows: Tensor, levels: Tensor, times: Tensor) -> Tensor:
    """[rows, V_all]: the timesteps are put into a cache, each alone, then the rows, one forward pass for each."""
    table = backbone.embedding.detach()
    mean, std = table.mean(0).float().double(), ((table - table.mean(0)) ** 2).mean(0).sqrt().float().double()
    cache, out = DynamicCache(config=backbone.text.config), []

    def feed(row: Tensor, position: int, visible: list[int]) -> Tensor:
        held = cache.get_seq_length()
        mask = torch.zeros(1, 1, 1, held + 1, dtype=torch.bool)
        mask[..., [*visible, held]] = True
        got = backbone.text(
            inputs_embeds=row[None, None], attention_mask=mask, position_ids=torch.tensor([[position]]),
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        return got.last_hidden_state[0, 0]

    steps = len(times) - 1
    for t in times[1:].tolist():
        feed(clock(t, mean, std), 0, [])
    for place, (row, level) in enumerate(zip(rows, levels.tolist(), strict=True)):
        own = [level - 1] if level else []
        out.append(feed(row, place, [*own, *range(steps, steps + place)]))
    return torch.stack(out) @ backbone.lm_head.weight.detach().T


def restated_loss(
    backbone: TransformersBackbone,
    batch: Batch,
    offset: int = 1,
    first: int = 0,
    sequences: tuple[int, ...] = (0, 1, 2),
) -> Tensor:
    """[B, N]; row i - offset predicts token i, which is 1 by the definition."""
    found = []
    for b in sequences:
        rows, levels = restated_rows(backbone, batch, b, first)
        logits = restated_logits(backbone, rows, levels, batch.times)
        p = int(batch.prompt[b])
        places = torch.arange(p, len(rows))
        laws = logits[places - offset].log_softmax(-1)
        found.append(-laws.gather(1, batch.tokens[b, places, None])[:, 0])
    return torch.stack(found)


def loss(backbone: TransformersBackbone, batch: Batch, **options: Any) -> Tensor:
    return NextCleanToken(backbone.text, backbone.lm_head, **options)(**vars(batch))


def test_the_loss_is_the_literal_one(backbone: TransformersBackbone) -> None:
    batch = noisy_batch(backbone)
    got = loss(backbone, batch).detach()
    torch.testing.assert_close(got, restated_loss(backbone, batch), **EXACT)
    wrong = {
        "the row at the token's own place": restated_loss(backbone, batch, offset=0, sequences=(0,)),
        "noise one position late": restated_loss(backbone, batch, first=1, sequences=(0,)),
    }
    for name, value in wrong.items():
        assert (value - got[:1]).abs().max() > 0.1, name


def test_the_training_layout_is_the_decoders(backbone: TransformersBackbone) -> None:
    """Timesteps as rows with gradients here, as constant keys and values there: the same hidden states."""
    batch = noisy_batch(backbone)
    tuned = NextCleanToken(backbone.text, backbone.lm_head)
    with torch.no_grad():
        got = tuned.hidden(**vars(batch))
    assert batch.times is not None
    d, N = backbone.dims, batch.level.shape[1]
    time_k, time_v = backbone.timestep_kv(batch.times)
    for b, p in enumerate(batch.prompt.tolist()):
        n = p + N
        level = torch.cat([torch.zeros(p, dtype=torch.int32), batch.level[b]])[None]
        rows = torch.ops.sjd2.noise_embed(
            backbone.embedding.detach(), batch.tokens[b : b + 1, :n], backbone.mean, backbone.std,
            batch.times[level.long()], batch.seed[b : b + 1], torch.tensor([-p]),
        )  # fmt: skip
        k, v = (torch.zeros(d.layers, 1, d.Hkv, n, d.D, dtype=torch.float64) for _ in range(2))
        nothing = torch.zeros(1, dtype=torch.int32)
        attend = Attend(k, v, nothing, nothing, time_k, time_v, level)
        hidden = backbone.forward(rows, torch.arange(n)[None], attend)[0]
        torch.testing.assert_close(got[b], hidden[p - 1 : p - 1 + N], **EXACT)
        assert (got[b] - hidden[p : p + N]).abs().max() > 0.1


def test_the_decoders_first_window_is_fed_the_same_noise(backbone: TransformersBackbone) -> None:
    grid, texts = backbone.grid(), ["a", "abab"]
    prompts = backbone.encode(texts, guidance=False)
    decoder = Decoder(backbone, get_policy("sjd2"), prompts, [grid] * 2, [11, 12], L=9, denoise_steps=T)
    batch = at_time(batch_of(backbone, list(texts)), grid.forced, 1.0)
    rows = NextCleanToken(backbone.text, backbone.lm_head).noisy_rows(
        batch.tokens, batch.prompt, objective_module.row_levels(batch.level, batch.prompt, batch.tokens.shape[1]),
        batch.seed, batch.times,
    )  # fmt: skip
    compared = 0
    for b, p in enumerate(batch.prompt.tolist()):
        free = (grid.forced[:9] < 0).nonzero()[:, 0]
        torch.testing.assert_close(rows[b, 1 + p + free].detach(), decoder.window.rows[b, free], **EXACT)
        compared += len(free)
    assert compared > 8


def test_gradients_reach_the_table_through_noise_and_everything_through_timesteps(
    backbone: TransformersBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against central differences, with mean and spread held fixed as the definition says."""
    batch = noisy_batch(backbone)
    fixed = objective_module.vocabulary_mean_std(backbone.embedding)
    monkeypatch.setattr(objective_module, "vocabulary_mean_std", lambda table: fixed)
    tuned = NextCleanToken(backbone.text, backbone.lm_head)
    layer = backbone.text.layers[0].self_attn
    draw = torch.Generator().manual_seed(2)
    for parameter in (backbone.embedding, layer.k_proj.weight, layer.v_proj.weight):
        (grad,) = torch.autograd.grad(tuned(**vars(batch)).mean(), parameter)
        along = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        h, ends = 1e-6, []
        with torch.no_grad():
            for step in (h, -2 * h):
                parameter.add_(along * step)
                ends.append(float(tuned(**vars(batch)).mean()))
            parameter.add_(along * h)
        torch.testing.assert_close(float((grad * along).sum()), (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-9)


def test_pure_noise_hides_the_token_and_gives_its_embedding_no_gradient() -> None:
    backbone = wide("emu3")
    grid = backbone.grid()
    batch = at_time(batch_of(backbone, ["a"]), grid.forced, 1.0)
    (grad,) = torch.autograd.grad(loss(backbone, batch).sum(), backbone.embedding)
    used = batch.tokens[0, : int(batch.prompt[0])]
    assert (grad[used].abs().sum(-1) > 0).all()
    assert not grad[backbone.ids[: backbone.V]].any()
    half = at_time(batch, grid.forced, 0.5)
    (grad,) = torch.autograd.grad(loss(backbone, half).sum(), backbone.embedding)
    assert grad[backbone.ids[: backbone.V]].any()


def test_without_noise_it_is_plain_next_token_training(backbone: TransformersBackbone) -> None:
    batch = batch_of(backbone, ["a", "abab", None])
    plain = loss(backbone, batch)
    for b, p in enumerate(batch.prompt.tolist()):
        ids = batch.tokens[b : b + 1, : p + batch.level.shape[1]]
        hidden = backbone.text(input_ids=ids, use_cache=False).last_hidden_state[0, p - 1 : -1]
        expected = torch.nn.functional.cross_entropy(backbone.lm_head(hidden), ids[0, p:], reduction="none")
        torch.testing.assert_close(plain[b], expected, **EXACT)
    timed = Batch(batch.tokens, batch.prompt, batch.level, batch.seed, time_grid(T))
    torch.testing.assert_close(loss(backbone, timed), plain, **EXACT)


def test_levels_that_nobody_has_and_padding_change_nothing(backbone: TransformersBackbone) -> None:
    batch = noisy_batch(backbone)
    more = Batch(
        torch.cat([batch.tokens, torch.full((3, 5), 7)], 1), batch.prompt, batch.level, batch.seed,
        torch.cat([batch.times, torch.ones(2)]),
    )  # fmt: skip
    torch.testing.assert_close(loss(backbone, more), loss(backbone, batch), **EXACT)


def test_logits_in_parts_change_neither_loss_nor_gradients(backbone: TransformersBackbone) -> None:
    batch = noisy_batch(backbone)
    parameters = [backbone.embedding, backbone.lm_head.weight]
    found = []
    for logits in (2**28, 10 * len(backbone.embedding)):
        nats = loss(backbone, batch, logits=logits)
        found.append([nats, *torch.autograd.grad(nats.mean(), parameters)])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, **EXACT)


def test_narrow_times_are_refused() -> None:
    backbone = wide("emu3")
    batch = noisy_batch(backbone)
    batch.times = batch.times.bfloat16()
    with pytest.raises(ValueError, match=r"times must be float32, got torch.bfloat16; does a wrapper cast the inputs"):
        loss(backbone, batch)
