"""The house rules that a machine can check: length, docstrings, leftovers, float atomics, local paths, registry hosts.

Each rule is a function from a file's text to the complaints about it, so that each is also shown to fail on a bad
snippet.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {".git", ".venv", "build", "dist", "out", "LICENSE"}
CPP = {".h", ".cpp", ".cu", ".cuh"}
MAX_FILE, MAX_FUNCTION, MAX_KERNEL = 420, 80, 200

Rule = Callable[[str], list[str]]


def files() -> Iterator[Path]:
    """Tracked files and new ones that git does not ignore; without git (an unpacked archive) all that was not built."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if ROOT.joinpath(".git").exists():
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        found = [ROOT / name for name in listed if name]
    else:
        found = list(ROOT.rglob("*"))
    for path in sorted(set(found)):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not NOT_OURS & set(parts) and not any("cache" in p or "egg-info" in p for p in parts):
            yield path


def complaints(rule: Rule, suffixes: set[str] | None = None, folders: tuple[str, ...] = ()) -> list[str]:
    """What ``rule`` finds, as file: complaint."""
    found = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if (suffixes and path.suffix not in suffixes) or (folders and not name.startswith(folders)):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or the like
        found += [f"{name}: {complaint}" for complaint in rule(text)]
    return found


def long_file(text: str) -> list[str]:
    lines = text.count("\n")
    return [f"{lines} lines, at most {MAX_FILE}"] if lines > MAX_FILE else []


def _is_kernel(function: ast.FunctionDef) -> bool:
    return any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def long_python_function(text: str) -> list[str]:
    """Host functions over 80 lines, Triton kernels over 200."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = MAX_KERNEL if isinstance(node, ast.FunctionDef) and _is_kernel(node) else MAX_FUNCTION
            if lines > limit:
                found.append(f"{node.name} has {lines} lines, at most {limit}")
    return found


def _without_comments_and_strings(text: str) -> str:
    """C++ source with comments and literals blanked; line breaks stay."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.DOTALL)


def cpp_functions(text: str) -> Iterator[tuple[str, int]]:
    """Head and number of lines of every function body: a brace block with (...) before it, outside other functions."""
    text = _without_comments_and_strings(text)
    opened: list[tuple[int, str]] = []  # position and head of the open blocks
    start = 0
    for match in re.finditer(r"[{};]|^#.*$", text, flags=re.MULTILINE):
        if match.group() == "{":
            opened.append((match.start(), text[start : match.start()].strip()))
        elif match.group() == "}" and opened:
            begin, head = opened.pop()
            if "(" in head and not any("(" in outer for _, outer in opened):
                yield head, text.count("\n", begin - len(head), match.start()) + 1
        start = match.end()


def long_cpp_function(text: str) -> list[str]:
    """Host functions over 80 lines, __global__ kernels over 200."""
    found = []
    for head, lines in cpp_functions(text):
        limit = MAX_KERNEL if "__global__" in head else MAX_FUNCTION
        if lines > limit:
            found.append(f"{' '.join(head.split())[:80]} has {lines} lines, at most {limit}")
    return found


def undocumented(text: str) -> list[str]:
    """Modules, public classes and public functions without a docstring."""
    module = ast.parse(text)
    found = [] if ast.get_docstring(module) or not text.strip() else ["the module has no docstring"]
    for owner in [module, *(node for node in module.body if isinstance(node, ast.ClassDef))]:
        if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
            continue
        for node in owner.body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                found.append(f"{node.name} has no docstring")
    return found


