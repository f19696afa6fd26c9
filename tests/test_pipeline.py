"""What a user calls, on tiny random models of both families: numbers, seeds, faults, pictures."""

from __future__ import annotations

import os
import types
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sjd2
import torch
from sjd2 import pipeline
from sjd2.backbones import Defaults, LuminaMGPT
from sjd2.backbones.tiny import chameleon_config, lumina_card, randomise, tiny_emu3, tiny_lumina, words
from sjd2.decoder import Decoder, Sampling
from sjd2.pipeline import Pipeline, settle
from sjd2.policies import get_policy
from sjd2.schedule import time_grid
from toy_backbone import Toy
from transformers import ChameleonForConditionalGeneration


@pytest.fixture(params=[tiny_lumina, tiny_emu3], ids=["lumina", "emu3"])
def pipe(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(request.param(dtype=torch.float64))


@pytest.mark.parametrize("policy", ["ar", "coupled", "sjd2", "sjd2-exact"])
def test_a_prompt_becomes_a_picture(pipe: Pipeline, policy: str) -> None:
    out = pipe.generate(
        "a dwarf", policy=policy, window=6, denoise_steps=3, guidance=2.0, num_images_per_prompt=2, seed=4
    )
    grid = pipe.backbone.grid()
    assert out.tokens.shape == (2, grid.n_tokens)
    assert [picture.size for picture in out.images] == [grid.size] * 2
    assert out.status == ["ok", "ok"]
    assert [sum(lengths) for lengths in out.accept_lengths] == [grid.n_tokens] * 2
    assert [len(lengths) for lengths in out.accept_lengths] == out.steps.tolist()
    assert out.seconds > 0
    local = {int(model_id): i for i, model_id in enumerate(pipe.backbone.ids)}
    for b in range(2):
        for token, must in zip(out.tokens[b].tolist(), grid.forced.tolist(), strict=True):
            assert local[token] == must if must >= 0 else local[token] < pipe.backbone.V


def test_seeds_and_batches(pipe: Pipeline) -> None:
    """The same seed gives the same picture in any batch; s means s, s+1, ..."""

    def tokens(prompts: Any, seed: Any, **kwargs: Any) -> torch.Tensor:
        return pipe.generate(prompts, "coupled", window=5, guidance=1.5, seed=seed, draw=False, **kwargs).tokens

    pair = tokens(["a", "bc"], 7)
    assert torch.equal(tokens("bc", 8), pair[1:])
    assert torch.equal(tokens(["bc", "x", "a"], [8, 1, 7])[[2, 0]], pair)
    assert not torch.equal(tokens("a", 9), pair[:1])
    assert torch.equal(pipe.generate(["a", "bc"], "match", window=9, guidance=1.5, seed=7, draw=False).tokens,
                       pipe.generate(["a", "bc"], "ar", guidance=1.5, seed=7, draw=False).tokens)  # fmt: skip


@pytest.mark.parametrize("policy", ["ar", "jacobi", "sjd", "sjd2", "sjd2-exact"])
def test_a_picture_alone_and_in_a_batch(pipe: Pipeline, policy: str) -> None:
    """In float64 the tokens are the same; other policies: above, and exactly on the toy model."""
    shared: dict[str, Any] = {"policy": policy, "window": 7, "denoise_steps": 3, "guidance": 1.5, "draw": False}
    three = pipe.generate(["a", "longer", "bc"], seed=[3, -4, 5], **shared)
    for b, (text, seed) in enumerate((("a", 3), ("longer", -4), ("bc", 5))):
        alone = pipe.generate(text, seed=[seed], **shared)
        assert torch.equal(alone.tokens[0], three.tokens[b])
        assert alone.accept_lengths[0] == three.accept_lengths[b]


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_how_far_a_batch_moves_the_laws(dtype: torch.dtype, apart: float) -> None:
    """The laws of the first step, alone and beside two others, in a model wide enough for blocked products."""
    config = chameleon_config(layers=4)
    config.hidden_size, config.intermediate_size = 512, 1376
    model = randomise(ChameleonForConditionalGeneration(config), 3).to(dtype).eval()
    backbone = LuminaMGPT(model, lambda text: words(config.vocab_size, text), lumina_card())
    grid, prompts = backbone.grid(), backbone.encode(["a", "longer", "bc"])
    laws = []
    for which in ([0], [0, 1, 2]):
        made = Decoder(
            backbone, get_policy("sjd"), [prompts[i] for i in which], [grid] * len(which), [7 + i for i in which],
            L=6, sampling=Sampling(2.0),
        )  # fmt: skip
        made.prefill()
        hidden = backbone.forward(*made.feed())
        laws.append(made.laws(hidden[:, :6], made.window.pos, made.window.forced)[0][0])
    assert (laws[0] - laws[1]).abs().max() <= apart
    assert laws[0].max() > 0.1


def test_images_of_a_prompt_stand_in_a_row_with_seeds_of_their_own() -> None:
    pipe = Pipeline(Toy())
    grouped = pipe.generate(["a", "bc"], "coupled", num_images_per_prompt=2, seed=7)
    listed = pipe.generate(["a", "a", "bc", "bc"], "coupled", seed=[7, 8, 9, 10])
    assert torch.equal(grouped.tokens, listed.tokens)
    assert len(grouped.images) == 4
    assert not torch.equal(grouped.tokens[0], grouped.tokens[1])


def test_greedy_decoding_equals_the_librarys_own_forward(pipe: Pipeline) -> None:
    """One full forward pass with transformers' own attention; guidance and grid on, both prompt rows."""
    backbone: Any = pipe.backbone
    outs = [
        pipe.generate(["a", "longer"], policy, window=6, guidance=2.5, temperature=0.0, draw=False).tokens
        for policy in ("ar", "coupled", "sjd2-exact")
    ]
    assert all(torch.equal(out, outs[0]) for out in outs)
    grid, text = backbone.grid(), backbone.text
    text.set_attn_implementation({"": "eager"})
    for b, prompt in enumerate(backbone.encode(["a", "longer"])):
        rows = []
        for row in (prompt.cond, prompt.uncond):
            ids = torch.cat([torch.tensor(row), outs[0][b]])[None]
            with torch.no_grad():
                hidden = text(input_ids=ids, use_cache=False).last_hidden_state
            rows.append(backbone.lm_head(hidden)[0, len(row) - 1 : -1][:, backbone.ids[: backbone.V]])
        choice = (rows[1] + 2.5 * (rows[0] - rows[1])).argmax(-1)
        assert torch.equal(outs[0][b], backbone.ids[torch.where(grid.forced >= 0, grid.forced, choice)])


def test_every_number_of_the_sampling_arrives(pipe: Pipeline) -> None:
    """One token left to choose, in four ways, and one way in which the model card says so."""

    def tokens(**numbers: Any) -> torch.Tensor:
        return pipe.generate(["a", "bc"], "coupled", window=5, draw=False, **{"guidance": 1.5, **numbers}).tokens

    greedy = tokens(temperature=0.0)
    assert torch.equal(tokens(top_k=1), greedy)
    assert torch.equal(tokens(top_p=1e-9), greedy)
    assert torch.equal(tokens(temperature=1e-5), greedy)
    pipe.backbone.defaults = Defaults({"top_k": 1})
    assert torch.equal(tokens(), greedy)
    assert not torch.equal(tokens(top_k=0), greedy)
    assert not torch.equal(tokens(temperature=0.0, guidance=4.0), greedy)


def test_the_model_cards_time_grid_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = Toy(), list[Decoder]()
    model.defaults = Defaults({"denoise_steps": 3, "spacing": "linear"})
    monkeypatch.setattr(pipeline, "Decoder", lambda *a, **k: made.append(Decoder(*a, **k)) or made[-1])
    for steps in (None, 5):
        Pipeline(model).generate("a", "sjd2", denoise_steps=steps)
    assert [each.window.times.tolist() for each in made] == [time_grid(n, "linear").tolist() for n in (3, 5)]


def test_none_means_the_model_card() -> None:
    model = Toy()
    model.defaults = Defaults({"window": 7, "guidance": 3.0, "top_k": 3}, {"sjd": {"window": 5}})
    grid, none = model.grid(), dict.fromkeys(("window", "denoise_steps", "guidance", "temperature", "top_k", "top_p"))
    assert settle(model, get_policy("coupled"), grid, none)["window"] == 7
    assert settle(model, get_policy("sjd"), grid, none)["window"] == 5
    assert settle(model, get_policy("ar"), grid, none)["window"] == 1
    values = settle(model, get_policy("sjd2"), grid, {**none, "guidance": 1.5, "denoise_steps": 4})
    assert (values["guidance"], values["denoise_steps"], values["top_k"]) == (1.5, 4, 3)
    model.defaults = Defaults({"window": 500})
    assert settle(model, get_policy("sjd"), grid, none)["window"] == grid.n_tokens


def test_a_policy_by_name_has_the_cards_options_and_an_object_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, made = Toy(), list[Decoder]()
    model.defaults = Defaults(options={"sjd2": {"draft": "sampled"}})
    monkeypatch.setattr(pipeline, "Decoder", lambda *a, **k: made.append(Decoder(*a, **k)) or made[-1])
    for policy in ("sjd2", get_policy("sjd2"), "sjd2-exact"):
        Pipeline(model).generate("a", policy)
    assert [each.policy.draft for each in made] == ["sampled", "nearest", get_policy("sjd2-exact").draft]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 12}, "window must be between 1 and the picture's 11 tokens, got 12"),
        ({"window": 0}, "window must be between 1"),
        ({"policy": "fast"}, "policy must be one of ar, jacobi"),
        ({"denoise_steps": 0}, "denoise_steps must be at least 1, got 0"),
        ({"seed": [1, 2]}, "got 1 images and 2 seeds"),
        ({"prompts": []}, "at least one, got 0 images"),
        ({"num_images_per_prompt": 0}, "at least one, got 0 images"),
        ({"negative_prompt": "bad", "guidance": 1.0}, "negative_prompt is of no use with guidance 1"),
        ({"size": (300, 2)}, "has 603 tokens, the model knows 64 positions; take a smaller size"),
        ({"prompts": "x" * 100}, "prompt 0 is too long: 101 tokens"),
        ({"guidance": float("nan")}, "guidance must be a number >= 0, got nan"),
        ({"temperature": -1.0}, "temperature must be a number >= 0, got -1.0"),
    ],
)
def test_bad_arguments_say_so(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(Toy()).generate(**{"prompts": "a", **arguments})


def test_a_prompt_is_checked_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "Decoder", lambda *_, **__: pytest.fail("it decoded"))
    pipe = Pipeline(Toy(max_positions=40))
    pipe.check("a", window=3, size=(4, 2), top_k=None)
    pipe.check("a", "ar", guidance=2.0, negative_prompt="b")
    for prompt, arguments, message in (
        ("a" * 40, {}, "prompt 0 is too long"),
        ("a", {"negative_prompt": "b" * 40, "guidance": 2.0}, "prompt 0 is too long"),
        ("a", {"negative_prompt": "b", "guidance": 1.0}, "negative_prompt is of no use"),
        ("a", {"window": 99}, "window must be between 1 and"),
        ("a", {"policy": "sjd3"}, "policy must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            pipe.check(prompt, **arguments)


def test_trouble_in_one_image_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    model = Toy()

    def head(self: Toy, hidden: torch.Tensor) -> torch.Tensor:
        logits = Toy.head(self, hidden)
        logits[1, :, 0] = torch.inf
        return logits

    model.head = types.MethodType(head, model)  # type: ignore[method-assign]
    out = Pipeline(model).generate(["a", "b", "c"])
    assert out.status == ["ok", "+inf in the logits", "ok"]
    assert len(out.images) == 3
    assert "image 1: +inf in the logits" in caplog.text


def test_a_model_without_a_picture_decoder_still_gives_tokens(caplog: pytest.LogCaptureFixture) -> None:
    backbone = tiny_lumina()
    backbone.pictures = None
    out = Pipeline(backbone).generate("a", "coupled", window=5)
    assert out.images == []
    assert "no pictures: tiny-lumina: cannot draw the picture" in caplog.text
    assert (out.tokens >= 0).all()


def test_a_broken_picture_decoder_is_an_error_and_its_hunger_is_not(caplog: pytest.LogCaptureFixture) -> None:
    backbone = tiny_emu3()

    def broken(codes: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    def hungry(codes: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("a picture too many")

    backbone.pictures = broken
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Pipeline(backbone).generate("a", "coupled", window=5)
    backbone.pictures = hungry
    out = Pipeline(backbone).generate("a", "coupled", window=5)
    assert out.images == []
    assert "no pictures: a picture too many" in caplog.text


def test_the_callback_sees_every_step_and_may_end_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption passes through, leaves no file, and nothing behind that the next call would feel."""
    monkeypatch.chdir(tmp_path)
    pipe, seen = Pipeline(Toy()), list[tuple[int, list[int]]]()
    expected = pipe.generate(["a", "bc"], "coupled", seed=3, callback=lambda *args: seen.append(args))
    assert [step for step, _ in seen] == list(range(2, len(seen) + 2))
    assert seen[-1][1] == [11, 11]
    assert len(seen) == int(expected.steps.max())

    def interrupt(steps: int, committed: list[int]) -> None:
        if steps == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.generate(["a", "bc"], "coupled", seed=3, callback=interrupt)
    assert os.listdir(tmp_path) == []
    assert torch.equal(pipe.generate(["a", "bc"], "coupled", seed=3).tokens, expected.tokens)


class Bar:
    """What tqdm is asked to show."""

    def __init__(self, total: int, unit: str, disable: bool | None) -> None:
        self.total, self.shown, self.closed, self.disable = total, list[int](), False, disable

    def update(self, more: int) -> None:
        self.shown.append(more)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_bar_counts_committed_tokens(monkeypatch: pytest.MonkeyPatch, interrupted: bool) -> None:
    bars: list[Bar] = []
    monkeypatch.setattr("tqdm.tqdm", lambda **options: bars.append(Bar(**options)) or bars[-1])

    def interrupt(steps: int, committed: list[int]) -> None:
        if interrupted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
        Pipeline(Toy()).generate(["a", "bc"], "coupled", callback=interrupt)
    [bar] = bars
    assert bar.closed
    assert bar.total == 22
    assert bar.disable is None  # tqdm's word for: quiet where there is no terminal
    assert (sum(bar.shown) == 22) != interrupted
    assert min(bar.shown) >= 0


def test_seconds_are_those_of_prefill_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the model moves: a forward pass is 1 s, the timestep tokens 100 s, the picture 1000 s."""
    now = [0.0]
    monkeypatch.setattr(pipeline, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    class Clocked(Toy):
        def forward(self, *args: Any) -> torch.Tensor:
            now[0] += 1
            return super().forward(*args)

        def timestep_kv(self, times: torch.Tensor) -> Any:
            now[0] += 100
            return super().timestep_kv(times)

        def decode(self, codes: torch.Tensor) -> torch.Tensor:
            now[0] += 1000
            return super().decode(codes)

    out = Pipeline(Clocked()).generate("abc", "sjd2", denoise_steps=2)
    assert out.seconds == 1 + int(out.steps) + 1  # prefill, steps, and the one that the late flag costs
    assert out.picture_seconds == 1000


def test_half_precision(pipe: Pipeline) -> None:
    make = tiny_lumina if "lumina" in pipe.backbone.name else tiny_emu3
    for dtype in (torch.bfloat16, torch.float16):
        out = Pipeline(make(dtype=dtype)).generate("a", "sjd2", window=5, denoise_steps=2, guidance=2.0)
        assert out.status == ["ok"]


def test_the_package_offers_what_the_documents_name() -> None:
    for name in sjd2.__all__:
        assert getattr(sjd2, name) is not None
    with pytest.raises(AttributeError, match="module 'sjd2' has no attribute 'nothing'"):
        sjd2.nothing  # noqa: B018
