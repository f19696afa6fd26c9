"""What a user calls, on tiny random models of both families: numbers, seeds, faults, pictures."""

from __future__ import annotations

import types
from typing import Any

import pytest
import sjd2
import torch
from sjd2.backbones import Defaults
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.pipeline import Pipeline, settle
from sjd2.policies import get_policy
from toy_backbone import Toy


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 12}, "window must be between 1 and the picture's 11 tokens, got 12"),
        ({"window": 0}, "window must be between 1"),
        ({"policy": "fast"}, "policy must be one of ar, jacobi"),
        ({"denoise_steps": 0}, "denoise_steps must be at least 1, got 0"),
        ({"seed": [1, 2]}, "got 1 images and 2 seeds"),
        ({"prompts": []}, "at least one, got 0 images"),
        ({"prompts": "x" * 100}, "prompt 0 is too long: 101 tokens"),
        ({"guidance": float("nan")}, "guidance must be a number >= 0, got nan"),
        ({"temperature": -1.0}, "temperature must be a number >= 0, got -1.0"),
    ],
)
def test_bad_arguments_say_so(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(Toy()).generate(**{"prompts": "a", **arguments})


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
