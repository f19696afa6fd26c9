"""docs/finetune.md: its example runs, what it names is there, and its arithmetic is right; docstring examples run."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest
from sjd2.backbones.emu3 import Emu3Card
from sjd2.backbones.lumina_mgpt import LuminaCard
from sjd2.finetune.objective import LOGITS
from sjd2.finetune.pictures import SUFFIXES, TABLES
from sjd2.finetune.rows import COLUMNS
from sjd2.finetune.run import FIXED
from sjd2.finetune.settings import FREE, Settings
from sjd2.finetune.tokenise import PART

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "finetune.md").read_text(encoding="utf-8")
FINETUNE = DOCS.parent / "python" / "sjd2" / "finetune"


def test_examples_run() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(block, "finetune.md", "exec"), {})


@pytest.mark.parametrize("name", [path.stem for path in sorted(FINETUNE.glob("[a-z]*.py"))])
def test_docstring_examples_run(name: str) -> None:
    module = import_module(f"sjd2.finetune.{name}")
    assert doctest.testmod(module).failed == 0


def test_links_and_names() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (DOCS / target).exists(), target
    for word in (
        *(suffix[1:] for suffix in SUFFIXES),
        *TABLES,
        *COLUMNS,
        *(f"{path.name}" for path in FINETUNE.glob("configs/*")),
    ):
        assert word in TEXT, word
    assert f"{PART} pictures to a file" in TEXT
    assert "noise time 0.25, 0.5, 0.75 and 1," in TEXT
    assert FIXED == (0.25, 0.5, 0.75, 1.0)
    assert FREE <= set(Settings.__dataclass_fields__)


def test_defaults_are_the_papers() -> None:
    given = Settings(model="m", data=Path("d"), out=Path("o"))
    assert (given.lr, given.batch, given.epochs, given.drop, given.clean) == (2e-5, 64, 6, 0.1, 0.12)
    for card in (LuminaCard(), Emu3Card()):
        assert card.defaults.of("sjd2")["denoise_steps"] == 25
        assert card.defaults.of("sjd2")["spacing"] == "karras"


def test_arithmetic() -> None:
    """The table of memory, in GB of 10^9 bytes."""
    rows = re.findall(r"^\| (.*?) \| (.*?) GB \| (.*?) GB \|$", TEXT, flags=re.MULTILINE)
    states, gathered, inputs, logits = (
        [[float(x) for x in re.split(r" \+ ", cell)] for cell in row[1:]] for row in rows
    )
    models = {"lumina": (7.0e9, 65_536, 2_500), "emu3": (8.5e9, 184_622, 8_400)}
    for place, (parameters, vocabulary, n) in enumerate(models.values()):
        assert states[place] == [round(16 * parameters / 8 / 1e9)]
        table = 2 * vocabulary * 4096 * 2 / 1e9  # table and head, bfloat16
        assert gathered[place] == [round(table), round(table), 2 * round(table)]
        assert inputs[place] == [pytest.approx(32 * n * 4096 * 2 / 1e9, abs=0.05)]
        assert logits[place] == [round(3 * LOGITS * 4 / 1e9)]
    assert [round(4 * p / 1e9) for p, _, _ in models.values()] == [28, 34]
    assert [round(12 * p / 1e9) for p, _, _ in models.values()] == [84, 102]
