"""End to end at full size: ``python -m bench.e2e``

Milliseconds per decoding step of Lumina-mGPT-7B and Emu3-8B by shape, random weights, in the middle of a picture,
guidance batched: token by token on the same engine, and windows of 16 to 128 slots; eager and as one replayed graph.
Beside it transformers' own generate with guidance. Tokens per second are *projected*: the steps per picture are the
paper's, since random weights accept nothing.

Without a GPU the small scale runs, to see that all of this works; its numbers say nothing about the models.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from sjd2 import cache
from sjd2.backbones.transformer import TransformersBackbone
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import get_policy

from . import e2e_outside, e2e_table, harness, records, roofline
from .clock import Clock, CudaClock, clock_of
from .e2e_models import MODELS, PAPER, PROMPT, SCALES, build
from .grid import WINDOWS
from .harness import Timing
from .replay import Replayed

GUIDANCE, K, T = 3.0, 2000, 25
POLICIES = ("sjd", "sjd2")  # one re-feed row, and sixteen with noise, timesteps and nearest tokens


class Step:
    """A policy's step in the middle of a picture, warmed up.

    Args:
        backbone: the model. policy: by name. L, B: slots, images. clock: of the device.

    Raises: MemoryError, torch.OutOfMemoryError.
    """

    def __init__(self, backbone: TransformersBackbone, policy: str, L: int, B: int, clock: Clock):
        gpu = isinstance(clock, CudaClock)
        before = torch.cuda.memory_allocated() if gpu else 0
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        grid = backbone.grid()
        decoder = Decoder(
            backbone, get_policy(policy), backbone.encode([PROMPT] * B), [grid] * B, list(range(B)), L=L,
            denoise_steps=T, sampling=Sampling(GUIDANCE, top_k=K),
        )  # fmt: skip
        replayed = Replayed(decoder, at=grid.n_tokens // 2)
        prepared = [clock.prepare(replayed.variant(), [()])]
        if isinstance(clock, CudaClock) and prepared[0].how == "graph":
            prepared.append(clock.uncaptured().prepare(replayed.variant(), [()]))
        self.measures = {p.how: p.measure for p in prepared}
        used = torch.cuda.max_memory_allocated() - before if gpu else _planned(backbone, decoder)
        self.says: dict[str, Any] = {
            "policy": policy, "L": L, "B": B, "rows": decoder.M * decoder.G * B, "tokens": grid.n_tokens,
            "prefix": int(decoder.window.kv_len.max()), "memory": backbone.memory().weights + used,
        }  # fmt: skip

    def measure(self, ar: Step, seconds: float) -> dict[str, Any]:
        """One row: this step interleaved with ar's, and how many times longer it takes."""
        rows = {
            f"{how} {who}": step.measures[how] for who, step in (("own", self), ("ar", ar)) for how in self.measures
        }
        taken = harness.interleave(rows, seconds)
        timings = {how: asdict(Timing.of(taken[f"{how} own"], how)) for how in self.measures}
        beside = {how: asdict(Timing.of(taken[f"{how} ar"], how)) for how in self.measures}
        ratios = {how: timings[how]["median"] / beside[how]["median"] for how in timings}
        return self.says | {"timings": timings, "ar": beside, "ratios": ratios}


def _planned(backbone: TransformersBackbone, decoder: Decoder) -> int:
    """Bytes of cache and window as the decoder plans them."""
    B, R, S = decoder.B, decoder.G * decoder.B, decoder.k_cache.shape[3]
    sizes = cache.plan(backbone, decoder.policy, B, R, decoder.L, decoder.M, S)
    return sizes.cache + sizes.buffers


def project(row: dict[str, Any], model: str) -> dict[str, float] | None:
    """Seconds per picture and tokens per second at the paper's number of steps, where it states one."""
    steps = PAPER[model].steps.get((row["policy"], row["L"]))
    if steps is None:
        return None
    seconds = steps * best(row["timings"])["median"] / 1e3
    return {"steps": steps, "seconds": seconds, "tokens_per_second": row["B"] * row["tokens"] / seconds}


def best(by_how: dict[str, Any]) -> Any:
    """What a decoder would run: the graph where there is one."""
    return by_how.get("graph") or next(iter(by_how.values()))


def run_batch(name: str, backbone: TransformersBackbone, B: int, asked: argparse.Namespace, clock: Clock) -> list[Any]:
    """The rows of one batch; one that did not fit in memory or time says so."""
    rows: list[dict[str, Any]] = []
    ar: Step | None = None
    for policy, L in [("ar", 1), *((policy, L) for policy in asked.policies for L in asked.windows)]:
        row: dict[str, Any] = {"policy": policy, "L": L, "B": B}
        rows.append(row)
        if time.perf_counter() - asked.begin > asked.limit:
            row["skipped"] = f"after the limit of {asked.limit:g} s"
            continue
        try:
            step = Step(backbone, policy, L, B, clock)
            ar = ar or step
            row |= step.measure(ar, asked.seconds)
        except (MemoryError, torch.OutOfMemoryError) as error:
            row["skipped"] = str(error).splitlines()[0]
            if ar is None:  # nothing to compare with, and less memory will not come
                break
            continue
        finally:
            step = None
            _free(asked.device)
        row["projected"] = project(row, name) if asked.scale == "full" else None
        print(e2e_table.line(name, row), flush=True)
    return rows


def run_model(name: str, asked: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """All rows of a model."""
    begin = time.perf_counter()
    model, backbone = build(name, asked.scale, asked.device)
    rows = [row for B in asked.batches for row in run_batch(name, backbone, B, asked, clock)]
    _free(asked.device)
    outside = [e2e_outside.measure(model, backbone, B, asked.device) for B in asked.batches] if asked.outside else []
    memory = backbone.memory()
    sizes = {"weights": memory.weights, "per_position": memory.per_position}
    seconds = time.perf_counter() - begin
    return {"model": name, "scale": asked.scale, "rows": rows, "outside": outside, "seconds": seconds, **sizes}


def _free(device: str) -> None:
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, store."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m bench.e2e", description=__doc__)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--scale", choices=SCALES, help="default: full on a GPU, small elsewhere")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), help="beside ar, which is always measured")
    parser.add_argument("--windows", nargs="+", type=int, default=list(WINDOWS))
    parser.add_argument("--batches", nargs="+", type=int, help="default: 1 2 4 8 on a GPU, 1 elsewhere")
    parser.add_argument("--seconds", type=float, default=0.3, help="of measuring per row")
    parser.add_argument("--limit", type=float, default=float("inf"), help="start no row after so many seconds")
    parser.add_argument("--no-outside", dest="outside", action="store_false", help="without transformers' own loop")
    parser.add_argument("--out", type=Path, default=records.RESULTS, help="folder of results")
    asked = parser.parse_args(arguments)
    on_gpu = torch.device(asked.device).type == "cuda"
    asked.scale = asked.scale or ("full" if on_gpu else "small")
    asked.batches = asked.batches or ([1, 2, 4, 8] if on_gpu else [1])
    asked.begin = time.perf_counter()
    clock, ceilings = clock_of(asked.device), roofline.measure_ceilings(asked.device)
    found = [run_model(name, asked, clock) for name in asked.models]
    run = records.assemble(asked.device, ceilings, []) | {"models": found}
    print("\n" + e2e_table.render(run) + f"\n\nwritten to {records.store(run, asked.out, 'e2e')}")
    skipped = sum("skipped" in row for each in found for row in each["rows"])
    if skipped:
        print(f"{skipped} rows were not measured", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
