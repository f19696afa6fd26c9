"""`sjd2 generate`: a checkpoint's folder to files, options to the pipeline, and what is refused before loading."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sjd2
import torch
from PIL import Image
from safetensors.torch import save_file
from sjd2 import cli
from sjd2.backbones.card import save_card
from sjd2.backbones.tiny import chameleon_config, lumina_card, tiny_emu3, tiny_lumina
from sjd2.commands._models import find_device, load_model, thread_limit
from sjd2.pipeline import Pipeline
from sjd2.png import enlarge
from tokenizers import Tokenizer, models, pre_tokenizers


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """One thread for models this small; log level and threads as they were."""
    logger, level, threads = logging.getLogger("sjd2"), logging.getLogger("sjd2").level, torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", *arguments])
    return stop.value.code or 0


def save(folder: Path) -> Path:
    """`tiny_lumina` as a checkpoint: weights, picture decoder inside, a tokenizer that knows words, a card."""
    backbone = tiny_lumina()
    decoder = backbone.pictures.__self__  # type: ignore[union-attr]
    state = {f"model.{name}": value for name, value in backbone.text.state_dict().items()}
    state |= {f"model.vqmodel.{name}": value for name, value in decoder.state_dict().items()}
    state["lm_head.weight"] = backbone.lm_head.weight.detach()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(chameleon_config().to_dict()))
    words = {word: 26 + i for i, word in enumerate(("12x8", "a", "dwarf", "crown"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_card(lumina_card(), folder)
    return folder


def test_a_checkpoint_draws_what_its_pipeline_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = save(tmp_path), tmp_path / "out" / "hero.png"
    numbers = ["--window", "6", "--denoise-steps", "3", "--guidance", "2", "--seed", "5", "--dtype", "float32"]
    assert run("a dwarf", "--model", str(folder), "-o", str(file), "--device", "cpu", *numbers) == 0
    expected = sjd2.load(folder, dtype=torch.float32).generate(
        "a dwarf", "sjd2", window=6, denoise_steps=3, guidance=2.0, seed=5
    )
    steps = int(expected.steps[0])
    assert 0 < steps < 33
    assert re.fullmatch(
        re.escape(f"{file}: {steps} steps, step compression {33 / steps:.1f}, ") + r"\d+\.\d s\n",
        capsys.readouterr().out,
    )
    with Image.open(file) as drawn:
        assert drawn.size == (12 * 43, 8 * 43)  # 516 x 344: the longer side has 512 pixels or a little more
        assert np.array_equal(np.asarray(drawn), np.asarray(enlarge(expected.images[0], 43)))
        text = dict(drawn.text)
    assert text.pop("Software").startswith("sjd2-kernels ")
    assert text == {
        "prompt": "a dwarf", "model": str(folder), "policy": "sjd2", "seed": "5", "steps": str(steps), "tokens": "33",
        "window": "6", "denoise_steps": "3", "guidance": "2.0", "temperature": "1.0", "top_p": "1.0", "scale": "43",
    }  # fmt: skip


@pytest.fixture(params=[tiny_lumina, tiny_emu3], ids=["lumina", "emu3"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    """A tiny model in place of every model, and an empty folder to work in."""
    loaded = Pipeline(request.param())
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: loaded)
    monkeypatch.chdir(tmp_path)
    return loaded


def test_several_pictures_are_numbered_and_count_on_from_the_seed(
    pipe: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("a", "--count", "3", "--seed", "8", "--scale", "1", "-o", "a.png", "--policy", "ar") == 0
    lines = capsys.readouterr().out.splitlines()
    N = pipe.backbone.grid().n_tokens
    assert lines[:3] == [f"a-{n}.png: {N} steps, step compression 1.0" for n in (1, 2, 3)]
    assert re.fullmatch(r"3 pictures in \d+\.\d s", lines[3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.png", "a-3.png"]
    third = pipe.generate("a", "ar", seed=10).images[0]
    with Image.open("a-3.png") as drawn:
        assert drawn.text["seed"] == "10"
        assert np.array_equal(np.asarray(drawn), np.asarray(third))


def test_every_option_reaches_the_pipeline(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    draw = pipe.generate

    def generate(prompt: str, **arguments: Any) -> Any:
        given.update(arguments, prompt=prompt)
        return draw(prompt, seed=arguments["seed"])

    monkeypatch.setattr(pipe, "generate", generate)
    assert run("a b", "--policy", "coupled", "--window", "7", "--denoise-steps", "4", "--guidance", "1.5", "--graph",
               "--temperature", "0.9", "--top-k", "3", "--top-p", "0.8", "--negative-prompt", "c", "--size", "8x4",
               "--seed", "-6", "--count", "1") == 0  # fmt: skip
    assert given.pop("policy") == "coupled"
    assert given == {
        "prompt": "a b", "window": 7, "denoise_steps": 4, "guidance": 1.5, "temperature": 0.9, "top_k": 3,
        "top_p": 0.8, "negative_prompt": "c", "size": (8, 4), "seed": -6, "num_images_per_prompt": 1, "graph": True,
    }  # fmt: skip
    assert run("a") == 0
    left_out = ("window", "denoise_steps", "guidance", "top_k", "negative_prompt", "size")
    assert [given[name] for name in left_out] == [None] * 6
    assert (given["temperature"], given["top_p"], given["seed"], given["graph"]) == (1.0, 1.0, 0, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.jpg"], "out must be the name of a .png file, got a.jpg"),
        (["--policy", "sjd3"], "policy must be one of ar, .*; did you mean 'sjd"),
        (["--size", "12"], "size must be WIDTHxHEIGHT in pixels, such as 768x512, got '12'"),
        (["--dtype", "int8"], "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        (["--device", "tpu"], "device must be cpu, cuda or cuda:N, got 'tpu'"),
        (["--device", "cuda:99"], "device cuda:99: torch .* sees . CUDA devices here"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert run("a", *words) == 2
    assert re.fullmatch(f"sjd2: {message}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either a prompt, in quotes, or a file of them by --prompts"),
        (["a", "--prompts", "a.txt"], "give either a prompt, in quotes, or a file of them by --prompts"),
        (["a", "--batch", "1"], "--batch, --shard and --workers are for a file of prompts"),
        (["a", "--shard", "1/2"], "--batch, --shard and --workers are for a file of prompts"),
        (["a", "--workers", "2"], "--batch, --shard and --workers are for a file of prompts"),
    ],
)
def test_a_prompt_or_a_file(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_what_the_pipeline_refuses_is_one_line_and_no_file(
    pipe: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("a", "--window", "99") == 2
    N = pipe.backbone.grid().n_tokens
    expected = f"sjd2: generate: window must be between 1 and the picture's {N} tokens, got 99\n"
    assert capsys.readouterr().err == expected
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_picture_decoder_is_refused_before_it_decodes(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe.backbone.pictures = None
    monkeypatch.setattr(pipe, "generate", lambda *_, **__: pytest.fail("it decoded"))
    assert run("a") == 2
    assert re.fullmatch(r"sjd2: tiny-\w+: cannot draw pictures: .*\(option --vq\)\n", capsys.readouterr().err)


def test_a_picture_decoder_that_fails_is_an_error(pipe: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(codes: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    pipe.backbone.pictures = broken
    assert run("a") == 2
    assert capsys.readouterr().err.endswith("sjd2: there are no pictures, for the reason given above\n")


def test_pictures_from_bad_logits_are_written_and_exit_with_1(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = pipe.backbone.head
    monkeypatch.setattr(pipe.backbone, "head", lambda hidden: head(hidden) * torch.nan)
    assert run("a", "--policy", "ar") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_device_and_dtype_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, torch.dtype | None, dict[str, Any]]] = []

    def load(model: str, *, device: torch.device, dtype: torch.dtype | None, **options: Any) -> Pipeline:
        seen.append((model, str(device), dtype, options))
        return Pipeline(tiny_lumina())

    monkeypatch.setattr(sjd2, "load", load)
    for has_gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        monkeypatch.setattr(torch.cuda, "device_count", lambda has_gpu=has_gpu: int(has_gpu))
        load_model("heroes-emu3")
        load_model("some/folder", vq=None, tokenizer="words")
    load_model("heroes-emu3", device="cpu", dtype="float16")
    load_model("heroes-emu3", device="cuda", dtype="bfloat16")
    assert seen == [
        ("heroes-emu3", "cpu", None, {}),
        ("some/folder", "cpu", None, {"tokenizer": "words"}),
        ("heroes-emu3", "cuda:0", None, {}),
        ("some/folder", "cuda:0", None, {"tokenizer": "words"}),
        ("heroes-emu3", "cpu", torch.float16, {}),
        ("heroes-emu3", "cuda:0", torch.bfloat16, {}),
    ]
    for name in ("cpu:0", "cuda:x", "cuda:-1", ""):
        with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:N"):
            find_device(name or "gpu")


def test_weights_that_do_not_fit_on_the_device_are_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> Pipeline:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(sjd2, "load", load)
    with pytest.raises(MemoryError, match=r"big/one does not fit on cpu: CUDA out of memory"):
        load_model("big/one", device="cpu")


def test_small_models_run_on_one_thread(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    with thread_limit(pipe) as threads:
        assert (threads, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == 2
    monkeypatch.setattr("sjd2.commands._models.SMALL", 1)
    with thread_limit(pipe) as threads:
        assert (threads, torch.get_num_threads()) == (2, 2)
