"""The decoding policies: what is drafted, how it is verified, what follows a rejection. Declarations, no code.

| name | after a rejection the rest is | verify | lossless |
|---|---|---|---|
| ar | (window of one) | none | the reference |
| jacobi | drawn anew | draft == fresh draw | yes |
| match | drawn anew with the same noise | draft == fresh draw | yes, and equal to ar given equal logits |
| sjd | drawn anew | ratio | yes |
| gumbel | drawn anew with the same noise | ratio | yes |
| coupled | kept or replaced by a residual draw, slot by slot | ratio | yes |
| sjd++ | kept where the ratio is >= 0.5, else drawn anew | ratio | no |
| sjd2 | denoised; clean slots as sjd++ | ratio | no |
| sjd2-exact | as coupled; new slots enter as noise | ratio | yes, for the tuned model's own law |

Lossless: the output law equals that of plain autoregressive sampling from the same model with the same processing.
Sources: SJD arXiv 2410.01699, coupling arXiv 2510.24211 and 2603.18599, SJD++ arXiv 2512.07503, SJD2 arXiv 2510.08994;
sjd2-exact is ours. docs/policies.md adds one.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "accept": ("ratio", "match", "pure"),
    "redraw": ("fresh", "couple", "keep"),
    "initial": ("none", "random", "left", "above", "noise"),
    "draft": ("token", "nearest", "sampled"),
    "draft_epoch": ("fixed", "iteration"),
    "verify_epoch": ("fixed", "iteration"),
}


@dataclass(frozen=True)
class Policy:
    """One decoding policy.

    Attributes:
        name: how the user calls it.
        accept: "ratio" and "match" as in `verify_accept`; "pure": a slot passes as soon as it is clean and among the
            first L/T (SJD2 App. B).
        redraw: what follows the first rejection, as in `verify_accept`.
        initial: what a new slot holds: "none"; "random", a uniform image token; "left" or "above", a repeated
            neighbour; "noise", a Gaussian embedding at the highest level.
        draft: the token that a noisy slot is judged by: "token", none at all (it is not accepted); "nearest", the
            token nearest to its embedding; "sampled", the last prediction it was denoised toward.
        draft_epoch, verify_epoch: "iteration" draws new randomness in each forward pass, "fixed" the same per position.
        levels: number of denoising steps of a new slot; 0 takes the user's ``denoise_steps``.
        refeed: A, the rows kept for committed tokens whose clean keys are not in the cache yet.
        shadow: S, extra rows that show the law of a slot whose left neighbour is unknown.
        window: L, where the policy dictates it.
    """

    name: str
    accept: str = "ratio"
    redraw: str = "fresh"
    initial: str = "random"
    draft: str = "token"
    draft_epoch: str = "iteration"
    verify_epoch: str = "iteration"
    levels: int = 0
    refeed: int = 1
    shadow: int = 0
    window: int | None = None

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise ValueError(
                    f"policy {self.name}: {name} must be one of {', '.join(words)}, got {getattr(self, name)!r}"
                )
        if self.levels < 0 or self.shadow < 0 or self.refeed < 1 or (self.window is not None and self.window < 1):
            raise ValueError(
                f"policy {self.name}: levels and shadow must be >= 0, refeed and window >= 1, "
                f"got {self.levels}, {self.shadow}, {self.refeed}, {self.window}"
            )
        if self.initial == "none" and self.window != 1:  # what is carried over would be judged by its own law
            raise ValueError(f"policy {self.name}: initial='none' needs window=1")
        if self.levels and not self.noisy:
            raise ValueError(f"policy {self.name}: levels needs initial='noise'")
        if self.shadow and (self.redraw != "couple" or not self.noisy):
            raise ValueError(f"policy {self.name}: shadow rows need redraw='couple' and initial='noise'")
        if self.accept == "match" and (self.redraw != "fresh" or self.noisy):
            raise ValueError(f"policy {self.name}: accept='match' needs redraw='fresh' and token drafts")
        if self.draft != "token" and (not self.noisy or self.redraw != "keep"):
            raise ValueError(f"policy {self.name}: draft={self.draft!r} needs initial='noise' and redraw='keep'")
        if self.accept == "pure" and (not self.noisy or self.redraw != "keep"):
            raise ValueError(f"policy {self.name}: accept='pure' needs initial='noise' and redraw='keep'")

    @property
    def noisy(self) -> bool:
        """Whether slots can hold noise, so that levels, timesteps and a float window are needed."""
        return self.initial == "noise"

    @property
    def judged(self) -> bool:
        """Whether the laws that drafts were drawn from are needed."""
        return self.accept != "match" and self.initial != "none"

    @property
    def lossless(self) -> bool:
        """Whether the output law is that of ar: drafts are kept by the ratio test only, with new randomness each time
        where a slot may be redrawn more than once."""
        return self.redraw == "fresh" or (self.redraw == "couple" and self.verify_epoch == "iteration")


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("ar", initial="none", draft_epoch="fixed", verify_epoch="fixed", window=1),
        Policy("jacobi", accept="match"),
        Policy("match", accept="match", draft_epoch="fixed", verify_epoch="fixed"),
        Policy("sjd"),
        Policy("gumbel", draft_epoch="fixed"),
        Policy("coupled", redraw="couple"),
        Policy("sjd++", redraw="keep"),
        Policy("sjd2", redraw="keep", initial="noise", draft="nearest", refeed=16),
        Policy("sjd2-exact", redraw="couple", initial="noise", levels=1),
    )
}


def get_policy(policy: str | Policy, **options: Any) -> Policy:
    """A policy by name, with some of its fields changed.

    Args:
        policy: a name of `POLICIES`, or a policy.
        options: fields of `Policy` to replace, such as ``initial="left"`` or ``shadow=16``.

    Raises: ValueError for an unknown name, field or word.

    Example:
        >>> get_policy("sjd", initial="above").initial
        'above'
    """
    if not isinstance(policy, Policy):
        if policy not in POLICIES:
            near = difflib.get_close_matches(str(policy), POLICIES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}{hint}")
        policy = POLICIES[policy]
    known = {field.name for field in fields(Policy)}
    for name in options:
        if name not in known:
            raise ValueError(f"policy {policy.name}: no option {name!r}, there are {', '.join(sorted(known))}")
    return replace(policy, **options)
