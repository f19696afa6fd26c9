"""Builds the native modules with CMake and Ninja; everything else about the package is in pyproject.toml.

No torch is needed here: the kernels know pointers only. Where the build fails the package installs all the same,
without the native backend, and carries the reason with it for ``sjd2_kernels.show_config()``; SJD2_REQUIRE_NATIVE=1
makes a failed build an error. The CUDA kernels are a second build, where nvcc is found (no GPU is needed, SJD2_CUDA=0
leaves them out); the package is whole without them, so that build may always fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

PACKAGE = "sjd2_kernels"
LIBRARY = "_cpu" + sysconfig.get_config_var("EXT_SUFFIX")
FAILURE = "_native_failure.txt"  # read by sjd2_kernels/native/__init__.py
CUDA_LIBRARY = "_cuda" + sysconfig.get_config_var("EXT_SUFFIX")
CUDA_FAILURE = "_cuda_failure.txt"  # read by sjd2_kernels/cuda/__init__.py
CUDA_SOURCE = "csrc/cuda"
KEPT_LINES = 20


class NativeBuildError(CompileError):
    """The native module could not be built; the text says which step failed and what it printed."""


class CleanBuild(build):
    """Starts from an empty build/lib, so that no module or library of an earlier build gets into a wheel."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class CMakeBuild(build_ext):
    """Configure, compile and install the one extension into the package folder, or leave the reason there."""

    def run(self) -> None:
        prefix = Path("." if self.inplace else self.build_lib).resolve()
        work, failure = Path(self.build_temp).resolve(), prefix / PACKAGE / FAILURE
        for name in (LIBRARY, FAILURE, CUDA_LIBRARY, CUDA_FAILURE):
            prefix.joinpath(PACKAGE, name).unlink(missing_ok=True)
        try:
            build_native(".", work, prefix)
        except NativeBuildError as error:
            if os.environ.get("SJD2_REQUIRE_NATIVE", "0") not in ("", "0"):
                raise
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(f"{error}\n")
            self._without_extension()
            warn(f"{error}\n\nThe package installs without the native CPU kernels, see sjd2_kernels.show_config().")
        else:
            build_cuda(work / "cuda", prefix)

    def _without_extension(self) -> None:
        """What is left is pure Python: say so in the wheel's tag."""
        self.extensions = self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if isinstance(wheel, bdist_wheel):
            wheel.root_is_pure = True


def build_cuda(work: Path, prefix: Path) -> None:
    """Build the CUDA module where nvcc is; a failure leaves its reason in the package."""
    nvcc = find_nvcc()
    if os.environ.get("SJD2_CUDA") == "0" or nvcc is None or not Path(__file__).parent.joinpath(CUDA_SOURCE).is_dir():
        return
    try:
        build_native(CUDA_SOURCE, work, prefix, f"-DCMAKE_CUDA_COMPILER={nvcc}")
    except NativeBuildError as error:
        prefix.joinpath(PACKAGE, CUDA_FAILURE).write_text(f"{error}\n")
        warn(f"{error}\n\nThe package installs without the native CUDA kernels, see sjd2_kernels.show_config().")


def find_nvcc() -> str | None:
    """$CUDACXX, nvcc on the path, or nvcc in the toolkit's usual folder."""
    named = os.environ.get("CUDACXX") or "nvcc"
    return shutil.which(named) or shutil.which("/usr/local/cuda/bin/nvcc")


def build_native(source: str, work: Path, prefix: Path, *more: str) -> None:
    """Build in ``work`` (kept, so that a second build compiles only what changed) and install under ``prefix``."""
    try:
        import cmake
        import ninja
        import pybind11
    except ImportError as error:
        raise NativeBuildError(f"{error}: the build needs the Python packages cmake, ninja and pybind11") from error
    program = str(Path(cmake.CMAKE_BIN_DIR, "cmake"))
    options = [
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR, 'ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        *more,
    ]
    # tools that moved (every isolated build has its own) leave a cache that points nowhere
    settings = [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "LDFLAGS")]  # CMake reads them once
    used, tools = work / "tools.txt", "\n".join([program, *options, *settings])
    if not used.exists() or used.read_text() != tools:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        used.write_text(tools)
    folder = str(Path(__file__).resolve().parent / source)
    run(program, "-S", folder, "-B", str(work), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *options)
    run(program, "--build", str(work))
    run(program, "--install", str(work), "--prefix", str(prefix))


def run(*command: str) -> None:
    """Run one step and show what it prints; on failure keep the part that says why."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        raise NativeBuildError(f"{command[0]} could not be started: {error}") from error
    print(done.stdout, flush=True)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        # the first error and what follows it; later ones are mostly its consequences
        errors = (i for i, line in enumerate(lines) if re.search(r"\berror\b", line, re.IGNORECASE))
        first = next(errors, max(0, len(lines) - KEPT_LINES))
        shown = "\n".join(lines[first : first + KEPT_LINES])
        raise NativeBuildError(f"cmake {command[1]} failed with exit code {done.returncode}:\n{shown}")


def warn(text: str) -> None:
    """Make a warning stand out in a long build log (pip shows the log with -v)."""
    bar = "*" * 100
    print(f"{bar}\nWARNING: sjd2-kernels: {text}\n{bar}", file=sys.stderr, flush=True)


setup(
    ext_modules=[Extension(f"{PACKAGE}._cpu", sources=[], optional=True)],
    cmdclass={"build": CleanBuild, "build_ext": CMakeBuild},
)
