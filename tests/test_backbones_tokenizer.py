"""Tokenizers from a checkpoint's files: tokenizer.json, and tiktoken ranks against a literal byte-pair encoder."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from sjd2.backbones.tokenizer import from_tiktoken, load_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

PIECES = [
    "th",
    "he",
    "the",
    " t",
    " the",
    "in",
    "ing",
    "er",
    " c",
    " ca",
    "at",
    " cat",
    "12",
    "é",
    "ab",
    "ba",
    "aba",
    "aa",
    "aaa",
]


def ranks() -> dict[bytes, int]:
    tokens = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in PIECES]
    return {token: rank for rank, token in enumerate(tokens)}


def write(path: Path) -> None:
    path.write_text("\n".join(f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks().items()) + "\n")


def merged(word: bytes) -> list[int]:
    """tiktoken's rule: merge the neighbours whose concatenation has the lowest rank, leftmost first, until none is a
    token.
    """
    table = ranks()
    parts = [bytes([byte]) for byte in word]
    while True:
        pairs = [(table[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in table]
        if not pairs:
            return [table[part] for part in parts]
        _, i = min(pairs)
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]


# words as the published pattern cuts them: one digit at a time, a blank goes with the letters that follow
CUT = {
    "the cat": ["the", " cat"],
    "in the 12*90": ["in", " the", " ", "1", "2", "*", "9", "0"],
    "abababa, aaaaa!": ["abababa", ",", " aaaaa", "!"],
    "We're hér\n\n": ["We", "'re", " hér", "\n\n"],
    "他们 12 €": ["他们", " ", "1", "2", " €"],
    "": [],
}


@pytest.mark.parametrize("text", CUT)
def test_tiktoken_ranks_become_the_same_byte_pair_encoder(tmp_path: Path, text: str) -> None:
    write(tmp_path / "emu3.tiktoken")
    tokenizer = from_tiktoken(tmp_path / "emu3.tiktoken")
    expected = [rank for word in CUT[text] for rank in merged(word.encode())]
    got = load_tokenizer(tmp_path, "here")(text)
    assert got == expected
    assert tokenizer.decode(got) == text


def test_composed_and_decomposed_letters_are_the_same_text(tmp_path: Path) -> None:
    write(tmp_path / "emu3.tiktoken")
    tokenize = load_tokenizer(tmp_path, "here")
    assert tokenize("e\u0301") == tokenize("\u00e9") == [ranks()["é".encode()]]


def test_special_tokens_in_a_prompt_are_plain_text(tmp_path: Path) -> None:
    """Else a prompt could write its own end-of-image token."""
    letters = {chr(code): code for code in range(32, 127)}
    tokenizer = Tokenizer(models.BPE(vocab=letters | {"<end>": 200}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.add_special_tokens(["<end>"])
    assert tokenizer.encode("a<end>").ids == [97, 200]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path, "here")("a<end>") == [97, *b"<end>"]


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer.json \(or emu3.tiktoken\); it comes from the hub"):
        load_tokenizer(tmp_path, "the hub")
