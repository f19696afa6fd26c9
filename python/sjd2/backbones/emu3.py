"""Emu3-Gen: prompts and grid over transformers' Emu3 text model.

    prompt        BOS {prompt} " masterpiece, film grained, best quality." BOI "{rows}*{columns}" IMG
    generated     w image tokens EOL | ... h rows ... | EOF EOI EOS

720 x 720 pixels are 90 rows of 90 codes, 8193 tokens. The unconditional row is the model's long negative quality prompt
with the same suffix. In the published loop it is left-padded and needs its own position ids; here every row has its own
length and starts at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import Emu3ForCausalLM

from ..grid import Grid, raster
from .base import Defaults, Prompt
from .transformer import Pictures, Tokenize, TransformersBackbone

NO_PICTURES = (
    "the language model's checkpoint holds no VQ weights; give the folder of BAAI/Emu3-VisionTokenizer "
    "(config.json and model.safetensors), or of BAAI/Emu3-Gen-hf which contains them, as vq=..."
)


@dataclass(frozen=True)
class Emu3Card:
    """The numbers of a checkpoint's grammar; the defaults are those of Emu3-Gen.

    Attributes:
        name: for reports and error messages.
        first_image_id: image ids are first_image_id .. first_image_id + V - 1, code = id - first_image_id.
        V: number of image ids.
        bos: id that begins a prompt.
        boi: id before the size.
        img: id between size and picture.
        eol: id after each row.
        eof: id after the last row.
        eoi: id after that.
        eos: id that ends the sequence.
        cell: pixels per code.
        size: (width, height) in pixels.
        positive: appended to every prompt.
        negative: text of the unconditional row.
        size_text: how rows and columns are written between BOI and IMG.
        defaults: values of `generate` for None.
    """

    name: str = "Emu3-Gen"
    first_image_id: int = 151_854
    V: int = 32_768
    bos: int = 151_849
    boi: int = 151_852
    img: int = 151_851
    eol: int = 151_846
    eof: int = 151_847
    eoi: int = 151_853
    eos: int = 151_850
    cell: int = 8
    size: tuple[int, int] = (720, 720)
    positive: str = " masterpiece, film grained, best quality."
    negative: str = (
        "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, "
        "worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry."
    )
    size_text: str = "{rows}*{columns}"
    defaults: Defaults = field(
        default_factory=lambda: Defaults(
            {
                "window": 128,
                "denoise_steps": 25,
                "spacing": "karras",
                "guidance": 3.0,
                "temperature": 1.0,
                "top_k": 2048,
                "top_p": 1.0,
            },
            {"sjd": {"window": 16}, "coupled": {"window": 64}},
        )
    )


class Emu3(TransformersBackbone):
    """Emu3-Gen and models with its grammar.

    Args:
        model: an Emu3 text model of transformers with its head.
        tokenize: text -> model ids, without special tokens.
        card: the grammar's numbers.
        pictures: codes -> uint8 pictures, for example `emu3_pictures.Emu3Pictures`.

    Examples:
        >>> from sjd2.backbones.tiny import tiny_emu3
        >>> tiny_emu3().grid((8, 8)).n_tokens
        23
    """

    def __init__(
        self,
        model: Emu3ForCausalLM,
        tokenize: Tokenize,
        card: Emu3Card | None = None,
        pictures: Pictures | None = None,
    ):
        card = card or Emu3Card()
        forced = [card.eol, card.eof, card.eoi, card.eos]
        super().__init__(
            model.model,
            model.lm_head,
            ids=torch.tensor([*range(card.first_image_id, card.first_image_id + card.V), *forced]),
            V=card.V,
            name=card.name,
            default_size=card.size,
            defaults=card.defaults,
            tokenize=tokenize,
            pictures=pictures,
            no_pictures=NO_PICTURES,
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
        """See `Backbone.encode`. The negative prompt is taken as it is, without the words of quality."""
        card, grid = self.card, self.grid(size)
        size_ids = self.tokenize(card.size_text.format(rows=grid.height, columns=grid.width))

        def row(text: str) -> tuple[int, ...]:
            return (card.bos, *self.tokenize(text), card.boi, *size_ids, card.img)

        uncond = row(card.negative if negative_prompt is None else negative_prompt) if guidance else None
        return [Prompt(row(text + card.positive), uncond) for text in prompts]

    def grid(self, size: tuple[int, int] | None = None) -> Grid:
        """See `Backbone.grid`. Both sides are multiples of ``card.cell`` pixels."""
        cell = self.card.cell
        width, height = size or self.card.size
        if width % cell or height % cell or width < cell or height < cell:
            raise ValueError(
                f"{self.name}: width and height must be positive multiples of {cell} pixels, got {width}x{height}"
            )
        eol, eof, eoi, eos = range(self.V, self.V + 4)
        return self.fits(raster(height // cell, width // cell, (width, height), eol=eol, tail=[eof, eoi, eos]))
