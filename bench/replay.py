"""A decoder in the middle of a picture, put back before every call, so that the same step can be timed many times."""

from __future__ import annotations

import torch
from sjd2.decoder import Decoder
from torch import Tensor

from .clock import Variant

WARM_UP = 3  # steps that bring a window into its stride


class Replayed:
    """A decoder and the state that its step starts from.

    Args:
        decoder: as constructed.
        at: tokens of the picture that count as drawn; the cache up to there holds random numbers.
    """

    def __init__(self, decoder: Decoder, at: int = 0):
        self.decoder, w = decoder, decoder.window
        decoder.prefill()
        if at:
            with torch.no_grad():
                for cache in (decoder.k_cache, decoder.v_cache):
                    cache.normal_()
            w.pos.fill_(at)
            w.kv_len.copy_(w.prompt_len + (at - 1))
            drawn = decoder.backbone.ids[torch.arange(at, device=w.out.device) % decoder.backbone.V]
            w.out[:, :at] = drawn
            w.refeed.fill_(int(drawn[-1]))
        for _ in range(WARM_UP):
            decoder.step()
        self.saved = [(held, held.clone()) for held in vars(w).values() if isinstance(held, Tensor)]

    def restore(self) -> None:
        """The state after the warm-up."""
        for held, saved in self.saved:
            held.copy_(saved)

    def variant(self) -> Variant:
        """A step of the decoder."""
        return Variant(self.decoder.step, self.restore)
