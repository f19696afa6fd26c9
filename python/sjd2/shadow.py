"""Shadow rows of sjd2-exact: the law of a slot whose left neighbour has just been rejected.

A shadow row stands where window row i stands, sees the tokens left of it, and is itself pure noise: its output is the
law of slot i+1 with the token of slot i unknown. If slot i lost its token in this step, the old draft of slot i+1 is
coupled to that law, p', instead of p, which was computed behind the lost token; q of the next step is p' too.

Which law a slot takes depends on draws left of it only, so the drafts remain draws of their q: the decoder stays
lossless. Slot i+1 is committed only if slot i was accepted, hence always under p. This is ours, not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kept(plain: Tensor, shadow: Tensor) -> Tensor:
    """Which slots keep their draft, left to right: k[j] = plain[j] if k[j-1] else shadow[j], k[-1] = True.

    Args:
        plain, shadow: [B, L] bool, whether the slot keeps its draft under p and under p'.

    Returns: [B, L] bool. A scan in eight operations: where both agree the value is known; between those, a slot that
    differs either passes its neighbour's value on (plain) or turns it over (shadow).

    Example:
        >>> kept(torch.tensor([[True, False, False]]), torch.tensor([[True, True, True]])).tolist()
        [[True, False, True]]
    """
    slot = torch.arange(plain.shape[1], device=plain.device)
    known = torch.where(plain == shadow, slot, -1).cummax(1).values  # the last slot whose value is known
    turns = (~plain & shadow).long().cumsum(1)
    at = known.clamp(min=0)
    value = torch.where(known >= 0, plain.gather(1, at), True)
    since = turns - torch.where(known >= 0, turns.gather(1, at), 0)
    return value ^ (since % 2 == 1)


def choose(draft: Tensor, plain: Tensor, shadow: Tensor) -> tuple[Tensor, Tensor]:
    """The token of every slot, and which slots took p.

    Args:
        draft: [B, L] int64.
        plain, shadow: [B, L] int64, the coupled tokens under p and under p'.

    Returns: tokens [B, L] int64; [B, L] bool, whether the slot's left neighbour kept its draft. A residual sample never
    equals the draft that it replaces, so equality says that a draft was kept.
    """
    k = kept(plain == draft, shadow == draft)
    left = torch.nn.functional.pad(k[:, :-1], (1, 0), value=True)
    return torch.where(left, plain, shadow), left
