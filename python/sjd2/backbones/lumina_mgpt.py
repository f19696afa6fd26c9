"""Lumina-mGPT (Chameleon family): prompts, grid and size tokens over transformers' Chameleon model.

    prompt        BOS "Generate an image of {width}x{height} according to the following prompt:\\n{prompt}" SEP
    generated     BOI size(rows) size(columns) | w image tokens EOL | ... h rows ... | EOI SEP

Everything but the h * w image tokens is dictated by the picture's size, so it is forced; 768 x 768 pixels are 48 rows
of 48 codes, 2357 tokens in all.

The unconditional row of the published loops is the conditional one with everything before the last prompt token masked,
and position ids counted from the first visible token. A masked key is no key, so that row is the one-token prompt SEP
at position 0: nothing to mask, nothing to pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import ChameleonForConditionalGeneration

from ..grid import Grid, raster
from .base import Defaults, Prompt
from .transformer import Pictures, Tokenize, TransformersBackbone

NO_PICTURES = (
    "the VQGAN decoder is not part of the language model's checkpoint; give the folder or file of Meta's "
    "vqgan.ckpt (Chameleon release, folder tokenizer/) or of a converted vqgan.safetensors as vq=..."
)


@dataclass(frozen=True)
class LuminaCard:
    """The numbers of a checkpoint's grammar; the defaults are those of Lumina-mGPT-7B-768.

    Attributes:
        name: for reports and error messages.
        first_image_id: image ids are first_image_id .. first_image_id + V - 1, code = id - first_image_id.
        V: number of image ids.
        bos: id that begins a prompt.
        separator: id that ends a prompt, and the sequence.
        boi: id before the picture.
        eoi: id after the picture.
        eol: id after each row.
        size_base: the size token of n grains is size_base + n.
        max_grains: the longest side that can be named, in grains.
        grain: pixels per size unit.
        cell: pixels per code.
        size: (width, height) in pixels.
        template: the text around a prompt.
        max_positions: the longest sequence; None is what the configuration says.
        defaults: values of `generate` for None (SJD2's for the window, T, guidance and top-k).
    """

    name: str = "Lumina-mGPT"
    first_image_id: int = 4
    V: int = 8192
    bos: int = 0
    separator: int = 8710
    boi: int = 8197
    eoi: int = 8196
    eol: int = 8803
    size_base: int = 8804
    max_grains: int = 64
    grain: int = 32
    cell: int = 16
    size: tuple[int, int] = (768, 768)
    template: str = "Generate an image of {width}x{height} according to the following prompt:\n{prompt}"
    max_positions: int | None = None
    defaults: Defaults = field(
        default_factory=lambda: Defaults(
            {
                "window": 96,
                "denoise_steps": 25,
                "spacing": "karras",
                "guidance": 3.0,
                "temperature": 1.0,
                "top_k": 2000,
                "top_p": 1.0,
            },
            {"sjd": {"window": 16}, "coupled": {"window": 64}},
        )
    )


class LuminaMGPT(TransformersBackbone):
    """Lumina-mGPT and models with its grammar.

    Args:
        model: a Chameleon model of transformers; its own VQ encoder is not used.
        tokenize: text -> model ids, without special tokens.
        card: the grammar's numbers.
        pictures: codes -> uint8 pictures, for example `vqgan.VQGANDecoder.pictures`.
        image_ids: model id of every code, where they are not consecutive.

    Examples:
        >>> from sjd2.backbones.tiny import tiny_lumina
        >>> tiny_lumina().grid().n_tokens
        33
    """

    def __init__(
        self,
        model: ChameleonForConditionalGeneration,
        tokenize: Tokenize,
        card: LuminaCard | None = None,
        pictures: Pictures | None = None,
        image_ids: Sequence[int] | None = None,
    ):
        card = card or LuminaCard()
        image = list(image_ids or range(card.first_image_id, card.first_image_id + card.V))
        if len(image) != card.V:
            raise ValueError(f"{card.name}: image_ids must hold {card.V} ids, got {len(image)}")
        forced = [card.eol, card.boi, card.eoi, card.separator]
        sizes = [card.size_base + n for n in range(1, card.max_grains + 1)]
        super().__init__(
            model.model,
            model.lm_head,
            ids=torch.tensor(image + forced + sizes),
            V=card.V,
            name=card.name,
            default_size=card.size,
            defaults=card.defaults,
            tokenize=tokenize,
            pictures=pictures,
            no_pictures=NO_PICTURES,
            max_positions=card.max_positions,
        )
        self.card = card

    def encode(
        self,
        prompts: Sequence[str],
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        guidance: bool = True,
    ) -> list[Prompt]:
        """See `Backbone.encode`. A negative prompt replaces the bare separator of the unconditional row."""
        card = self.card
        width, height = size or card.size

        def row(text: str) -> tuple[int, ...]:
            words = self.tokenize(card.template.format(width=width, height=height, prompt=text))
            return (card.bos, *words, card.separator)

        uncond = (card.separator,) if negative_prompt is None else row(negative_prompt)
        return [Prompt(row(text), uncond if guidance else None) for text in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """See `Backbone.grid`. Both sides are multiples of ``card.grain`` pixels."""
        card = self.card
        width, height = size or card.size
        columns, rows = width // card.grain, height // card.grain
        if (
            width % card.grain
            or height % card.grain
            or not (0 < columns <= card.max_grains and 0 < rows <= card.max_grains)
        ):
            raise ValueError(
                f"{self.name}: width and height must be multiples of {card.grain} from {card.grain} to "
                f"{card.grain * card.max_grains} pixels, got {width}x{height}"
            )
        eol, boi, eoi, separator = range(self.V, self.V + 4)
        size_of = eoi + 1  # local id of the size token of n grains is size_of + n
        made = raster(
            height // card.cell,
            width // card.cell,
            (width, height),
            head=[boi, size_of + rows, size_of + columns],
            eol=eol,
            tail=[eoi, separator],
        )
        return self.fits(made)
