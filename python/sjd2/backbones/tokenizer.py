"""Text to model ids, from the files of a checkpoint, without running any of its code.

``tokenizer.json`` is read by the `tokenizers` library. Emu3-Gen ships a tiktoken file instead (base64 token and rank
per line), whose byte-pair merges are rebuilt here. Special tokens inside a prompt are taken as plain text: a prompt
cannot end its own picture.
"""

from __future__ import annotations

import base64
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .transformer import Tokenize

TIKTOKEN = "emu3.tiktoken"
# how the checkpoint's own tokenizer cuts text before merging (one digit at a time)
TIKTOKEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load_tokenizer(folder: Path, comes_from: str) -> Tokenize:
    """The tokenizer of a checkpoint: a function text -> list of model ids, without special tokens.

    Raises: FileNotFoundError that names the files looked for.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    elif (folder / TIKTOKEN).is_file():
        tokenizer = from_tiktoken(folder / TIKTOKEN)
    else:
        raise FileNotFoundError(f"load: {folder} lacks tokenizer.json (or {TIKTOKEN}); it comes from {comes_from}")
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def from_tiktoken(path: Path) -> Tokenizer:
    """A byte-level BPE tokenizer from a tiktoken rank file, cut as Emu3's is.

    tiktoken merges any two neighbours whose concatenation is a token, lowest rank first: so every split of a token into
    two tokens is a merge rule, ordered by the token's rank.
    """
    lines = path.read_text(encoding="ascii").splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line.strip())}
    letters = _byte_letters()

    def written(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [
        (written(token[:cut]), written(token[cut:]))
        for token in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]
    tokenizer = Tokenizer(models.BPE(vocab={written(token): rank for token, rank in ranks.items()}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(TIKTOKEN_WORDS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_letters() -> list[str]:
    """What byte-level BPE writes for each byte: its letter where it is printable, else the next one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)]
