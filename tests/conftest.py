"""What every test runs under: poisoned allocations, reproducible Hypothesis, and no skip that goes unnoticed.

- torch.empty and its relatives come filled with NaN (integers: a sentinel), so that an output or a scratch element that
  a kernel forgets to write, or reads too early, shows in the comparison.
- Hypothesis draws the same examples in every run; HYPOTHESIS_PROFILE=explore draws new ones.
- Without a CUDA device Triton kernels run in Triton's interpreter; with one, the same tests run them on the device.
- A skip for any reason but a missing CUDA device fails the session (B32: optional suites that never ran anywhere).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils._device
from hypothesis import settings

import sjd2_kernels
from sjd2_kernels import backends, native

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for bench; last, so that installed packages come first
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton: its kernels run on CPU tensors

NO_CUDA = "no CUDA device"
POISON_INTEGER = -7777777777
ALLOCATORS: tuple[tuple[Any, str], ...] = (
    (torch, "empty"),
    (torch, "empty_like"),
    (torch, "empty_strided"),
    (torch.Tensor, "new_empty"),
    (torch.Tensor, "new_empty_strided"),
)

settings.register_profile("repeat", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


def poison(tensor: torch.Tensor) -> torch.Tensor:
    """Fill a fresh allocation with values that no right result holds."""
    if torch.compiler.is_compiling() or type(tensor) is not torch.Tensor or tensor.device.type == "meta":
        return tensor
    with torch.no_grad():
        if tensor.dtype == torch.bool:
            return tensor.fill_(True)
        if tensor.is_floating_point() or tensor.is_complex():
            return tensor.fill_(float("nan"))
        limits = torch.iinfo(tensor.dtype)
        return tensor.fill_(min(max(POISON_INTEGER, limits.min), limits.max))


def _poisoned(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*args: Any, **kwargs: Any) -> torch.Tensor:
        return poison(allocate(*args, **kwargs))

    return run


@pytest.fixture(scope="session", autouse=True)
def poisoned_allocations() -> Iterator[None]:
    """Every allocation of the session that promises nothing about its contents is poisoned."""
    torch.utils._device._device_constructors()  # what `with torch.device(...)` acts on: collected once, unpatched
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ALLOCATORS:
            patch.setattr(owner, name, _poisoned(getattr(owner, name)))
        watched = native.why_not() is None
        if watched:  # outputs and scratch that the compiled kernels make themselves
            native.module().watch_new_tensors(poison)
        yield
        if watched:
            native.module().watch_new_tensors(None)


def pytest_report_header() -> str:
    """Which package is under test, and whether its native module is in it."""
    reason = backends.why_not("native")
    return f"sjd2_kernels: {os.path.dirname(sjd2_kernels.__file__)}, native {'live' if reason is None else reason}"


class SkipRule:
    """Skips what needs a GPU where there is none, counts skips by reason, and lets no other reason pass."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not torch.cuda.is_available():
            for item in items:
                if item.get_closest_marker("gpu"):
                    item.add_marker(pytest.mark.skip(reason=NO_CUDA))

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = text.removeprefix("Skipped: ")
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @property
    def unexpected(self) -> dict[str, int]:
        return {reason: count for reason, count in self.reasons.items() if reason != NO_CUDA}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        line = f"skips: {self.reasons.get(NO_CUDA, 0)} without a CUDA device, {sum(self.unexpected.values())} others"
        terminalreporter.write_line(line, red=bool(self.unexpected))
        for reason, count in self.unexpected.items():
            terminalreporter.write_line(f"  fails the session: {count} skipped for {reason!r}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Put the rule about skips to work."""
    config.pluginmanager.register(SkipRule(), "skip-rule")
