"""What a build leaves behind: without a compiler a package that works and says why, with SJD2_REQUIRE_NATIVE=1 an
error, and wheels that hold what they must and are tagged for what they hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "setup.py", "CMakeLists.txt", "LICENSE", "README.md", "sjd2_kernels", "python")
PLATFORM_TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


def copy_sources(folder: Path, *more: str) -> Path:
    """The files a build reads, away from the build folders of the work tree."""
    built = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", "_*_failure.txt")
    for name in (*SOURCES, *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=built)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_setup(source: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """setup.py as pip runs it without build isolation."""
    command = [sys.executable, "setup.py", "--quiet", *words]
    settings = {name: value for name, value in os.environ.items() if name not in ("CXX", "SJD2_REQUIRE_NATIVE")}
    return subprocess.run(command, cwd=source, env=settings | environment, capture_output=True, text=True)


def build_wheel(source: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The wheel lies in source/dist."""
    return run_setup(source, "bdist_wheel", **environment)


def only_wheel(source: Path) -> zipfile.ZipFile:
    (wheel,) = source.joinpath("dist").glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A build whose compiler always fails."""
    source = copy_sources(tmp_path_factory.mktemp("without_compiler") / "source")
    return source, build_wheel(source, CXX="/bin/false")


@pytest.fixture(scope="module")
def small_native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native build of an empty module, so that packaging is tested in seconds."""
    source = copy_sources(tmp_path_factory.mktemp("small_native") / "source")
    source.joinpath("CMakeLists.txt").write_text(SMALL_CMAKE)
    source.joinpath("module.cpp").write_text(SMALL_MODULE)
    source.joinpath("sjd2_kernels", "_native_failure.txt").write_text("of an earlier build\n")
    done = build_wheel(source, SJD2_REQUIRE_NATIVE="1")
    assert done.returncode == 0, done.stderr
    return source


SMALL_CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(small LANGUAGES CXX)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
Python_add_library(_cpu MODULE WITH_SOABI module.cpp)
install(TARGETS _cpu LIBRARY DESTINATION sjd2_kernels)
"""
SMALL_MODULE = """
#include <Python.h>
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_cpu", 0, -1, 0, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit__cpu() { return PyModule_Create(&definition); }
"""


def test_without_a_compiler_the_build_warns_and_succeeds(without_compiler: tuple) -> None:
    source, done = without_compiler
    assert done.returncode == 0, done.stderr
    assert "WARNING: sjd2-kernels: cmake -S failed with exit code 1:" in done.stderr
    assert "installs without the native CPU kernels, see sjd2_kernels.show_config()" in done.stderr
    assert Path(only_wheel(source).filename).name.endswith("-py3-none-any.whl")


def test_without_a_compiler_the_package_works_and_says_why(without_compiler: tuple, tmp_path: Path) -> None:
    only_wheel(without_compiler[0]).extractall(tmp_path)
    program = """
