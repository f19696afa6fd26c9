"""The decoding settings that are compared on heroes: a policy, its window, and what noise needs.

W, the rows that an image feeds per iteration, is the window and the shadow rows: settings of equal W cost about the
same, and only these are compared in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..policies import Policy, get_policy


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


def _sjd2(window: int, steps: int, spacing: str, draft: str) -> tuple[str, Setting]:
    return f"sjd2 {window}/{steps} {spacing} {draft}", Setting(get_policy("sjd2", draft=draft), window, steps, spacing)


SETTINGS: dict[str, Setting] = {
    "ar": Setting(get_policy("ar"), 1),
    **{f"sjd {L}": Setting(get_policy("sjd"), L) for L in (16, 32)},
    **{f"coupled {L}": Setting(get_policy("coupled"), L) for L in (32, 64, 96)},
    **dict(
        _sjd2(*grid, draft)
        for grid in ((64, 4, "linear"), (96, 4, "linear"), (64, 8, "karras"), (96, 25, "karras"))
        for draft in ("nearest", "sampled")
    ),
    **{f"sjd2-exact {L}": Setting(get_policy("sjd2-exact"), L) for L in (32, 64, 96)},
    **{f"sjd2-exact {L}+{S}": Setting(get_policy("sjd2-exact", shadow=S), L) for L, S in ((24, 8), (48, 16), (64, 32))},
}
UNTUNED = ("ar", "coupled *")  # what a model without noise tuning can do


def chosen(patterns: str) -> dict[str, Setting]:
    """The settings whose names match one of several patterns.

    Args:
        patterns: with commas between them, ``*`` for anything.

    Raises: ValueError for a pattern without a match.

    Example:
        >>> list(chosen("ar,coupled *"))
        ['ar', 'coupled 32', 'coupled 64', 'coupled 96']
    """
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in SETTINGS):
            raise ValueError(f"evaluate: no setting is called {pattern!r}; there are {', '.join(SETTINGS)}")
    return {name: s for name, s in SETTINGS.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}
