"""Hidden states through `window_attention` against transformers' own full forward, on tiny random models in float64.

The library's norms round to float32 even in a float64 model; the fixture computes them in float64 on both sides, so
that what is compared is masks, positions and caches, to 1e-10. Weights are large enough that a wrong mask moves hidden
states by 0.01 and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from _models import wide_norms
from sjd2.backbones import Attend, Backbone, TransformersBackbone
from sjd2.backbones.noise_space import timestep_embedding
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

EXACT = {"rtol": 0.0, "atol": 1e-10}
FAMILIES: dict[str, Callable[..., TransformersBackbone]] = {
    "lumina": tiny_lumina,
    "lumina-swin": lambda **k: tiny_lumina(swin_norm=True, **k),
    "emu3": tiny_emu3,
}
INT = torch.int32


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=FAMILIES, scope="module")
def backbone(request: pytest.FixtureRequest) -> TransformersBackbone:
    made = FAMILIES[request.param](dtype=torch.float64, seed=3)
    wide_norms(made.text)
    return made


def cache(backbone: Backbone, R: int, S: int) -> tuple[list[Tensor], list[Tensor]]:
    """Empty caches full of NaN: whatever reads beyond kv_len shows."""
    d = backbone.dims
    k, v = (
        [torch.full((R, d.Hkv, S, d.D), float("nan"), dtype=backbone.dtype) for _ in range(d.layers)] for _ in range(2)
    )
    return k, v


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=INT)


def random_ids(backbone: Backbone, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, len(backbone.embedding), shape, generator=generator)


@torch.no_grad()
def full(backbone: TransformersBackbone, ids: Tensor) -> Tensor:
    """The library's forward over one whole sequence [n], with its own causal attention."""
    return backbone.text(input_ids=ids[None], use_cache=False).last_hidden_state[0]


def ragged(ids: Tensor, lengths: list[int], M: int) -> tuple[Tensor, Tensor, Tensor]:
    """Right-aligned prompts: ids [R, M], positions [R, M], q_start [R]."""
    R = len(lengths)
    out, positions = torch.zeros(R, M, dtype=torch.long), torch.zeros(R, M, dtype=torch.long)
    for r, n in enumerate(lengths):
        out[r, M - n :], positions[r, M - n :] = ids[r, :n], torch.arange(n)
    return out, positions, torch.tensor([M - n for n in lengths], dtype=INT)


def test_prefill_in_one_call_equals_the_full_forward_for_rows_of_any_length(backbone: TransformersBackbone) -> None:
    lengths, M = [11, 1, 7], 11
    source = random_ids(backbone, 3, M)
    ids, positions, q_start = ragged(source, lengths, M)
    k, v = cache(backbone, 3, 16)
    out = backbone.forward(backbone.rows(ids), positions, Attend(k, v, ints(0, 0, 0), q_start))
    for r, n in enumerate(lengths):
        torch.testing.assert_close(out[r, M - n :], full(backbone, source[r, :n]), **EXACT)
    assert torch.isnan(k[0][1, :, 1:]).all(), "only the row's own length may be written"


def test_window_steps_with_rejected_and_refed_rows_equal_the_full_forward(backbone: TransformersBackbone) -> None:
    """Steps of 5 rows at different cache lengths per row; each step some rows' keys are dropped by a length that does
    not move.
    """
    R, M, S = 2, 5, 40
    truth = random_ids(backbone, R, S, seed=1)
    k, v = cache(backbone, R, S)
    lengths = [6, 3]
    ids, positions, q_start = ragged(truth, lengths, 6)
    backbone.forward(backbone.rows(ids), positions, Attend(k, v, ints(0, 0), q_start))
    kv_len = torch.tensor(lengths, dtype=INT)
    for step, (kept, unused) in enumerate([((3, 5), (0, 2)), ((1, 2), (1, 0)), ((4, 1), (0, 4)), ((2, 3), (3, 0))]):
        start = torch.tensor(unused, dtype=INT)
        offset = torch.arange(M) - start[:, None]
        where = (kv_len[:, None] + offset).clamp(min=0).long()
        guess = truth.gather(1, where)
        for r in range(R):  # rows beyond the kept ones hold drafts that will be rejected
            guess[r, int(start[r]) + kept[r] :] = random_ids(backbone, M, seed=50 + step)[int(start[r]) + kept[r] :]
        out = backbone.forward(backbone.rows(guess), where, Attend(k, v, kv_len, start))
        for r in range(R):
            live = guess[r, int(start[r]) :]
            expected = full(backbone, torch.cat([truth[r, : int(kv_len[r])], live]))[-len(live) :]
            torch.testing.assert_close(out[r, int(start[r]) :], expected, **EXACT)
        kv_len = kv_len + torch.tensor([min(n, M - u) for n, u in zip(kept, unused, strict=True)], dtype=INT)


