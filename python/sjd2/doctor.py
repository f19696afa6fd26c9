"""What a bug report needs: machine, packages, backends with a try of each, and the memory that models take.

Every part is found out by a function that returns plain values and knows nothing of the others: one that fails says so
in its place, and the rest is still there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PACKAGES = {  # the extra that brings it, "" for the package's own dependency
    "torch": "", "triton": "triton", "numpy": "decoder", "transformers": "decoder", "tokenizers": "decoder",
    "safetensors": "decoder", "pillow": "decoder", "tqdm": "decoder", "typer": "decoder", "accelerate": "finetune",
    "pyarrow": "finetune", "matplotlib": "report", "jinja2": "report", "ray": "ray",
}  # fmt: skip
TOOLS = ("c++", "cmake", "ninja", "nvcc")  # that a build from source needs, nvcc for the CUDA C++ kernels alone
VARIABLES = (
    "SJD2_BACKEND", "TRITON_INTERPRET", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDACXX", "CXX",
    "SJD2_CUDA", "SJD2_REQUIRE_NATIVE", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "HF_HOME", "PYTHONPATH",
)  # fmt: skip
# models that the decoder knows, without their files: configuration that transformers' own defaults complete
LUMINA = {"model_type": "chameleon", "max_position_embeddings": 4096}
PUBLISHED: dict[str, dict[str, Any]] = {
    "Lumina-mGPT-7B-512": LUMINA, "Lumina-mGPT-7B-768": LUMINA, "Lumina-mGPT-7B-1024": LUMINA,
    "Emu3-Gen": {"model_type": "Emu3", "max_position_embeddings": 9216},
}  # fmt: skip
PROMPT = 64  # tokens of the prompt that the sizes are for
AGREES = "agrees with the reference"
ALIKE = 1e-4  # largest difference between two backends' attention, of values around 1, float32


def examine(model: str | None = None, dtype: str | None = None, device: str | None = None) -> dict[str, Any]:
    """Find everything out; never raises for what is wrong with the machine.

    Args:
        model: embedded model, folder or hub id whose memory to show; None shows embedded and published ones.
        dtype: of the weights, as in `load`; None is what `load` would take.
        device: where the model would run; None is the GPU where there is one.

    Returns:
        {"system", "packages", "backends", "trial", "memory"}: what each part found, or {"error": text}.

    Raises:
        ValueError: for a device or dtype that cannot be, before anything is found out.

    Examples:
        >>> examine("heroes-lumina")["trial"]["native cpu"]
        'agrees with the reference'
    """
    from .commands._models import find_device, find_dtype

    where, kind = find_device(device), find_dtype(dtype)
    parts: dict[str, Callable[[], Any]] = {
        "system": system, "packages": packages, "backends": backends, "trial": trial,
        "memory": lambda: memory([model] if model else [*_embedded(), *PUBLISHED], kind, where),
    }  # fmt: skip
    return {name: _caught(part) for name, part in parts.items()}


def healthy(found: Mapping[str, Any]) -> bool:
    """Whether nothing in what `examine` returned is an error or a disagreement."""
    models = found["memory"] if isinstance(found["memory"], list) else []
    failed = any(isinstance(part, dict) and "error" in part for part in (*found.values(), *models))
    return not failed and all(text == AGREES for text in found["trial"].values())


def system() -> dict[str, Any]:
    """Version and commit of this package, Python, operating system, processor, memory, GPUs, tools, variables."""
    import torch

    import sjd2_kernels

    from .cache import free_bytes, readable
    from .provenance import commit, processor

    free, cores = free_bytes(torch.device("cpu")), os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return {
        "sjd2-kernels": f"{sjd2_kernels.__version__} (source at {commit()}), in {Path(sjd2_kernels.__file__).parent}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "processor": f"{processor()}, {usable} of {cores} cores, {torch.get_num_threads()} threads of torch",
        "memory": "unknown" if free is None else f"{readable(free)} free",
        **{f"GPU {index}": _gpu(index) for index in range(torch.cuda.device_count())},
        **({} if torch.cuda.device_count() else {"GPU": _no_gpu()}),
        "tools": ", ".join(f"{name} {_tool(name)}" for name in TOOLS),
        "variables": ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none set",
    }


def packages() -> dict[str, str]:
    """Installed versions, and for what is not there the command that installs it."""
    from .provenance import installed

    return {
        name: installed(name) or "not installed: pip install " + (f"'sjd2-kernels[{extra}]'" if extra else name)
        for name, extra in PACKAGES.items()
    }


def backends() -> str:
    """The text of `sjd2_kernels.show_config`."""
    from sjd2_kernels.backends import configuration

    return configuration()


def trial() -> dict[str, str]:
    """One small call of three operators by every live backend: "agrees with the reference", or what went wrong."""
    import torch

    from sjd2_kernels.backends import BACKENDS, PREFERENCE, why_not

    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    found = {}
    for device in devices:
        wanted = _results("reference", device)
        for name in BACKENDS:
            if name != "reference" and name in PREFERENCE[device] and why_not(name) is None:
                try:
                    wrong = _differ(wanted, _results(name, device))
                except Exception as error:
                    wrong = f"fails: {_line(error)}"
                found[f"{name} {device}"] = wrong or AGREES
    return found


def memory(models: list[str], dtype: Any, device: Any) -> list[dict[str, Any]]:
    """What decoding one picture takes by `sjd2` with the card's numbers, from configurations alone.

    Args:
        models: embedded models, folders, hub ids, names of `PUBLISHED`.
        dtype: of the weights; None is what `load` would take.
        device: whose free memory counts.

    Returns: per model a record in bytes; "fits" is the number of pictures that free memory holds at a time (0: none),
        or None where nobody knows. A model that cannot be read has "error" instead.
    """
    from .cache import free_bytes

    free, found = free_bytes(device), []
    for name in models:
        try:
            found.append(_needs(name, dtype, free))
        except (ValueError, OSError) as error:  # another model may be readable
            found.append({"model": name, "error": _line(error)})
    return found


def render(found: Mapping[str, Any]) -> str:
    """What `examine` returned as the text for a bug report."""
    lines: list[str] = []
    for name, part in found.items():
        lines.append(f"{name}:")
        if isinstance(part, dict) and "error" in part:
            lines.append(f"  could not be found out: {part['error']}")
        elif isinstance(part, dict):
            lines += [f"  {key:<14} {value}" for key, value in part.items()] or ["  nothing but the reference is live"]
        else:
            lines += part.splitlines() if isinstance(part, str) else _memory_lines(part)
        lines.append("")
    return "\n".join(lines)


def _needs(name: str, dtype: Any, free: int | None) -> dict[str, Any]:
    """The record of one model."""
    from .backbones.loading import outline
    from .cache import plan
    from .pipeline import of_card, settle

    backbone = outline(name, dtype=dtype, config=None if Path(name).exists() else PUBLISHED.get(name))
    grid, policy = backbone.grid(), of_card(backbone, "sjd2")
    values = settle(backbone, policy, grid, {})
    L, G, N = values["window"], 1 + (values["guidance"] != 1), grid.n_tokens
    first, second = (plan(backbone, policy, B, G * B, L, PROMPT, PROMPT + N) for B in (1, 2))
    weights, one = backbone.memory().weights, first.cache + first.buffers
    each = second.cache + second.buffers - one
    fits = None if free is None else max(0, (free - weights - one) // each + 1)
    return {
        "model": name, "dtype": str(backbone.dtype).removeprefix("torch."), "tokens": N, "L": L, "rows": G,
        "weights": weights, "cache": first.cache, "window": first.buffers,
        "together": weights + one, "each more": each, "free": free, "fits": fits,
    }  # fmt: skip


def _memory_lines(records: list[dict[str, Any]]) -> list[str]:
    """A table, a model a line; below it those that could not be read."""
    from .cache import readable

    wrong = [f"  {r['model']}  {r['error']}" for r in records if "error" in r]
    readings = [r for r in records if "error" not in r]
    if not readings:
        return wrong
    rows = [("model", "dtype", "weights", "cache", "window", "together", "each more", "pictures at a time")]
    for r in readings:
        held = (r["weights"], r["cache"], r["window"], r["together"], r["each more"])
        fits = "unknown" if r["fits"] is None else str(r["fits"] or "none")
        rows.append((r["model"], r["dtype"], *map(readable, held), fits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    free = readings[0]["free"]
    return [
        f"  a picture by sjd2 with the model card's numbers, a prompt of {PROMPT} tokens, without the picture decoder",
        *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows),
        "  pictures at a time: as many as the free memory holds" + ("" if free is None else f", {readable(free)}"),
        *wrong,
    ]


def _results(backend: str, device: str) -> dict[str, Any]:
    """What one backend computes: a law and draws, tokens of the acceptance step, attention over a cache."""
    import torch

    import sjd2_kernels as ops
    from sjd2_kernels.backends import served_by

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cond, uncond, change = (torch.randn(2, 5, 97).to(device) for _ in range(3))
        q, k, v = (torch.randn(2, 5, heads, 16).to(device) for heads in (4, 2, 2))
        k_cache, v_cache = (torch.randn(2, 2, 24, 16).to(device) for _ in range(2))
    law, draft, _ = ops.process_logits(2 * cond - uncond + change * 1.5, top_k=20, seed=3, epoch=1, backend="reference")
    p, fresh, _ = ops.process_logits(cond, uncond, guidance=2.0, top_k=20, seed=3, backend=backend)
    count, tokens, _ = ops.verify_accept(draft, p, law, 3, 0, fresh, backend=backend)
    found = {"p": p, "draws": fresh, "accepted": count, "tokens": tokens}
    if backend in served_by("window_attention", device):
        lengths = torch.tensor([7, 11], dtype=torch.int32, device=device)
        out = ops.window_attention(q, k, v, k_cache, v_cache, lengths, 0, scale=0.25, backend=backend)
        found |= {"attention": out, "keys": k_cache, "values": v_cache}
    return found


def _differ(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Empty, or in what two backends differ: samplers must be equal to the bit, attention closely."""
    import torch

    wrong = [
        name
        for name, value in found.items()
        if not (torch.allclose(value, wanted[name], atol=ALIKE) if name == "attention" else value.equal(wanted[name]))
    ]
    return f"differs from the reference in {', '.join(wrong)}" if wrong else ""


