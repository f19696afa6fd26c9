"""docs/policies.md: its tables say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from sjd2.policies import CHOICES, POLICIES

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_policy_and_word_is_documented() -> None:
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w+-]+)` \|.*\| (.*?) \|$", text, flags=re.MULTILINE))
    for name, policy in POLICIES.items():
        assert rows[name].startswith("no") != policy.lossless
    for field, words in CHOICES.items():
        line = next(line for line in text.splitlines() if line.startswith("|") and f"`{field}`" in line)
        assert all(word in line for word in words)