def test_token_by_token_logits_equal_the_full_forward(backbone: TransformersBackbone) -> None:
    ids = random_ids(backbone, 12, seed=2)
    k, v = cache(backbone, 1, 12)
    steps = []
    for n in range(12):
        row = backbone.rows(ids[None, n : n + 1])
        hidden = backbone.forward(row, torch.tensor([[n]]), Attend(k, v, ints(n), ints(0)))
        steps.append(backbone.head(hidden)[0, 0])
    hidden = full(backbone, ids)
    everything = hidden @ backbone.lm_head.weight.detach().T
    first = int(backbone.ids[0])
    torch.testing.assert_close(torch.stack(steps), everything[:, first : first + backbone.V], **EXACT)
    assert everything[:, first : first + backbone.V].std() > 0.1


def test_head_gathers_rows_where_image_ids_are_not_consecutive() -> None:
    from sjd2.backbones import LuminaMGPT
    from sjd2.backbones.tiny import lumina_card

    straight = tiny_lumina()
    backwards = LuminaMGPT(
        _model_of(straight), straight.tokenize, lumina_card(), straight.pictures, image_ids=list(range(11, 3, -1))
    )
    hidden = torch.randn(2, 3, 64)
    torch.testing.assert_close(backwards.head(hidden), straight.head(hidden).flip(-1))
    tokens = torch.where(backwards.grid().forced < 0, torch.tensor(11), torch.tensor(0))
    assert (backwards.codes(tokens, backwards.grid()) == 0).all()


def _model_of(backbone: TransformersBackbone) -> nn.Module:
    holder = nn.Module()
    holder.model, holder.lm_head = backbone.text, backbone.lm_head
    return holder


def explicit_timesteps(
    backbone: TransformersBackbone, ids: Tensor, noisy: Tensor, level: Tensor, times: Tensor
) -> Tensor:
    """The library's forward with the timesteps as real rows in front and an explicit mask: [T+1 timesteps | ids | noisy
    rows].
    """
    T1, n, M = len(times), len(ids), len(noisy)
    clock = timestep_embedding(times, backbone.mean, backbone.std).to(backbone.dtype)
    rows = torch.cat([clock, backbone.rows(ids), noisy])[None]
    total = T1 + n + M
    allowed = torch.zeros(total, total, dtype=torch.bool)
    allowed[:T1, :T1] = torch.eye(T1, dtype=torch.bool)
    allowed[T1:, T1:] = torch.ones(n + M, n + M).tril().bool()
    for m in range(M):
        if level[m] > 0:
            allowed[T1 + n + m, int(level[m])] = True
    positions = torch.cat([torch.zeros(T1, dtype=torch.long), torch.arange(n + M)])[None]
    with torch.no_grad():
        out = backbone.text(
            inputs_embeds=rows, attention_mask=allowed[None, None], position_ids=positions, use_cache=False
        )
    return out.last_hidden_state[0, T1 + n :]


def test_timestep_constants_equal_explicit_timestep_rows_and_mask(backbone: TransformersBackbone) -> None:
    times = torch.tensor([0.0, 0.1, 0.4, 0.7, 1.0], dtype=torch.float64)
    n, M = 6, 7
    ids = random_ids(backbone, n, seed=4)
    generator = torch.Generator().manual_seed(5)
    noisy = torch.randn(M, 64, generator=generator, dtype=torch.float64)
    level = torch.tensor([0, 1, 1, 3, 0, 4, 2], dtype=INT)
    time_k, time_v = backbone.timestep_kv(times)
    k, v = cache(backbone, 1, 20)
    attend = Attend(k, v, ints(0), ints(0))
    backbone.forward(backbone.rows(ids[None]), torch.arange(n)[None], attend)

    def window(level: Tensor) -> Tensor:
        attend = Attend(k, v, ints(n), ints(0), time_k, time_v, level[None])
        return backbone.forward(noisy[None], torch.arange(n, n + M)[None], attend)[0]

    got = window(level)
    torch.testing.assert_close(got, explicit_timesteps(backbone, ids, noisy, level, times), **EXACT)
    other = level.clone()
    other[3] = 2  # the neighbouring level: the comparison must notice
    assert (window(other)[3] - got[3]).abs().max() > 1e-3
    assert torch.equal(window(other)[:3], got[:3])


