"""The settings that are compared: names say what they are, pairs feed equal rows."""

from __future__ import annotations

import pytest
from sjd2.heroes.settings import SETTINGS, UNTUNED, chosen


def test_names_say_policy_and_window() -> None:
    for name, setting in SETTINGS.items():
        policy, *rest = name.split()
        assert setting.policy.name == policy
        if rest:
            window = str(setting.window)
            if setting.policy.shadow:
                window += f"+{setting.policy.shadow}"
            if policy == "sjd2":
                window += f"/{setting.denoise_steps}"
                assert rest[1:] == [setting.spacing, setting.policy.draft]
            assert rest[0] == window


def test_exact_settings_have_a_coupled_one_of_equal_rows_with_and_without_shadow_rows() -> None:
    rows = {SETTINGS[name].rows for name in chosen("coupled *")}
    assert rows == {32, 64, 96}
    for with_shadow in (False, True):
        exact = [s for name, s in chosen("sjd2-exact *").items() if ("+" in name) == with_shadow]
        assert sorted(setting.rows for setting in exact) == [32, 64, 96]


def test_what_a_model_without_tuning_can_do_has_no_noise() -> None:
    assert not any(setting.policy.noisy for setting in chosen(",".join(UNTUNED)).values())


def test_patterns() -> None:
    assert list(chosen("sjd 16, ar")) == ["ar", "sjd 16"]
    assert chosen("*") == SETTINGS
    with pytest.raises(ValueError, match="no setting is called 'sjd 17'; there are ar, sjd 16"):
        chosen("ar,sjd 17")
