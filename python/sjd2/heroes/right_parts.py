"""Right parts of a model while it is trained: it draws held-out captions, and the pictures are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..backbones.emu3 import Emu3
from ..backbones.lumina_mgpt import LuminaMGPT
from ..decoder import Sampling
from ..evaluation.decoding import decode
from ..evaluation.settings import Setting
from ..policies import get_policy
from .captions import parse
from .measure import Measure
from .model import DEFAULTS, Shape, build
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
        self.trained, self.shape, self.sets = trained, shape, sets

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """See the class."""
        # a new copy each time: training has its own attention, and a backbone keeps tables of the weights it began with
        trained = self.trained
        with torch.device(trained.device), torch.random.fork_rng():
            copy = build(trained.name, self.shape)
        pairs: tuple[tuple[nn.Module, nn.Module], ...] = ((copy.text, trained.text), (copy.lm_head, trained.lm_head))
        for to, part in pairs:
            to.load_state_dict(part.state_dict())
            to.float().requires_grad_(False)
        measure = Measure(copy, Sampling(guidance=DEFAULTS.of("coupled")["guidance"], top_k=0))
        return {name: _share(measure, given) for name, given in self.sets.items()}


def _share(measure: Measure, given: Sequence[Example]) -> float:
    captions, backbone = [each.caption for each in given], measure.backbone
    drawn = decode(backbone, LOSSLESS, captions, range(len(given)), measure.sampling)
    shown = measure.codebook.decode(backbone.codes(drawn.tokens, measure.grid).cpu().numpy())
    reading = measure.reader.read(shown, [parse(caption) for caption in captions])
    return float(reading.right.sum() / reading.judged.sum())