def test_timestep_keys_are_those_of_a_token_alone_at_position_zero(backbone: TransformersBackbone) -> None:
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    time_k, time_v = backbone.timestep_kv(times)
    row = timestep_embedding(times, backbone.mean, backbone.std).to(backbone.dtype)[1][None, None]
    with torch.no_grad():
        held = backbone.text(inputs_embeds=row, use_cache=True).past_key_values
    for layer in range(backbone.dims.layers):
        assert time_k[layer].shape == (3, backbone.dims.Hkv, backbone.dims.D)
        torch.testing.assert_close(time_k[layer][1], held.layers[layer].keys[0, :, 0], **EXACT)
        torch.testing.assert_close(time_v[layer][1], held.layers[layer].values[0, :, 0], **EXACT)


def test_shadow_rows_see_the_hard_context_left_of_them_and_are_seen_by_none(backbone: TransformersBackbone) -> None:
    """A window of 1 re-feed and 3 slots with 2 shadow rows; shadow j must equal the last row of a window cut before
    slot j.
    """
    ids = random_ids(backbone, 5, seed=6)
    generator = torch.Generator().manual_seed(7)
    slots, shadows = (torch.randn(n, 64, generator=generator, dtype=torch.float64) for n in (4, 2))
    k, v = cache(backbone, 1, 24)
    backbone.forward(backbone.rows(ids[None]), torch.arange(5)[None], Attend(k, v, ints(0), ints(0)))
    rows = torch.cat([slots, shadows])[None]
    positions = torch.tensor([[5, 6, 7, 8, 6, 7]])  # shadow j repeats the position of window slot j, which is row 1 + j
    got = backbone.forward(rows, positions, Attend(k, v, ints(5), ints(0), shadow=2))[0]
    plain = backbone.forward(rows[:, :4], positions[:, :4], Attend(k, v, ints(5), ints(0)))[0]
    torch.testing.assert_close(got[:4], plain, **EXACT)
    for j in range(2):
        cut = torch.cat([slots[: 1 + j], shadows[j : j + 1]])[None]
        alone = backbone.forward(cut, torch.arange(5, 5 + 2 + j)[None], Attend(k, v, ints(5), ints(0)))[0, -1]
        torch.testing.assert_close(got[4 + j], alone, **EXACT)


def test_lumina_unconditional_row_equals_the_masked_row_of_the_published_loop() -> None:
    """There, everything before the last prompt token is masked and positions count visible tokens; here it is a prompt
    of one token.
    """
    backbone = tiny_lumina(dtype=torch.float64, seed=3)
    wide_norms(backbone.text)
    prompt = backbone.encode(["abc"])[0]
    drawn = random_ids(backbone, 6, seed=8)
    whole = torch.cat([torch.tensor(prompt.cond), drawn])[None]
    hidden = len(prompt.cond) - 1
    mask = torch.ones_like(whole)
    mask[:, :hidden] = 0
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    with torch.no_grad():
        expected = backbone.text(input_ids=whole, attention_mask=mask, position_ids=positions, use_cache=False)
    ids = torch.cat([torch.tensor(prompt.uncond), drawn])[None]
    k, v = cache(backbone, 1, 16)
    n = ids.shape[1]
    got = backbone.forward(backbone.rows(ids), torch.arange(n)[None], Attend(k, v, ints(0), ints(0)))
    torch.testing.assert_close(got[0], expected.last_hidden_state[0, hidden:], **EXACT)
    # rotary attention knows differences only: the same row at the conditional row's positions says the same
    moved = backbone.forward(
        backbone.rows(ids), torch.arange(n)[None] + hidden, Attend(*cache(backbone, 1, 16), ints(0), ints(0))
    )
    torch.testing.assert_close(moved, got, rtol=0, atol=1e-5)  # the library's rotary tables are float32


def test_emu3_guidance_rows_equal_a_left_padded_batch_with_its_own_positions() -> None:
    backbone = tiny_emu3(dtype=torch.float64, seed=3)
    wide_norms(backbone.text)
    prompt = backbone.encode(["a"])[0]
    assert prompt.uncond is not None
    assert len(prompt.uncond) != len(prompt.cond)
    lengths = [len(prompt.cond), len(prompt.uncond)]
    M = max(lengths)
    padded, mask = torch.zeros(2, M, dtype=torch.long), torch.zeros(2, M, dtype=torch.long)
    for r, row in enumerate((prompt.cond, prompt.uncond)):
        padded[r, M - len(row) :], mask[r, M - len(row) :] = torch.tensor(row), 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = backbone.text(input_ids=padded, attention_mask=mask, position_ids=positions, use_cache=False)
    start = torch.tensor([M - n for n in lengths], dtype=INT)
    k, v = cache(backbone, 2, M)
    got = backbone.forward(backbone.rows(padded), positions, Attend(k, v, ints(0, 0), start))
    for r, n in enumerate(lengths):
        torch.testing.assert_close(got[r, M - n :], expected.last_hidden_state[r, M - n :], **EXACT)