def _gpu(index: int) -> str:
    import torch

    from .cache import readable

    of, (free, whole) = torch.cuda.get_device_properties(index), torch.cuda.mem_get_info(index)
    return (
        f"{of.name}, compute capability {of.major}.{of.minor}, {of.multi_processor_count} multiprocessors, "
        f"{readable(free)} of {readable(whole)} free, CUDA {torch.version.cuda}, driver {_driver()}"
    )


def _no_gpu() -> str:
    import torch

    if torch.version.cuda is None:
        return f"none: torch {torch.__version__} is built without CUDA"
    return f"none that torch {torch.__version__} (CUDA {torch.version.cuda}) finds; driver {_driver()}"


def _driver() -> str:
    from .provenance import nvidia_smi

    return nvidia_smi("driver_version") or "unknown"


def _tool(name: str) -> str:
    path = shutil.which(os.environ.get({"c++": "CXX", "nvcc": "CUDACXX"}.get(name, ""), name))
    if path is None:
        return "absent"
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    version = re.search(r"\d+\.\d[\d.]*", said)
    return version[0] if version else "of unknown version"


def _embedded() -> list[str]:
    from .backbones.checkpoint import embedded

    return embedded()


def _caught(part: Callable[[], Any]) -> Any:
    try:
        return part()
    except Exception as error:  # the rest of the report is worth having
        return {"error": _line(error)}


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: " + " ".join(str(error).split())
