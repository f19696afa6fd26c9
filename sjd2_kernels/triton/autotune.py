"""The fastest of several launch configurations, measured once per device and shape and remembered on disk.

Only SJD2_AUTOTUNE=1 leads here. The file is one JSON dictionary; a process that adds to it writes a whole new one
beside it and renames it, so that no reader meets half a file.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import version
from .launch import Config

_known: dict[str, str] = {}  # what this process has read or measured


def cache_file() -> Path:
    """Where choices are kept: $XDG_CACHE_HOME/sjd2_kernels/autotune.json."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "sjd2_kernels" / "autotune.json"


def fastest(
    operator: str,
    configs: list[Config],
    run: Callable[[Config], Any],
    key: tuple[Any, ...],
    measure: Callable[[Callable[[], Any]], float] | None = None,
) -> Config:
    """The fastest of ``configs`` for this device and ``key``, from the file or by timing each.

    While a CUDA graph is captured nothing can be timed: then it is the remembered one, or the first.
    """
    names = [json.dumps(config.options(), sort_keys=True) for config in configs]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    entry = json.dumps([operator, device, version(), torch.__version__, list(key), names])
    if entry not in _known:
        _known.update(_read())
    if _known.get(entry) in names:
        return configs[names.index(_known[entry])]
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        return configs[0]
    times = [(measure or _milliseconds)(lambda config=config: run(config)) for config in configs]  # type: ignore[misc]
    best = min(range(len(configs)), key=times.__getitem__)
    _remember(entry, names[best])
    logging.getLogger(__name__).info("%s %s: %s ms for %s, took %s", operator, key, times, names, names[best])
    return configs[best]


def _milliseconds(call: Callable[[], Any]) -> float:
    from triton.testing import do_bench

    return float(do_bench(call, warmup=10, rep=50, return_mode="median"))


def _read() -> dict[str, str]:
    try:
        content = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(entry: str, name: str) -> None:
    _known[entry] = name
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as stream:
        json.dump(_read() | {entry: name}, stream, indent=1)
    os.replace(fresh, path)
