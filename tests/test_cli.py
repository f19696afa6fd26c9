"""The command line around the commands: help, errors as one line, how a command is added, what the documents say."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import sjd2
from sjd2 import cli

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    logger = logging.getLogger("sjd2")
    before = logger.level
    yield
    logger.setLevel(before)


def run(*arguments: str) -> int:
    """Exit code of the command line in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code or 0


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert re.findall(r"^  (\w+)  ", text.partition("Commands:")[2], flags=re.MULTILINE) == list(cli.COMMANDS)


def test_help_is_quick_and_python_m_works() -> None:
    """torch and transformers take seconds to import, so nothing of them may be needed for a help text."""
    light = "import sys, sjd2.cli; sjd2.cli.application(); print({'torch', 'transformers', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
    done = subprocess.run([sys.executable, "-m", "sjd2", "generate", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--denoise-steps" in done.stdout


def test_the_installed_script_is_this_one() -> None:
    (entry,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"].items()
    assert entry == ("sjd2", "sjd2.cli:main")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("unknown word 'robbe';\n  did you mean 'robe'?"), "unknown word 'robbe'; did you mean 'robe'?"),
        (FileNotFoundError("load: nowhere is missing"), "load: nowhere is missing"),
        (PermissionError(13, "Permission denied", "/a.png"), "[Errno 13] Permission denied: '/a.png'"),
        (MemoryError("toy: not enough memory: cache 9 GiB"), "toy: not enough memory: cache 9 GiB"),
        (MemoryError(), "not enough memory"),
        (ModuleNotFoundError("sjd2.backbones needs transformers: pip install"), "needs transformers: pip install"),
        (OSError(), "OSError()"),
    ],
)  # fmt: skip
def test_an_error_that_a_user_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sjd2, "load", load)
    assert run("generate", "a dwarf") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"sjd2: (.* )?" + re.escape(line) + "\n", err)


def test_any_other_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(sjd2, "load", load)
    with pytest.raises(KeyError, match="a mistake of ours"):
        cli.main(["generate", "a dwarf"])


def test_verbose_shows_where_an_error_happened() -> None:
    for words, shown in ((["--verbose"], True), ([], False)):
        command = [sys.executable, "-m", "sjd2", *words, "generate", "x", "--out", "x.jpg"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("sjd2: out must be the name of a .png file, got x.jpg\n")
        assert ("Traceback" in done.stderr and "in check_png" in done.stderr) == shown
        assert done.stderr.count("\n") == 1 or shown


def test_wrong_options_and_commands_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["generate"], ["generate", "x", "--windo", "3"], ["generate", "x", "--count", "0"], ["draw"]):
        assert run(*words) == 2
        assert "Error: " in capsys.readouterr().err


def test_without_typer_the_install_line_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    assert run("--help") == 2
    assert capsys.readouterr().err == "sjd2: the command line needs typer: pip install 'sjd2-kernels[decoder]'\n"


def test_a_command_is_added_by_its_module_and_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("sjd2.commands.hello")
    exec("def hello(name: str, loud: bool = False) -> None:\n    print(name.upper() if loud else name)", vars(module))
    monkeypatch.setitem(sys.modules, "sjd2.commands.hello", module)
    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, "hello"))
    assert run("hello", "you", "--loud") == 0
    assert capsys.readouterr().out == "YOU\n"


def test_every_command_is_listed_and_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """The modules of the folder are those of the list, and docs/cli.md names their options, no other ones."""
    folder = Path(os.path.dirname(importlib.import_module("sjd2.commands").__file__ or ""))
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(cli.COMMANDS)
    sections = re.split(r"^## sjd2 (\w+)$", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    documented = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(documented) == list(cli.COMMANDS)
    for name in cli.COMMANDS:
        assert run(name, "--help") == 0
        offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.partition("Options:")[2])) - {"--help"}
        rows = re.findall(r"^\| (`-.*?) \|", documented[name], flags=re.MULTILINE)
        assert set(re.findall(r"--[a-z-]+", " ".join(rows))) == offered