def leftovers(text: str) -> list[str]:
    return [f"{match!r} is left" for match in re.findall(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b|NotImplemented[E]rror", text)]


def float_atomics(text: str) -> list[str]:
    """Sums of floats in an order that the machine picks; an atomic on integers says "integer" on its line."""
    typed = r"std::atomic(?:_ref)?\s*<\s*(?:float|double|half|__half)|red(?:ux)?\.\S*\.[bf](?:16|32|64)"
    calls = r"atomic(?:Add|Sub)\w*\s*\(|tl\.atomic_\w+\("
    found = []
    for line in text.splitlines():
        if re.search(typed, line) or (re.search(calls, line) and "integer" not in line):
            found.append(f"float atomic? {line.strip()}")
    return found


def local_things(text: str) -> list[str]:
    """Absolute paths of somebody's machine, package registries, and options that name one."""
    paths = r"(?<![\w.])/(?:hom[e]|wor[k]|roo[t]|User[s]|opt/(?:wheel[s]|pyp[i]))/"
    hosts = r"pyp[i]\.org|pythonhoste[d]\.org|download\.pytorc[h]|npmj[s]\.|deb\.debia[n]|conda\.anacond[a]"
    options = r"--(?:extra-)?inde[x]-url|--fin[d]-links"
    return [f"names {match!r}" for match in re.findall(f"{paths}|{hosts}|{options}", text)]


PACKAGES = ("sjd2_kernels/", "python/")


@pytest.mark.parametrize(
    ("rule", "suffixes", "folders"),
    [
        (long_file, CPP | {".py"}, ("csrc/", "tests/", "bench/", *PACKAGES)),
        (long_python_function, {".py"}, ()),
        (long_cpp_function, CPP, ()),
        (undocumented, {".py"}, PACKAGES),
        (leftovers, CPP | {".py", ".toml", ".txt", ".md"}, ()),
        (float_atomics, CPP | {".py"}, ("csrc/", *PACKAGES)),
        (local_things, None, ()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_tree_keeps_the_rule(rule: Rule, suffixes: set[str] | None, folders: tuple[str, ...]) -> None:
    found = complaints(rule, suffixes, folders)
    assert not found, "\n".join(found)


def test_the_rules_see_the_tree() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"sjd2_kernels/backends.py", "csrc/bind_cpu.cpp", "Makefile", "tests/test_style.py"} <= names


CPP_BODY = (
    "namespace sjd2 {\nstruct A {\n  int x;\n  int f(int y) {  // {\n"
    + "    ++y;\n" * 77
    + "    return y;\n  }\n};\n}\n"
)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (long_file, "x = 1\n" * 421, "x = 1\n" * 420),
        (long_python_function, "def f():\n" + "    x = 1\n" * 80, "def f():\n" + "    x = 1\n" * 79),
        (
            long_python_function,
            "@triton.jit\ndef f():\n" + "    x = 1\n" * 200,
            "@jit\ndef f():\n" + "    x = 1\n" * 199,
        ),
        (long_cpp_function, CPP_BODY.replace("return", "++y;\n    return"), CPP_BODY),
        (
            long_cpp_function,
            "int f()\n{\n" + "  if (a) {\n  }\n" * 40 + "}\n",
            "__global__ int f() {\n" + "\n" * 90 + "}\n",
        ),
        (undocumented, '"""Doc."""\ndef f(): pass\n', '"""Doc."""\ndef _f(): pass\n'),
        (undocumented, '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): pass\n', '"""Doc."""\nclass _A: pass\n'),
        (undocumented, "x = 1\n", ""),
        (leftovers, "# TO" + "DO: later", "# TODOs are not here"),
        (leftovers, "raise NotImplemented" + "Error", "return NotImplemented"),
        (float_atomics, "std::atomic<float> sum;", "std::atomic<int64_t> next;"),
        (float_atomics, "atomicAdd(&sum, x);", "atomicAdd(&count, 1);  // integer"),
        (float_atomics, "tl.atomic_add(p, x)", "tl.atomic_add(p, x)  # integer"),
        (local_things, "see /ho" + "me/me/file", "see docs/home/file and ~/.cache"),
        (local_things, "pip install --index" + "-url x", "pip install x"),
        (local_things, "https://pypi." + "org/simple", "https://keepachangelog.com"),
    ],
)
def test_each_rule_can_fail(rule: Rule, bad: str, good: str) -> None:
    assert len(rule(bad)) == 1
    assert rule(good) == []
