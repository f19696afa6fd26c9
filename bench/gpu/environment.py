"""The versions and the machine: first, so that everything below can be read against them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import Any

import torch
from sjd2.provenance import installed

from sjd2_kernels.backends import configuration

from ..machine import commit_id, gpu_notes
from .verdict import FAIL, Setting, Verdict, judged

PACKAGES = ("torch", "triton", "numpy", "transformers", "pytest", "hypothesis")


def packages() -> dict[str, str]:
    """Installed versions."""
    return {"python": platform.python_version()} | {name: installed(name) or "absent" for name in PACKAGES}


def tools() -> dict[str, str]:
    """Where the programs are that build and watch kernels."""
    from ..aot_cuda import compiled_with, find_nvcc
    from .sanitizer import find_sanitizer

    nvcc = find_nvcc()
    return {"nvcc": compiled_with(nvcc) if nvcc else "absent", "compute-sanitizer": find_sanitizer() or "absent"}


def check(setting: Setting) -> Iterator[Verdict]:
    """Software, tools, device, backends."""
    yield judged("environment", "packages", lambda: _listed(packages() | {"commit": commit_id()}))
    yield judged("environment", "tools", lambda: _listed(tools()))
    yield judged("environment", "device", lambda: _device(setting))
    yield judged("environment", "backends", _backends)


def _listed(found: dict[str, str]) -> tuple[str, dict[str, Any]]:
    return ", ".join(f"{name} {value}" for name, value in found.items()), dict(found)


def _device(setting: Setting) -> Verdict | tuple[str, dict[str, Any]]:
    if setting.device == "cpu":
        return f"cpu, {os.cpu_count()} cores (asked for)", {"device": "cpu", "cores": os.cpu_count()}
    if not torch.cuda.is_available():
        return Verdict("environment", "device", FAIL, "torch finds no CUDA device; --device cpu tries the script")
    of, memory = torch.cuda.get_device_properties(0), torch.cuda.mem_get_info(0)
    data: dict[str, Any] = {
        "device": of.name,
        "capability": f"{of.major}.{of.minor}",
        "multiprocessors": of.multi_processor_count,
    }
    data |= {"memory": memory[1], "free": memory[0], "cuda": torch.version.cuda, "card": gpu_notes()}
    driver = data["card"].get("driver", "unknown")
    text = f"{of.name}, compute capability {of.major}.{of.minor}, {of.multi_processor_count} multiprocessors, "
    return text + f"{memory[1] / 2**30:.0f} GiB, driver {driver}, CUDA {torch.version.cuda}", data


def _backends() -> tuple[str, dict[str, Any]]:
    text = configuration()
    return text, {"show_config": text}
