"""Decode captions with one setting, and measure what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..decoder import Decoder, Sampling
from .bits import bits_per_token
from .captions import ATTRIBUTES, Wanted, parse
from .codes import Codebook, palette, patches
from .hero import compose, opaque
from .read import Reader
from .settings import Setting
from .stream import Example, example

KINDS: Mapping[str, dict[str, bool]] = {
    "flat": {"mottled": False, "full": True},
    "mottled": {"mottled": True, "full": True},
    "flat short": {"mottled": False, "full": False},
    "mottled short": {"mottled": True, "full": False},
}
FIRST = 2**41  # index of the first example: training measures itself on others


def examples(kind: str, start: int, count: int) -> list[Example]:
    """Held-out examples number ``start`` .. of a kind; the heroes of all kinds are the same."""
    return [example(0, FIRST + at, held_out=True, **KINDS[kind]) for at in range(start, start + count)]


@dataclass
class Decoded:
    """B finished pictures: [B, N] int64 model ids, [B] int64 steps after the prefill, and the seconds of all."""

    tokens: Tensor
    steps: Tensor
    seconds: float


def decode(
    backbone: Backbone, setting: Setting, captions: Sequence[str], seeds: Sequence[int], sampling: Sampling
) -> Decoded:
    """Decode one batch.

    Args:
        backbone: the model. setting: how. captions, seeds: one per picture. sampling: how logits become laws.

    Raises: ValueError where the logits of a picture were not finite.
    """
    prompts, grid = backbone.encode(captions, guidance=sampling.guidance != 1), backbone.grid()
    start = time.perf_counter()
    decoder = Decoder(
        backbone, setting.policy, prompts, [grid] * len(captions), seeds, L=setting.window,
        denoise_steps=setting.denoise_steps, spacing=setting.spacing, sampling=sampling,
    )  # fmt: skip
    decoder.run()
    w = decoder.window
    tokens, steps = w.out.cpu(), w.epoch.cpu()
    seconds = time.perf_counter() - start
    if bool(w.status.any()):
        raise ValueError(f"evaluate: {setting.policy.name}: the logits of a picture were not finite")
    return Decoded(tokens, steps, seconds)


class Measure:
    """Judges pictures of one model.

    Args:
        backbone: an embedded model.
        sampling: how logits become laws.
    """

    def __init__(self, backbone: Backbone, sampling: Sampling) -> None:
        self.backbone, self.sampling, self.grid = backbone, sampling, backbone.grid()
        self.codebook: Codebook = patches() if self.grid.height == patches().side else palette()
        self.reader = Reader(self.codebook)

    def drawn(self, setting: Setting, given: Sequence[Example], seeds: Sequence[int]) -> dict[str, Any]:
        """Decode examples and judge the pictures: the fields of `judge`, and the ``steps`` of each picture."""
        out = decode(self.backbone, setting, [each.caption for each in given], seeds, self.sampling)
        return {"steps": out.steps.tolist()} | self.judge(out.tokens, given)

    def true(self, given: Sequence[Example]) -> dict[str, Any]:
        """The fields of `judge` for the true pictures after the codebook's round trip: what no model can exceed."""
        codes = torch.from_numpy(self.codebook.encode(_true(given)))
        local = self.grid.forced.repeat(len(given), 1)
        local[:, self.grid.forced < 0] = codes.flatten(1)
        return self.judge(self.backbone.ids.cpu()[local], given)

    def judge(self, tokens: Tensor, given: Sequence[Example]) -> dict[str, Any]:
        """What finished pictures are worth.

        Args:
            tokens: [B, N] int64, model ids.
            given: the examples whose captions were drawn.

        Returns: per picture ``bits`` (per token), ``judged`` and ``right`` (attributes); summed over pictures ``slots``
        (attribute -> judged, right and right in presence of those asked for with a part, then of those without); for
        captions that leave nothing open ``error`` (sum of squares and their number, over all pixels, or the hero's
        alone on a mottled background), and ``exact`` (pictures without a wrong token) on flat ones.
        """
        codes = self.backbone.codes(tokens, self.grid).cpu().numpy()
        shown, wanted = self.codebook.decode(codes), [parse(each.caption) for each in given]
        reading = self.reader.read(shown, wanted)
        prompts = self.backbone.encode([e.caption for e in given], guidance=self.sampling.guidance != 1)
        bits = bits_per_token(self.backbone, prompts, self.grid, tokens, self.sampling)
        named = reading.asked > 0
        named[:, ATTRIBUTES.index("background")] = True
        counts = {
            name: [int((field & at)[:, place].sum()) for at in (named, ~named) for field in
                   (reading.judged, reading.right, reading.present)]
            for place, name in enumerate(ATTRIBUTES)
        }  # fmt: skip
        found: dict[str, Any] = {
            "bits": [round(b, 4) for b in bits.tolist()],
            "judged": reading.judged.sum(1).tolist(),
            "right": reading.right.sum(1).tolist(),
            "slots": counts,
        }
        if all(each.full for each in wanted):
            found |= self._against(codes, shown, wanted, given)
        return found

    def _against(
        self, codes: npt.NDArray[Any], shown: npt.NDArray[np.uint8], wanted: Sequence[Wanted], given: Sequence[Example]
    ) -> dict[str, Any]:
        true = _true(given)
        mottled = np.array([bool(each.mottled) for each in wanted])
        counted = opaque([each.hero for each in given]) | ~mottled[:, None, None]
        squares = ((shown.astype(np.int64) - true) ** 2).sum(-1)
        found = {"error": [int(squares[counted].sum()), 3 * int(counted.sum())]}
        if not mottled.any():
            same = (codes == self.codebook.encode(true)).all((1, 2))
            found["exact"] = [int(same.sum()), len(same)]
        return found


def _true(given: Sequence[Example]) -> npt.NDArray[np.uint8]:
    return compose([each.hero for each in given], [each.seed for each in given])


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of several batches as that of one: per picture lists joined, sums added."""
    whole: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name == "slots":
            whole[name] = {at: np.sum([v[at] for v in values], 0).tolist() for at in ATTRIBUTES}
        elif name in ("error", "exact"):
            whole[name] = np.sum(values, 0).tolist()
        else:
            whole[name] = [each for value in values for each in value]
    return whole


def decibels(error: Sequence[int]) -> float:
    """PSNR of the sum of squares and the number of values that it is over."""
    return 10 * math.log10(255**2 / max(error[0] / error[1], 1e-12))
