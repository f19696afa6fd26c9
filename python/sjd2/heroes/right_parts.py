"""Right parts of a model while it is trained: it draws held-out captions, and the pictures are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..backbones.emu3 import Emu3
from ..backbones.lumina_mgpt import LuminaMGPT
from ..decoder import Sampling
from ..policies import get_policy
from .captions import parse
from .measure import Measure, decode
from .model import DEFAULTS, Shape, build
from .settings import Setting
from .stream import Example

LOSSLESS = Setting(get_policy("coupled"), 32)  # the law of `ar` in a seventh of its steps


class RightParts:
    """Share of the attributes that captions ask for and pictures show, as a number between 0 and 1.

    Args:
        trained: the model in training; its weights are read at every call.
        shape: its size.
        sets: name -> examples, see `stream.example`.

    Called: name -> share. A picture has the same seed at every call, so that calls differ by the weights alone.
    """

    def __init__(self, trained: LuminaMGPT | Emu3, shape: Shape, sets: dict[str, Sequence[Example]]) -> None:
        # training has its own attention: the pictures are drawn by a copy
        self.trained, self.copy = trained, build(trained.name, shape)
        for part in (self.copy.text, self.copy.lm_head):
            part.float().to(trained.device).requires_grad_(False)
        self.sets = sets
        self.measure = Measure(self.copy, Sampling(guidance=DEFAULTS.of("coupled")["guidance"], top_k=0))

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """See the class."""
        pairs: tuple[tuple[nn.Module, nn.Module], ...] = (
            (self.copy.text, self.trained.text),
            (self.copy.lm_head, self.trained.lm_head),
        )
        for copy, trained in pairs:
            copy.load_state_dict(trained.state_dict())
        return {name: self._share(given) for name, given in self.sets.items()}

    def _share(self, given: Sequence[Example]) -> float:
        captions = [each.caption for each in given]
        drawn = decode(self.copy, LOSSLESS, captions, range(len(given)), self.measure.sampling)
        shown = self.measure.codebook.decode(self.copy.codes(drawn.tokens, self.measure.grid).cpu().numpy())
        reading = self.measure.reader.read(shown, [parse(caption) for caption in captions])
        return float(reading.right.sum() / reading.judged.sum())
