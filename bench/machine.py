"""What numbers were measured on: processor or GPU, versions, clocks, load, commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch
from sjd2.provenance import nvidia_smi, processor

from sjd2_kernels.backends import why_not

# what is asked of nvidia-smi, and under which name it is noted
GPU_FIELDS = {
    "driver_version": "driver",
    "clocks.sm": "sm_clock",
    "clocks.max.sm": "sm_clock_max",
    "clocks.mem": "memory_clock",
    "temperature.gpu": "temperature",
    "power.draw": "power",
    "power.limit": "power_limit",
    "persistence_mode": "persistence",
}


def must_be_built(device: str) -> None:
    """Refuse to time the reference in place of the native kernels.

    Raises: SystemExit on a CPU without them: the folder of sources comes before the installed package, and has its own.
    """
    reason = why_not("native") if torch.device(device).type == "cpu" else None
    if reason:
        raise SystemExit(f"bench: {reason}\nIn this folder: python setup.py build_ext --inplace")


def commit_id() -> str:
    """The short id of the checked-out commit, with a + if the tree has changes; "unknown" outside a checkout."""
    here = Path(__file__).parent
    asked = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    try:
        head, changes = (
            subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for command in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changes else "")


def machine(device: str) -> dict[str, Any]:
    """The machine, for the head of a file of results.

    Args:
        device: "cpu" or "cuda".
    """
    import sjd2_kernels.native as native

    held = {
        "device": "cpu",
        "model": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "native": native.why_not() or native.module().describe(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit_id(),
    }
    if torch.device(device).type == "cuda":
        name = torch.cuda.get_device_name()
        held |= {"device": slug(name), "model": name, "host": processor(), "gpu": gpu_notes(), "triton": _triton()}
        held["cuda"] = torch.version.cuda
    return held


def slug(name: str) -> str:
    """A name as a folder: lower case, letters, digits and dashes.

    Example:
        >>> slug("NVIDIA H100 80GB HBM3")
        'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def gpu_name() -> str:
    """The first device's name as nvidia-smi says it, without a CUDA context; "cuda" where it says nothing."""
    return nvidia_smi("name") or "cuda"


def gpu_notes() -> dict[str, str]:
    """Driver, clocks, temperature and power as nvidia-smi says them now; what it does not say is missing."""
    return read_gpu_notes(nvidia_smi(",".join(GPU_FIELDS)))


def read_gpu_notes(line: str) -> dict[str, str]:
    """A line of nvidia-smi's CSV as named fields."""
    values = [value.strip() for value in line.strip().splitlines()[0].split(",")] if line.strip() else []
    return {name: value for name, value in zip(GPU_FIELDS.values(), values, strict=False) if "N/A" not in value}


def _triton() -> str | None:
    from sjd2_kernels.triton import version

    return version()
