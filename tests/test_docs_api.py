"""The public functions are on the API pages, and their docstrings say all of it: arguments, result, errors, example."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import sjd2
from _examples import ROOT

import sjd2_kernels
from sjd2_kernels import schemas

NOT_CALLED = {"sjd2.POLICIES"}  # a dictionary; docs/policies.md is about it
PUBLIC = [f"{package.__name__}.{name}" for package in (sjd2_kernels, sjd2) for name in package.__all__]
CALLED = sorted(set(PUBLIC) - NOT_CALLED)
PAGES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md")))


def get(name: str) -> Any:
    package, _, attribute = name.partition(".")
    return getattr({"sjd2": sjd2, "sjd2_kernels": sjd2_kernels}[package], attribute)


def sections(docstring: str) -> dict[str, list[str]]:
    """Section -> the names or types that its entries begin with."""
    found = re.findall(r"^(\w+):\n((?: {4}.*\n?|\n)+)", inspect.cleandoc(docstring) + "\n", flags=re.MULTILINE)
    return {title: re.findall(r"^ {4}(\w+): ", body, flags=re.MULTILINE) for title, body in found}


def lacks(thing: Any) -> list[str]:
    """What is missing from the docstring of a function or class."""
    said = sections(thing.__doc__ or "")
    signature = inspect.signature(thing)
    described = said.get("Args", []) + said.get("Attributes", [])
    missing = [name for name in signature.parameters if name not in described]
    if inspect.isfunction(thing) and signature.return_annotation not in (None, "None") and "Returns" not in said:
        missing.append("Returns")
    if "Examples" not in said and thing.__name__ != "Output":  # made by `generate` only
        missing.append("Examples")
    return missing


@pytest.mark.parametrize("name", CALLED)
def test_public_things_are_on_a_page_and_documented(name: str) -> None:
    assert re.search(rf"^::: {re.escape(name)}$", PAGES, flags=re.MULTILINE)
    assert lacks(get(name)) == []


@pytest.mark.parametrize("name", sorted(schemas.SCHEMAS))
def test_operators_say_shapes_errors_rung_and_source(name: str) -> None:
    text = inspect.cleandoc(get(f"sjd2_kernels.{name}").__doc__)
    said = sections(text)
    assert {"ValueError", "TypeError"} <= set(said["Raises"])
    assert re.search(r"^Determinism: L\d", text, flags=re.MULTILINE)
    assert "Source: " in text
    entries = dict(re.findall(r"^ {4}(\w+): (.*)$", text, flags=re.MULTILINE))
    for argument, value in inspect.signature(get(f"sjd2_kernels.{name}")).parameters.items():
        if "Tensor" in str(value.annotation):
            assert re.search(r"\[[\w+, ]+\]|as (mean|cond)\b", entries[argument]), argument
    assert all("[" in entries[result] for result in said["Returns"])


def test_a_gap_is_seen() -> None:
    def documented(x: int, y: int) -> int:
        """Add.

        Args:
            x: one.
            y: another.

        Returns:
            The sum.

        Examples:
            >>> 1 + 1
            2
        """
        return x + y

    assert lacks(documented) == []
    documented.__doc__ = (
        inspect.cleandoc(documented.__doc__ or "").replace("    y: another.\n", "").replace("Returns", "x")
    )
    assert lacks(documented) == ["y", "Returns"]


def test_attributes_of_the_backbones_are_documented() -> None:
    from sjd2 import backbones

    for name in re.findall(r"^::: sjd2\.backbones\.(\w+)$", PAGES, flags=re.MULTILINE):
        assert name in backbones.__all__
        thing = getattr(backbones, name)
        assert thing.__doc__
        if hasattr(thing, "__dataclass_fields__"):
            assert set(sections(thing.__doc__)["Attributes"]) == set(thing.__dataclass_fields__), name
