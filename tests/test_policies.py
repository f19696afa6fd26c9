"""The declarations: names, what each promises, and errors for combinations that mean nothing."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from sjd2.policies import POLICIES, Policy, get_policy


def test_the_family() -> None:
    assert list(POLICIES) == ["ar", "jacobi", "match", "sjd", "gumbel", "coupled", "sjd++", "sjd2", "sjd2-exact"]
    assert {name for name, policy in POLICIES.items() if not policy.lossless} == {"sjd++", "sjd2"}
    # coupled across iterations: the draft noise of a position never changes
    assert {n for n, p in POLICIES.items() if p.draft_epoch == "fixed"} == {"ar", "match", "gumbel"}
    assert {n for n, p in POLICIES.items() if p.verify_epoch == "fixed"} == {"ar", "match"}
    assert {n for n, p in POLICIES.items() if p.noisy} == {"sjd2", "sjd2-exact"}
    assert {n for n, p in POLICIES.items() if p.refeed > 1} == {"sjd2"}


def test_what_a_variant_promises_follows_from_its_words() -> None:
    """tests/test_decoder_law.py holds both sides of this: the counts of each pass or fail."""
    assert get_policy("sjd", initial="left", draft_epoch="fixed", verify_epoch="fixed").lossless
    assert get_policy("coupled", draft_epoch="fixed").lossless
    assert get_policy("sjd2-exact", shadow=4, levels=3).lossless
    assert not get_policy("coupled", verify_epoch="fixed").lossless
    assert not get_policy("sjd", redraw="keep").lossless
    assert not get_policy("sjd2", draft="sampled").lossless
    assert not get_policy("sjd2", accept="pure").lossless


def test_variants_are_new_objects() -> None:
    variant = get_policy("sjd2-exact", shadow=16)
    assert variant.shadow == 16
    assert POLICIES["sjd2-exact"].shadow == 0
    assert get_policy(variant) is not None
    assert get_policy(variant, shadow=0) == POLICIES["sjd2-exact"]
    with pytest.raises(FrozenInstanceError):
        variant.shadow = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdj", {}, r"policy must be one of ar, .*, got 'sdj'; did you mean 'sjd'\?"),
        ("sjd", {"start": "left"}, "policy sjd: no option 'start', there are accept, .*window"),
        (
            "sjd",
            {"initial": "right"},
            "policy sjd: initial must be one of none, random, left, above, noise, got 'right'",
        ),
        ("sjd", {"shadow": 2}, "shadow rows need redraw='couple' and initial='noise'"),
        ("coupled", {"accept": "match"}, "accept='match' needs redraw='fresh'"),
        ("sjd2-exact", {"draft": "nearest"}, "draft='nearest' needs initial='noise' and redraw='keep'"),
        ("sjd", {"accept": "pure"}, "accept='pure' needs initial='noise' and redraw='keep'"),
        ("sjd2-exact", {"accept": "pure"}, "accept='pure' needs initial='noise' and redraw='keep'"),
        ("sjd2", {"refeed": 0}, "refeed and window >= 1, got 0, 0, 0, None"),
        ("sjd", {"window": 0}, "refeed and window >= 1, got 0, 0, 1, 0"),
        ("ar", {"window": 4}, "initial='none' needs window=1"),
        ("sjd", {"initial": "none"}, "initial='none' needs window=1"),
        ("sjd", {"levels": 2}, "levels needs initial='noise'"),
    ],
)
def test_nonsense_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_policy(name, **options)


def test_a_policy_of_ones_own_needs_no_registration() -> None:
    mine = Policy("mine", redraw="couple", initial="above", draft_epoch="fixed")
    assert get_policy(mine) == mine
    assert mine.judged
    assert not mine.noisy
