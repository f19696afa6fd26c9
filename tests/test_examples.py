"""What the documents and docstrings show runs: every Python block, every docstring example, every command line."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import sjd2
import torch
import typer
from _examples import PAGES, ROOT, Block, blocks, examples
from sjd2 import cli

import sjd2_kernels


def runs() -> list[list[Block]]:
    return [run for page in PAGES for run in examples(page)]


def name_of(run: list[Block]) -> str:
    return f"{run[0].page.name}:{run[0].line}"


@pytest.mark.parametrize("run", runs(), ids=name_of)
def test_blocks_of_the_documents_run(run: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, assertions included, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "example"}
    for block in run:
        block.run(names)


def modules() -> list[str]:
    """Every Python module of both packages whose text holds an example; nothing is imported to find them."""
    found = []
    for package in (sjd2_kernels, sjd2):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                found.append(".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts)))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings_run(name: str) -> None:
    torch.manual_seed(0)
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert (failed, attempted > 0) == (0, True)


def command_lines() -> Iterator[tuple[Block, list[str]]]:
    """The commands of all shell blocks, in words, without comments."""
    for page in PAGES:
        for block in blocks(page):
            for line in block.code.splitlines() if block.language == "" else ():
                if re.match(r"(sjd2|python|make|pip|accelerate) ", line):
                    yield block, shlex.split(line, comments=True)


def complaint(words: list[str]) -> str | None:
    """What is wrong with a command line: a command, option, module or target that is not there."""
    if "-m" in words and words[0] != "sjd2":
        words = words[words.index("-m") + 1 :]
        if importlib.util.find_spec(words[0]) is None:
            return f"no module {words[0]}"
    if words[0] == "sjd2":
        group = typer.main.get_command(cli.application())
        try:
            _, command, rest = group.resolve_command(group.make_context("sjd2", words[1:]), words[1:])
            command.make_context(words[1], rest)
        except Exception as error:
            return str(error) or repr(error)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    if words[0] == "make":
        return next((f"no target {word}" for word in words[1:] if "=" not in word and word not in targets), None)
    return None


def test_command_lines_are_understood() -> None:
    found = list(command_lines())
    assert len(found) > 10
    wrong = [
        f"{block.page.name}:{block.line}: {words}: {complaint(words)}" for block, words in found if complaint(words)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("sjd2 generate hero --policy sjd2 -o hero.png", False),
        ("sjd2 generate hero --polcy sjd2", True),
        ("sjd2 generate hero --count many", True),
        ("sjd2 paint hero", True),
        ("accelerate launch -m sjd2 finetune --model m --data d --out o", False),
        ("accelerate launch -m sjd2 finetune --model m", True),
        ("python -m sjd2.heroes.train --out runs", False),
        ("python -m sjd2.heroes.tain", True),
        ("make demo ARGS=-x", False),
        ("make picture", True),
    ],
)
def test_wrong_command_lines_are_seen(line: str, wrong: bool) -> None:
    assert (complaint(line.split()) is not None) == wrong
