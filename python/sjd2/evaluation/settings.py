"""The decoding settings that are compared: a policy, its window, and what noise needs, and the names of settings.

A name holds everything: ``ar``, ``sjd 16`` (window), ``sjd2 64/4 linear nearest`` (window/T, time grid, draft),
``sjd2-exact 48+16`` (window+shadow rows). What a user leaves out is the model card's.

W, the rows that an image feeds per iteration, is the window and the shadow rows: settings of equal W cost about the
same, and only these are compared in pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..backbones.base import Backbone
from ..grid import Grid
from ..pipeline import of_card, settle
from ..policies import CHOICES, Policy, get_policy
from ..schedule import SPACINGS


@dataclass(frozen=True)
class Setting:
    """One column of decoding arguments.

    Attributes:
        policy: with its options.
        window: L.
        denoise_steps, spacing: T and the time grid, for policies with noise.
    """

    policy: Policy
    window: int
    denoise_steps: int = 1
    spacing: str = "linear"

    @property
    def rows(self) -> int:
        """W."""
        return self.window + self.policy.shadow

    @property
    def name(self) -> str:
        """What `parse` reads back.

        Example:
            >>> Setting(get_policy("sjd2-exact", shadow=16), 48).name
            'sjd2-exact 48+16'
        """
        policy, text = self.policy, self.policy.name
        if policy.window is None:
            text += f" {self.window}" + (f"+{policy.shadow}" if policy.shadow else "")
        if policy.noisy and not policy.levels:
            text += f"/{self.denoise_steps} {self.spacing} {policy.draft}"
        return text


STANDARD = "ar,sjd,coupled,sjd2,sjd2-exact"  # with the card's numbers
NAMES = (  # what "*" means
    "ar", "sjd 16", "sjd 32", "coupled 32", "coupled 64", "coupled 96",
    *(f"sjd2 {grid} {draft}" for grid in ("64/4 linear", "96/4 linear", "64/8 karras", "96/25 karras")
      for draft in ("nearest", "sampled")),
    "sjd2-exact 32", "sjd2-exact 64", "sjd2-exact 96", "sjd2-exact 24+8", "sjd2-exact 48+16", "sjd2-exact 64+32",
)  # fmt: skip
UNTUNED = ("ar", "coupled *")  # what a model without noise tuning is compared by
_NUMBERS = re.compile(r"(\d+)(?:\+(\d+))?(?:/(\d+))?")


def parse(name: str, backbone: Backbone | None = None, grid: Grid | None = None) -> Setting:
    """The setting of a name.

    Args:
        name: policy, then window[+shadow][/T], time grid and draft; all but the policy may be left out.
        backbone, grid: whose card says what is left out, and the picture that the window must fit into.

    Raises: ValueError for an unknown policy or word, or where something is left out and nobody says it.

    Example:
        >>> parse("sjd2 64/4 linear sampled").rows, parse("sjd2-exact 48+16").rows
        (64, 64)
    """
    words = name.split()
    called = words[0] if words else ""
    policy = get_policy(called) if backbone is None else of_card(backbone, called)
    given: dict[str, Any] = dict.fromkeys(("window", "denoise_steps"))
    spacing = None
    for word in words[1:]:
        numbers = _NUMBERS.fullmatch(word)
        if numbers:
            given |= {"window": int(numbers[1]), "denoise_steps": int(numbers[3]) if numbers[3] else None}
            policy = get_policy(policy, shadow=int(numbers[2] or 0))
        elif word in SPACINGS:
            spacing = word
        elif word in CHOICES["draft"]:
            policy = get_policy(policy, draft=word)
        else:
            raise ValueError(f"eval: policies: {word!r} of {name!r} is no window, time grid or draft")
    said = {"window": policy.window, **given, "spacing": spacing}
    values: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if backbone is not None and grid is not None:
        card = settle(backbone, policy, grid, dict.fromkeys(("guidance", "temperature", "top_k", "top_p")) | given)
        values = {key: card[key] for key in ("window", "denoise_steps", "spacing")} | values
    values["window"] = policy.window or values.get("window", 0)
    if not policy.noisy or policy.levels:  # T and time grid are of no use
        values = {"window": values["window"]}
    if not values["window"] or (policy.noisy and not policy.levels and len(values) < 3):
        raise ValueError(f"eval: policies: {name!r} leaves something out, and there is no model card to ask")
    return Setting(policy, **values)


def chosen(patterns: str, backbone: Backbone | None = None, grid: Grid | None = None) -> dict[str, Setting]:
    """The settings of a list of names and patterns, by their whole names.

    Args:
        patterns: with commas between them; one with ``*`` is matched with `NAMES`.
        backbone, grid: as in `parse`.

    Raises: ValueError for a pattern without a match, and what `parse` raises.

    Example:
        >>> list(chosen("coupled *,sjd 7,ar"))
        ['ar', 'coupled 32', 'coupled 64', 'coupled 96', 'sjd 7']
    """
    found: dict[str, Setting] = {}
    for pattern in (each.strip() for each in patterns.split(",")):
        names = [name for name in NAMES if fnmatchcase(name, pattern)] if "*" in pattern else [pattern]
        if not names:
            raise ValueError(f"eval: policies: nothing matches {pattern!r}; there are {', '.join(NAMES)}")
        for setting in (parse(name, backbone, grid) for name in names):
            found[setting.name] = setting
    return {name: found[name] for name in ordered(found)}


def ordered(names: Iterable[str]) -> list[str]:
    """Names in the order of `NAMES`, others after them as they come."""
    known = {name: place for place, name in enumerate(NAMES)}
    return sorted(dict.fromkeys(names), key=lambda name: known.get(name, len(known)))


def untuned(name: str) -> bool:
    """Whether a model without noise tuning is compared by this setting."""
    return any(fnmatchcase(name, pattern) for pattern in UNTUNED)