def test_finished_images_are_skipped_and_leave_the_others_alone(backbone: TransformersBackbone) -> None:
    ids = random_ids(backbone, 4, 5, seed=9)  # two images, conditional rows first
    positions = torch.arange(5).expand(4, -1)
    k, v = cache(backbone, 4, 8)
    nothing = torch.zeros(4, dtype=INT)
    got = backbone.forward(backbone.rows(ids), positions, Attend(k, v, nothing, nothing, done=ints(1, 0)))
    assert torch.isfinite(got).all()
    for r in (1, 3):
        torch.testing.assert_close(got[r], full(backbone, ids[r]), **EXACT)
    assert torch.isnan(k[1][0]).all()
    assert torch.isnan(k[1][2]).all()


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_dtypes_lose_at_most_twice_what_the_library_loses(
    make: Callable[..., TransformersBackbone], dtype: torch.dtype
) -> None:
    narrow = make(dtype=dtype, seed=3)
    ids = random_ids(narrow, 24, seed=10)
    k, v = cache(narrow, 1, 24)
    got = narrow.forward(narrow.rows(ids[None]), torch.arange(24)[None], Attend(k, v, ints(0), ints(0)))[0]
    assert got.dtype == dtype
    library = full(narrow, ids)
    exact = make(dtype=dtype, seed=3)
    exact.text.double()
    truth = full(exact, ids)
    ours, theirs = ((x.double() - truth).square().mean().sqrt() for x in (got, library))
    assert ours <= 2 * theirs + 1e-7, f"{ours:.2e} against {theirs:.2e}"


def test_library_eager_attention_agrees_too(backbone: TransformersBackbone) -> None:
    """The library's eager attention, with its float32 softmax."""
    ids = random_ids(backbone, 20, seed=11)
    k, v = cache(backbone, 1, 20)
    got = backbone.forward(backbone.rows(ids[None]), torch.arange(20)[None], Attend(k, v, ints(0), ints(0)))[0]
    backbone.text.set_attn_implementation({"": "eager"})
    try:
        expected = full(backbone, ids)
    finally:
        from sjd2.backbones.attention import attach

        attach(backbone.text)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


class NoHostRead(TorchDispatchMode):
    """Any read of a device value on the host is an error."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            raise AssertionError("a device value was read on the host")
        return func(*args, **(kwargs or {}))


def test_a_forward_pass_reads_nothing_on_the_host(backbone: TransformersBackbone) -> None:
    """The library looks for packed sequences in position ids that do not start at 0, which would synchronise every
    step.
    """
    ids = random_ids(backbone, 2, 4, seed=12)
    k, v = cache(backbone, 2, 16)
    time_k, time_v = backbone.timestep_kv(torch.linspace(0, 1, 4))
    level = torch.tensor([[0, 1, 2, 3]] * 2, dtype=INT)
    attend = Attend(k, v, ints(0, 0), ints(1, 0), time_k, time_v, level, ints(0, 0))
    rows, positions = backbone.rows(ids), torch.tensor([[7, 3, 3, 9], [2, 2, 2, 2]])
    with NoHostRead():
        hidden = backbone.forward(rows, positions, attend)
        backbone.head(hidden)
    with pytest.raises(AssertionError, match="read on the host"), NoHostRead(), torch.no_grad():
        backbone.text(
            inputs_embeds=rows, position_ids=positions, use_cache=False
        )  # the guard notices the library's look


def test_rows_and_positions_must_fit() -> None:
    backbone = tiny_emu3()
    k, v = cache(backbone, 1, 4)
    with pytest.raises(
        ValueError, match=r"rows must be \[R, M, 64\] and positions \[R, M\], got \(1, 2, 64\) and \(1, 3\)"
    ):
        backbone.forward(torch.zeros(1, 2, 64), torch.zeros(1, 3, dtype=torch.long), Attend(k, v, ints(0), ints(0)))


def test_a_model_in_training_mode_is_put_to_evaluation() -> None:
    backbone = tiny_emu3()
    backbone.text.config.attention_dropout = 0.1
    backbone.text.train()
    from sjd2.backbones import Emu3
    from sjd2.backbones.tiny import emu3_card

    again = Emu3(_model_of(backbone), backbone.tokenize, emu3_card())
    assert not any(module.training for module in again.text.modules())
