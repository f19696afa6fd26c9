"""A small picture by every policy on the device: tokens, steps, no synchronisation, and the same from a CUDA graph.

The models are tiny and random, so that nothing has to be fetched; what is decoded means nothing. ``match`` draws with
the noise that plain decoding draws with, so that in float32 it must give the tokens of ``ar``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import POLICIES, get_policy
from torch import Tensor

from .verdict import FAIL, Setting, Verdict, judged

MODELS = {"tiny Lumina": tiny_lumina, "tiny Emu3": tiny_emu3}
L, STEPS = 8, 4
QUIET_STEPS = 3  # decoding steps that run under the error mode of torch.cuda.set_sync_debug_mode


def check(setting: Setting) -> Iterator[Verdict]:
    """Every policy on a tiny model; the second model and bfloat16 only on a device."""
    runs = [("tiny Lumina", torch.float32)]
    if not setting.small:
        runs += [("tiny Lumina", torch.bfloat16), ("tiny Emu3", torch.bfloat16)]
    for model, dtype in runs:
        tokens: dict[str, Tensor] = {}
        for policy in POLICIES:
            name = f"{policy}, {model}, {str(dtype).removeprefix('torch.')}"
            if setting.left < 1:
                yield Verdict("decoding", name, FAIL, "out of time")
                continue
            yield judged("decoding", name, lambda p=policy, m=model, d=dtype, t=tokens: _policy(p, m, d, setting, t))


@cache
def _model(name: str, dtype: torch.dtype, device: str) -> Any:
    return MODELS[name](dtype=dtype, device=device, seed=3)


def _decoder(policy: str, model: str, dtype: torch.dtype, device: str) -> Decoder:
    made = _model(model, dtype, device)
    prompts = made.encode(["a b c", "d"])
    return Decoder(
        made, get_policy(policy), prompts, [made.grid()] * 2, [1, 2],
        L=1 if policy == "ar" else L, denoise_steps=STEPS, sampling=Sampling(2.0, top_k=5),
    )  # fmt: skip


def _run(decoder: Decoder, device: str, graph: bool = False) -> tuple[Tensor, int, float]:
    """Tokens, steps, seconds."""
    steps = 0

    def count(done: int, committed: list[int]) -> None:
        nonlocal steps
        steps = done

    begin = time.perf_counter()
    decoder.run(graph=graph, progress=count)
    if device == "cuda":
        torch.cuda.synchronize()
    return decoder.window.out.cpu(), steps, time.perf_counter() - begin


def _policy(
    policy: str, model: str, dtype: torch.dtype, setting: Setting, tokens: dict[str, Tensor]
) -> tuple[str, dict[str, Any]]:
    device = setting.device
    out, steps, seconds = _run(_decoder(policy, model, dtype, device), device)
    decoder = _decoder(policy, model, dtype, device)
    if not torch.equal(_run(decoder, device)[0], out):
        raise AssertionError("a second run of the same seeds gives other tokens")
    unfinished = (decoder.window.done == 0).sum().item()
    if unfinished or (out < 0).any():
        raise AssertionError(f"{unfinished} images are not finished, {(out < 0).sum().item()} tokens are not ids")
    tokens[policy] = out
    if policy == "match" and dtype == torch.float32 and not torch.equal(out, tokens["ar"]):
        raise AssertionError(f"{(out != tokens['ar']).sum().item()} of {out.numel()} tokens are not those of ar")
    data: dict[str, Any] = {"policy": policy, "model": model, "dtype": str(dtype), "steps": steps, "seconds": seconds}
    text = f"{out.numel()} tokens in {steps} steps, {1e3 * seconds / max(steps, 1):.2f} ms a step"
    if device == "cuda":
        _quiet_steps(_decoder(policy, model, dtype, device))
        again, _, replayed = _run(_decoder(policy, model, dtype, device), device, graph=True)
        if not torch.equal(again, out):
            raise AssertionError(f"{(again != out).sum().item()} of {out.numel()} tokens differ in a captured graph")
        data["graph_seconds"] = replayed
        text += f", the same in a graph ({1e3 * replayed / max(steps, 1):.2f} ms with its capture), no synchronisation"
    return text, data


def _quiet_steps(decoder: Decoder) -> None:
    """Steps in which a synchronisation with the host raises."""
    decoder.prefill()
    decoder.step()  # compiles
    with _no_synchronisation():
        for _ in range(QUIET_STEPS):
            decoder.step()


@contextlib.contextmanager
def _no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
