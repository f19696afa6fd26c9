"""The embedded models: grammar, words, checkpoints, and prompts in anybody's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sjd2
import torch
from sjd2.backbones.card import data_set_of
from sjd2.finetune.sequences import sequences
from sjd2.heroes import captions, parts, stream
from sjd2.heroes.hero import Hero
from sjd2.heroes.model import LARGE, NAMES, PATCHES, PROMPT, Shape, build, drawn, save, understanding, word_tokenizer

TINY = Shape(C=32, layers=1, H=2, ffn=32)
PROMPT_TEXT = "on a green background: a dwarf, golden crown, blue robe"


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("heroes") / request.param
    save(build(request.param, TINY), made, TINY)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_size(name: str) -> None:
    model = build(name)
    weights = sum(p.numel() for part in (model.text, model.lm_head) for p in part.parameters())
    assert weights <= 4_000_000
    assert model.grid().n_tokens == (277 if name == "heroes-lumina" else 275)
    assert model.dims.max_positions >= PROMPT + model.grid().n_tokens


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_one_code_per_pixel_in_the_large_one(name: str) -> None:
    grid = build(name, Shape(C=32, layers=1, H=2, ffn=32, pixels=True)).grid()
    assert (grid.height, grid.width) == (32, 32)
    assert LARGE.pixels


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_what_decoding_writes(name: str) -> None:
    """Prompt, then the forced tokens where the grid has them, then the same codes back."""
    model = build(name, TINY)
    grid = model.grid()
    texts, codes = stream.batch(3, 0, 6, TINY.codes)
    codes = torch.from_numpy(codes)
    prompts = [text or None for text in texts]
    tokens, length = sequences(model, grid, prompts, codes, PROMPT + grid.n_tokens)
    for row, n, text in zip(tokens, length.tolist(), prompts, strict=True):
        (encoded,) = model.encode([text or ""])
        assert tuple(row[:n]) == (encoded.cond if text else encoded.uncond)
        assert not row[n + grid.n_tokens :].any()
        forced = grid.forced >= 0
        assert torch.equal(row[n : n + grid.n_tokens][forced], model.ids[grid.forced[forced]])
    pictures = torch.stack([row[n : n + grid.n_tokens] for row, n in zip(tokens, length.tolist(), strict=True)])
    assert torch.equal(model.codes(pictures, grid), codes)


def test_rows_that_do_not_fit_are_refused() -> None:
    model = build(NAMES[0], TINY)
    codes = torch.zeros(1, 16, 16, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"a prompt of 8 tokens does not fit: 280 rows are 3 for the prompt"):
        sequences(model, model.grid(), ["the human on a green background"], codes, 280)
    with pytest.raises(ValueError, match=r"codes must have shape \[B, 16, 16\]"):
        sequences(model, model.grid(), ["the human"], codes[:, 1:])
    with pytest.raises(ValueError, match=r"codes must be in 0..2047"):
        sequences(model, model.grid(), ["the human"], codes - 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_a_caption_has_an_id_of_its_own(name: str) -> None:
    model = build(name, TINY)
    known = word_tokenizer(model.card).get_vocab()
    assert set(captions.vocabulary()) <= set(known)
    assert len(set(known.values())) == len(known)
    assert min(known.values()) > int(model.ids.max())
    assert max(known.values()) + 1 == len(model.embedding)


def test_the_longest_caption_fits() -> None:
    """Of each slot the part with the longest phrase, in both captions with a head piece and with hair."""
    longest = {slot: max(parts.names(slot), key=lambda name: len(phrase(slot, name))) for slot in parts.SLOTS}
    for other in ("head", "hair"):
        worn = {slot: name for slot, name in longest.items() if slot != other}
        text = captions.caption(Hero("purple", True, worn))
        for name in NAMES:
            model = build(name, TINY)
            (prompt,) = model.encode([text])
            assert len(prompt.cond) <= PROMPT, text


def test_a_loaded_checkpoint_says_the_same(folder: Path) -> None:
    """Weights, grammar, and the same ids for the same hero in any words."""
    model = sjd2.load(folder).backbone
    assert data_set_of(folder) == PATCHES
    assert model.dtype == torch.float32  # small models: bfloat16 on disk, float32 in memory
    first = build(folder.name, TINY)
    theirs, ours = dict(first.text.named_parameters()), dict(model.text.named_parameters())
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key].bfloat16().float(), ours[key]) for key in ours)
    plain = first.encode([captions.canonical(PROMPT_TEXT)])
    assert model.encode([PROMPT_TEXT]) == plain
    with pytest.raises(ValueError, match=r'unknown words: "dwraf" \(did you mean "dwarf"'):
        model.encode(["the dwraf"])


def test_a_loaded_checkpoint_draws(folder: Path) -> None:
    out = sjd2.load(folder).generate(PROMPT_TEXT, policy="sjd", window=64, seed=2)
    assert out.images[0].size == (32, 32)
    assert out.status == ["ok"]


def test_an_unknown_data_set_is_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    held = json.loads((tmp_path / "sjd2.json").read_text())
    (tmp_path / "sjd2.json").write_text(json.dumps(held | {"data_set": "cats"}))
    with pytest.raises(ValueError, match=r"sjd2.json: data_set must be heroes or heroes-pixels, got 'cats'"):
        sjd2.load(tmp_path)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="name must be one of heroes-lumina, heroes-emu3, got 'heroes'"):
        build("heroes")
    with pytest.raises(FileNotFoundError, match="nor an embedded model"):
        sjd2.load("heroes-cats")


def test_pictures_are_those_of_the_codes() -> None:
    codes = torch.arange(256).view(1, 16, 16)
    assert torch.equal(drawn(PATCHES)(codes), torch.from_numpy(TINY.codes.decode(codes.numpy())))


def test_sizes_and_nothing_pass_unread() -> None:
    seen: list[str] = []
    tokenize = understanding(lambda text: seen.append(text) or [])
    tokenize("16*16"), tokenize(""), tokenize("dwarf")
    assert seen == ["16*16", "", captions.canonical("dwarf")]


def phrase(slot: str, name: str) -> list[str]:
    return parts.phrases()[slot, name][0].split()