import sjd2_kernels, torch
text = sjd2_kernels.show_config()
p = torch.full((1, 2, 4), 0.25)
accept_len, tokens, ratio = sjd2_kernels.verify_accept(torch.tensor([[0, 1]]), p, p, seed=0, pos=0)
assert accept_len.tolist() == [2] and tokens.tolist() == [[0, 1]]
"""
    settings = os.environ | {"PYTHONPATH": str(tmp_path), "SJD2_BACKEND": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "native     not live: it could not be built when this package was installed: cmake -S failed" in done.stdout
    assert "/bin/false" in done.stdout  # what CMake said
    assert "Install a C++17 compiler, then this package again" in done.stdout
    assert "reference  live" in done.stdout
    assert "cpu        " in done.stdout
    assert done.stderr.count("backend 'native' is not available, a slower one runs") == 1


def test_required_native_fails_with_the_compilers_message(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source")
    source.joinpath("CMakeLists.txt").write_text(SMALL_CMAKE)
    source.joinpath("module.cpp").write_text("int broken() { return undeclared_name; }\n")
    done = build_wheel(source, SJD2_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "cmake --build failed with exit code" in done.stderr
    assert re.search("module.cpp:1:.* error: .*undeclared_name", done.stderr), done.stderr
    assert not source.joinpath("dist").exists()


def test_a_native_wheel_is_tagged_and_complete(small_native: Path) -> None:
    wheel = only_wheel(small_native)
    names = wheel.namelist()
    assert f"-{PLATFORM_TAG}-{PLATFORM_TAG}-" in Path(wheel.filename).name
    assert [name for name in names if name.startswith("sjd2_kernels/_cpu.") and name.endswith(".so")]
    assert "sjd2_kernels/_native_failure.txt" not in names  # of an earlier build
    assert {"sjd2_kernels/py.typed", "sjd2/py.typed", "sjd2/__init__.py"} <= set(names)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    data = {p.relative_to(ROOT / "python").as_posix() for p in ROOT.glob("python/sjd2/heroes/data/*")}
    assert len(data) == 5
    assert data <= set(names)
    assert {f"sjd2/finetune/configs/{name}.yaml" for name in ("fsdp2", "zero3")} <= set(names)
    (scripts,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert "sjd2 = sjd2.cli:main" in scripts
    for folder in (ROOT, ROOT / "python"):
        sources = {p.relative_to(folder).as_posix() for p in folder.glob("sjd2*/**/*.py")}
        assert sources
        assert sources <= set(names)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_failed_cuda_build_leaves_its_reason(small_native: Path, tmp_path: Path, wanted: bool) -> None:
    """Not an error even with SJD2_REQUIRE_NATIVE=1, which is about the CPU module; SJD2_CUDA=0 does not try."""
    source = tmp_path / "source"
    shutil.copytree(small_native, source, ignore=shutil.ignore_patterns("build", "dist"))
    source.joinpath("csrc", "cuda").mkdir(parents=True)
    source.joinpath("csrc", "cuda", "CMakeLists.txt").write_text('message(FATAL_ERROR "Error: no such card")\n')
    switches = {"SJD2_REQUIRE_NATIVE": "1", "CUDACXX": "/bin/true", "SJD2_CUDA": "1" if wanted else "0"}
    done = run_setup(source, "build_ext", "--inplace", **switches)
    assert done.returncode == 0, done.stderr
    assert list(source.joinpath("sjd2_kernels").glob("_cpu.*.so"))
    reason = source / "sjd2_kernels" / "_cuda_failure.txt"
    assert reason.exists() == wanted
    assert ("no such card" in done.stderr) == wanted
    assert not wanted or "no such card" in reason.read_text()


def test_a_build_ships_nothing_of_an_earlier_one(small_native: Path) -> None:
    shutil.rmtree(small_native / "dist")
    (built,) = small_native.joinpath("build").glob("lib*")
    built.joinpath("sjd2_kernels", "removed.py").write_text("")
    small_native.joinpath("module.cpp").write_text("#error broken on purpose\n")
    done = build_wheel(small_native)
    assert done.returncode == 0, done.stderr
    wheel = only_wheel(small_native)
    assert not [name for name in wheel.namelist() if name.endswith(".so") or "removed" in name]
    assert "broken on purpose" in wheel.read("sjd2_kernels/_native_failure.txt").decode()


def test_builds_in_place_replace_what_an_earlier_one_left(small_native: Path) -> None:
    """The folder of an editable install holds a library or the reason why there is none, never both."""
    package = small_native / "sjd2_kernels"
    reason = package / "_native_failure.txt"
    small_native.joinpath("module.cpp").write_text(SMALL_MODULE)
    assert run_setup(small_native, "build_ext", "--inplace").returncode == 0
    assert list(package.glob("_cpu.*.so"))
    assert not reason.exists()
    assert run_setup(small_native, "build_ext", "--inplace", CXX="/bin/false").returncode == 0
    assert not list(package.glob("_cpu.*.so"))
    assert "/bin/false" in reason.read_text()


def test_source_distribution_holds_what_a_build_needs(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source", "csrc", "constraints", "tests", "docs", "Makefile", "MANIFEST.in")
    assert run_setup(source, "sdist", "--formats=zip").returncode == 0
    (archive,) = source.joinpath("dist").glob("*.zip")
    names = {name.partition("/")[2] for name in zipfile.ZipFile(archive).namelist()}
    kernels = {p.relative_to(ROOT).as_posix() for p in ROOT.joinpath("csrc").rglob("*") if p.is_file()}
    assert kernels <= names
    assert {"python/sjd2/heroes/data/codebook.npz", "python/sjd2/heroes/data/phrases.toml"} <= names
    assert "python/sjd2/report/page.html" in names
    assert {"CMakeLists.txt", "setup.py", "pyproject.toml", "constraints/cpu.txt", "LICENSE", "Makefile"} <= names
