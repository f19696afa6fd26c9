"""Training sequences of a backbone: a prompt as decoding writes it, and a picture's codes in the backbone's grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..grid import Grid


def picture_tokens(backbone: Backbone, grid: Grid, codes: Tensor) -> Tensor:
    """Codes to the tokens that decoding would generate, forced ones included.

    Args:
        backbone: whose ids. grid: the shape of the picture. codes: [B, height, width] int64.

    Returns: [B, N] int64 model ids.

    Raises: ValueError for codes of another shape or outside 0..V-1.
    """
    if codes.shape[1:] != (grid.height, grid.width):
        raise ValueError(
            f"sequences: codes must have shape [B, {grid.height}, {grid.width}] for {backbone.name} pictures of "
            f"{grid.size[0]}x{grid.size[1]} pixels, got {tuple(codes.shape)}"
        )
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < backbone.V:
        raise ValueError(f"sequences: codes must be in 0..{backbone.V - 1}, got {int(codes.min())}..{int(codes.max())}")
    ids = backbone.ids.cpu()
    line = ids[grid.forced.clamp(min=0)].repeat(len(codes), 1)
    line[:, grid.forced < 0] = ids[codes.flatten(1)]
    return line


def without_caption(backbone: Backbone, grid: Grid) -> tuple[int, ...]:
    """The prompt of a picture whose caption is dropped: the unconditional row that says least.

    Lumina-mGPT's is the bare separator of its own guidance. Emu3's guidance has a long text of bad qualities, which
    must not be taught to mean good pictures; its empty text it is.
    """
    own, empty = (backbone.encode([""], size=grid.size, negative_prompt=text)[0].uncond for text in (None, ""))
    return min(own or (), empty or (), key=len)


def sequences(
    backbone: Backbone,
    grid: Grid,
    prompts: Sequence[str | None],
    codes: Tensor,
    length: int | None = None,
    multiple: int = 1,
) -> tuple[Tensor, Tensor]:
    """Prompts and pictures as rows of tokens.

    Args:
        backbone: whose grammar.
        grid: the shape of the pictures.
        prompts: one text per picture; None is a dropped caption.
        codes: [B, height, width] int64.
        length: n; None is the longest row. A fixed length lets a compiled step be reused.
        multiple: without ``length``, n is rounded up to a multiple of this, for few different lengths.

    Returns: tokens [B, n] int64, padded on the right, and the prompts' lengths [B] int64.

    Raises: ValueError if a row is longer than ``length``, or than the model's positions.
    """
    rows = backbone.encode(["" if text is None else text for text in prompts], size=grid.size, guidance=False)
    nothing = without_caption(backbone, grid) if None in prompts else ()
    heads = [row.cond if text is not None else nothing for row, text in zip(rows, prompts, strict=True)]
    pictures = picture_tokens(backbone, grid, codes)
    longest = max(map(len, heads)) + grid.n_tokens
    limit = length or backbone.dims.max_positions
    if longest > limit:
        text = prompts[max(range(len(heads)), key=lambda row: len(heads[row]))]
        raise ValueError(
            f"sequences: a prompt of {longest - grid.n_tokens} tokens does not fit: {limit} rows are "
            f"{limit - grid.n_tokens} for the prompt and {grid.n_tokens} for the picture; shorten {str(text)[:60]!r}"
        )
    n = length or -(-longest // multiple) * multiple
    tokens = torch.zeros(len(heads), n, dtype=torch.int64)
    for row, head, picture in zip(tokens, heads, pictures, strict=True):
        row[: len(head)] = torch.tensor(head)
        row[len(head) : len(head) + grid.n_tokens] = picture
    return tokens, torch.tensor([len(head) for head in heads])
