"""Where numbers come from: the machine and the code, in words that go beside them."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

import sjd2_kernels


def machine(device: torch.device) -> str:
    """What the numbers were taken on, in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    """The processor's name."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line)
        name = next(names, name)
    return name


def installed(package: str) -> str | None:
    """A package's version, or None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def nvidia_smi(fields: str) -> str:
    """What nvidia-smi says of fields, with commas, of the first GPU: a line of CSV; empty where it says nothing."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def commit() -> str:
    """The commit of the source, or the package's version where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or sjd2_kernels.__version__
