"""The settings that are compared: names hold all of them, cards fill what is left out, pairs feed equal rows."""

from __future__ import annotations

import doctest

import pytest
from sjd2.backbones.base import Defaults
from sjd2.evaluation import settings as module
from sjd2.evaluation.settings import NAMES, STANDARD, UNTUNED, Setting, chosen, ordered, parse, untuned
from sjd2.policies import get_policy
from toy_backbone import Toy

TOY = Toy()
TOY.defaults = Defaults({"window": 6, "denoise_steps": 5, "spacing": "edm"}, {"sjd": {"window": 3}})
GRID = TOY.grid((4, 4))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_back(name: str) -> None:
    setting = parse(name)
    assert setting.name == name
    policy, *rest = name.split()
    assert setting.policy.name == policy
    if rest:
        assert rest[0].split("/")[0].split("+")[0] == str(setting.window)
    if policy == "sjd2":
        assert rest[1:] == [setting.spacing, setting.policy.draft]
        assert rest[0] == f"{setting.window}/{setting.denoise_steps}"


def test_what_is_left_out_is_the_cards() -> None:
    assert list(chosen("ar,sjd,coupled,sjd2,sjd2-exact", TOY, GRID)) == [
        "ar", "sjd 3", "coupled 6", "sjd2 6/5 edm nearest", "sjd2-exact 6",
    ]  # fmt: skip
    assert parse("sjd2 4 sampled", TOY, GRID) == Setting(get_policy("sjd2", draft="sampled"), 4, 5, "edm")
    assert parse("sjd2 linear", TOY, GRID) == Setting(get_policy("sjd2"), 6, 5, "linear")
    assert parse("sjd2 4/2", TOY, GRID).name == "sjd2 4/2 edm nearest"
    assert set(STANDARD.split(",")) <= {name.split()[0] for name in NAMES}


def test_a_card_may_change_the_policy_and_a_name_may_change_it_back() -> None:
    card = Toy()
    card.defaults = Defaults({"window": 6}, {}, {"sjd2": {"draft": "sampled"}, "sjd2-exact": {"shadow": 2}})
    assert parse("sjd2", card, GRID).name == "sjd2 6/25 karras sampled"
    assert parse("sjd2 nearest", card, GRID).name == "sjd2 6/25 karras nearest"
    assert parse("sjd2-exact", card, GRID).name == "sjd2-exact 6+2"
    assert parse("sjd2-exact 4", card, GRID).name == "sjd2-exact 4"


def test_exact_settings_have_a_coupled_one_of_equal_rows_with_and_without_shadow_rows() -> None:
    rows = {setting.rows for setting in chosen("coupled *").values()}
    assert rows == {32, 64, 96}
    for with_shadow in (False, True):
        exact = [s for name, s in chosen("sjd2-exact *").items() if ("+" in name) == with_shadow]
        assert sorted(setting.rows for setting in exact) == [32, 64, 96]


def test_what_a_model_without_tuning_can_do_has_no_noise() -> None:
    assert not any(setting.policy.noisy for setting in chosen(",".join(UNTUNED)).values())
    assert [name for name in NAMES if untuned(name)] == list(chosen(",".join(UNTUNED)))


def test_patterns_and_order() -> None:
    assert list(chosen("sjd 16, ar")) == ["ar", "sjd 16"]
    assert list(chosen("*")) == list(NAMES)
    assert ordered(["x", "sjd 32", "y", "ar", "x"]) == ["ar", "sjd 32", "x", "y"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing *", "nothing matches 'nothing \\*'; there are ar, sjd 16"),
        ("sjd3 16", "did you mean"),
        ("", "policy must be one of"),
        ("sjd 16 quick", "'quick' of 'sjd 16 quick' is no window, time grid or draft"),
        ("sjd", "'sjd' leaves something out, and there is no model card to ask"),
        ("sjd2 64 nearest", "leaves something out"),
        ("sjd 16+4", "shadow"),
    ],
)
def test_mistakes(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(name)


def test_a_window_must_fit_into_the_picture() -> None:
    with pytest.raises(ValueError, match="window must be between 1 and the picture's 21 tokens, got 22"):
        chosen("sjd 22", TOY, GRID)


def test_the_examples_are_right() -> None:
    assert doctest.testmod(module).failed == 0
