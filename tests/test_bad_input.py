"""Over ten thousand calls with right, odd and wrong arguments: an error that names its operator, or a sane result.
Never a crash.

Each operator has a maker of right arguments and a check of its result; everything that is done to the arguments is
common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from _live import live
from _sampler_cases import LAYOUTS
from torch import Tensor

import sjd2_kernels

Random = np.random.Generator
Arguments = dict[str, Any]
CALLS = 1600  # per operator
EXTREMES = (-(2**63), -(2**31), -1000, -2, -1, 0, 1, 3, 1000, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
REAL = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def size(random: Random, *, zero: bool = True) -> int:
    return int(random.choice([0, 1, 1, 2, 3, 5] if zero else [1, 1, 2, 3, 7, 17]))


def real(random: Random, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(random.normal(0, 2, shape)).to(dtype)


def whole(random: Random, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.from_numpy(random.integers(low, high, shape)).to(dtype)


def some(random: Random, optional: Arguments) -> Arguments:
    return {name: value for name, value in optional.items() if random.random() < 0.5}


# right arguments


def process_logits(random: Random) -> Arguments:
    B, L, V, dtype = size(random), size(random), size(random, zero=False), REAL[random.integers(4)]
    optional = {
        "temperature": real(random, B).abs(), "top_k": whole(random, -1, V + 2, B), "top_p": real(random, B),
        "seed": whole(random, -9, 9, B), "pos": whole(random, -9, 9, B), "epoch": whole(random, -9, 9, B),
        "forced": whole(random, -3, V + 2, B, L), "done": whole(random, 0, 2, B, dtype=torch.int32),
    }  # fmt: skip
    guided = {"uncond": real(random, B, L, V, dtype=dtype), "guidance": real(random, B)}
    return (
        {"cond": real(random, B, L, V, dtype=dtype)}
        | some(random, optional)
        | (guided if random.random() < 0.5 else {})
    )


def verify_accept(random: Random) -> Arguments:
    B, L, V = size(random), size(random), size(random, zero=False)
    p, q = (torch.softmax(real(random, B, L, V), -1) for _ in range(2))
    optional = {
        "epoch": whole(random, -9, 9, B), "verifiable": whole(random, 0, 2, B, L, dtype=torch.bool),
        "forced": whole(random, -3, V + 2, B, L), "done": whole(random, 0, 2, B, dtype=torch.int32),
    }  # fmt: skip
    words = {
        "accept": str(random.choice(["ratio", "match"])),
        "redraw": str(random.choice(["fresh", "keep", "couple"])),
    }
    needed = {
        "draft": whole(random, -1, V, B, L),
        "p": p,
        "q": q,
        "seed": whole(random, -9, 9, B),
        "pos": whole(random, 0, 9, B),
    }
    return needed | {"fresh": whole(random, 0, V, B, L)} | some(random, optional) | some(random, words)


def commit(random: Random) -> Arguments:
    B, L, N, A, ids = size(random), size(random, zero=False), size(random), size(random, zero=False), size(random)
    R, i32 = B * int(random.integers(1, 3)), torch.int32
    return {
        "tokens": whole(random, -1, ids + 1, B, L), "draft": whole(random, -1, ids + 1, B, L),
        "accept_len": whole(random, 0, L + 1, B, dtype=i32), "ids": whole(random, 0, 999, ids),
        "prompt_len": whole(random, 1, 9, R, dtype=i32), "n_tokens": whole(random, 0, N + 2, B),
        "out": whole(random, 0, 9, B, N), "pos": whole(random, 0, N + 1, B),
        "kv_len": whole(random, 0, 12, R, dtype=i32),
        "q_start": whole(random, 0, A + 1, R, dtype=i32), "refeed": whole(random, 0, 9, B, A),
        "epoch": whole(random, 0, 9, B), "done": whole(random, 0, 2, B, dtype=i32),
    } | some(random, {"level": whole(random, 0, 3, B, L, dtype=i32)})  # fmt: skip


def noise_embed(random: Random) -> Arguments:
    B, N, V, C = (size(random) for _ in range(4))
    return {
        "table": real(random, V, C, dtype=REAL[random.integers(4)]), "token": whole(random, -2, V + 2, B, N),
        "mean": real(random, C), "std": real(random, C).abs(), "t": torch.from_numpy(random.random((B, N))).float(),
        "seed": whole(random, -9, 9, B), "pos": whole(random, 0, 9, B),
    } | some(random, {"done": whole(random, 0, 2, B, dtype=torch.int32)})  # fmt: skip


def noise_mix(random: Random) -> Arguments:
    B, L, V, C, T = size(random), size(random), size(random), size(random), size(random)
    dtype, i32 = REAL[random.integers(4)], torch.int32
    optional = {
        "forced": whole(random, -3, V + 2, B, L), "n_tokens": whole(random, 0, 20, B),
        "accept_len": whole(random, 0, L + 1, B, dtype=i32), "done": whole(random, 0, 2, B, dtype=i32),
    }  # fmt: skip
    return {
        "state": real(random, B, L, C, dtype=torch.float64 if dtype == torch.float64 else torch.float32),
        "level": whole(random, 0, T + 1, B, L, dtype=i32), "tokens": whole(random, -1, V, B, L),
        "fresh": whole(random, -1, V, B, L), "shift": whole(random, 0, L + 1, B, dtype=i32),
        "times": torch.linspace(0, 1, T + 1), "table": real(random, V, C, dtype=dtype), "mean": real(random, C),
        "std": real(random, C).abs(), "seed": whole(random, -9, 9, B), "pos": whole(random, 0, 9, B),
    } | some(random, optional)  # fmt: skip


def nearest_token(random: Random) -> Arguments:
    B, L, V, C = size(random), size(random), size(random, zero=False), size(random)
    optional = {"draft": whole(random, -1, V, B, L), "done": whole(random, 0, 2, B, dtype=torch.int32)}
    needed = {
        "state": real(random, B, L, C),
        "table": real(random, V, C, dtype=REAL[random.integers(4)]),
        "bias": real(random, V),
    }
    return needed | some(random, optional)


def window_attention(random: Random) -> Arguments:
    R, M, Hkv, D, S, T = (
        size(random),
        size(random),
        1 + int(random.integers(2)),
        size(random),
        size(random) * 4,
        size(random),
    )
    H, dtype, i32 = Hkv * int(random.integers(1, 4)), REAL[random.integers(4)], torch.int32
    kv_len = whole(random, 0, S + 1, R, dtype=i32)
    caches = [real(random, R, Hkv, S, D, dtype=dtype) for _ in range(2)]
    for r in range(R):
        for cache in caches:
            cache[r, :, int(kv_len[r]) :] = float("nan")
    noisy = {
        "time_k": real(random, T + 1, Hkv, D, dtype=dtype), "time_v": real(random, T + 1, Hkv, D, dtype=dtype),
        "level": whole(random, 0, T + 1, R, M, dtype=i32),
    }  # fmt: skip
    done = {"done": whole(random, 0, 2, R, dtype=i32)} if R else {}
    return {
        "q": real(random, R, M, H, D, dtype=dtype), "k": real(random, R, M, Hkv, D, dtype=dtype),
        "v": real(random, R, M, Hkv, D, dtype=dtype), "k_cache": caches[0], "v_cache": caches[1], "kv_len": kv_len,
        "q_start": whole(random, 0, M + 1, R, dtype=i32), "scale": 0.5,
    } | some(random, done) | (noisy if random.random() < 0.5 else {})  # fmt: skip


# sane results


def finite(*tensors: Tensor) -> bool:
    return all(bool(x.isfinite().all()) for x in tensors)


def within(x: Tensor, low: int, high: int, *others: Tensor | None) -> bool:
    """Every id of x is in low..high-1, or is one of the ids in ``others``, which the caller handed in."""
    allowed = (x >= low) & (x < high)
    for other in others:
        if isinstance(other, Tensor):
            allowed = allowed | torch.isin(x, other.contiguous())
    return bool(allowed.all())


def sane_process_logits(a: Arguments, p: Tensor, fresh: Tensor, status: Tensor) -> bool:
    total = p.sum(-1)
    normalised = ((total - 1).abs() < 1e-5) | (total == 0)
    return (
        finite(p)
        and bool(normalised.all() & (p >= 0).all())
        and within(fresh, -1, p.shape[-1], a.get("forced"))
        and within(status, 0, 8)
    )


def sane_verify_accept(a: Arguments, n: Tensor, tokens: Tensor, ratio: Tensor) -> bool:
    L, V = a["p"].shape[1:]
    given = (a["draft"], a.get("fresh"), a.get("forced"))
    return (
        within(n, 0, L + 1)
        and within(tokens, -1, V, *given)
        and finite(ratio)
        and bool(((ratio >= 0) & (ratio <= 1)).all())
    )


def sane_noise_mix(a: Arguments, state: Tensor, level: Tensor, draft: Tensor, rows: Tensor) -> bool:
    given = (a["tokens"], a["fresh"], a.get("forced"))
    return (
        finite(state)
        and within(level, 0, len(a["times"]))
        and within(draft, -1, 0, *given)
        and rows.shape == state.shape
    )


@dataclass(frozen=True)
class Case:
    """An operator, its maker of right arguments, the check of its result, and the arguments that may hold NaN and
    inf."""

    make: Callable[[Random], Arguments]
    sane: Callable[..., bool]
    anything: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.make.__name__


OPERATORS = [
    Case(process_logits, sane_process_logits, ("cond", "uncond", "guidance", "temperature", "top_p")),
    Case(verify_accept, sane_verify_accept, ("p", "q")),
    Case(commit, lambda a, n: within(n, 0, a["tokens"].shape[1] + 1)),
    Case(noise_embed, lambda a, rows: finite(rows)),
    Case(noise_mix, sane_noise_mix),
    Case(
        nearest_token, lambda a, token: within(token, -1, len(a["table"]), a.get("draft")), ("state", "table", "bias")
    ),
    Case(window_attention, lambda a, out: finite(out)),
]


# what is done to an argument: the first group may leave the call right, the second makes it wrong


def extreme(random: Random, x: Tensor) -> Tensor:
    """Whole numbers far out of range."""
    if x.dtype in (torch.int32, torch.int64) and x.numel():
        limits = torch.iinfo(x.dtype)
        fits = [v for v in EXTREMES if limits.min <= v <= limits.max]
        return torch.from_numpy(random.choice(np.array(fits), tuple(x.shape))).to(x.dtype)
    return x


def broken(random: Random, x: Tensor) -> Tensor:
    """NaN, infinities, denormals and huge numbers in a tenth of the places."""
    if not x.is_floating_point() or not x.numel():
        return x
    odd = torch.from_numpy(random.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0], tuple(x.shape))).to(
        x.dtype
    )
    return torch.where(torch.from_numpy(random.random(tuple(x.shape)) < 0.1), odd, x)


def elsewhere(random: Random, x: Tensor) -> Tensor:
    return LAYOUTS[str(random.choice(list(LAYOUTS)))](x) if x.dim() else x


def other_dtype(random: Random, x: Tensor) -> Tensor:
    return x.nan_to_num().to(
        [*REAL, torch.int32, torch.int64, torch.bool, torch.complex64, torch.uint8][random.integers(9)]
    )


def other_shape(random: Random, x: Tensor) -> Any:
    way = random.integers(5)
    if way == 0:
        return x[None]
    if way == 1:
        return x[..., None]
    if way == 2 and x.dim():
        return x.flatten()
    if way == 3 and x.dim():
        axis = int(random.integers(x.dim()))
        return torch.cat([x, x.narrow(axis, 0, min(1, x.shape[axis]))], axis)
    return x.sum() if x.dtype != torch.bool else x.any()


def other_kind(random: Random, x: Tensor) -> Any:
    return [None, "five", [1, 2], 1.5, 10**30, float("nan"), -1, x.tolist(), np.zeros(2), object()][random.integers(10)]


def other_device(random: Random, x: Tensor) -> Tensor:
    return x.to("meta")


HARMLESS, WRONG = (extreme, elsewhere, broken), (other_dtype, other_shape, other_kind, other_device)
WORDS = {"accept": ["", "Ratio", "match ", 3, None], "redraw": ["all", "", None], "scale": ["x", None],
         "shadow": [-1, 9, "x"], "refeed": [-1, 9, None]}  # fmt: skip


def spoil(random: Random, case: Case, a: Arguments) -> tuple[Arguments, list[str]]:
    """The arguments after 0 to 3 changes, and the names of the changes."""
    changes: list[str] = []
    wrong: set[str] = set()
    for _ in range(int(random.choice([0, 1, 1, 2, 3]))):
        name = str(random.choice(list(a)))
        if isinstance(a[name], Tensor) and name not in wrong:
            kind = HARMLESS if random.random() < 0.5 else WRONG
            change = kind[random.integers(len(kind))]
            if change is broken and name not in case.anything:
                continue
            a[name] = change(random, a[name])
            wrong |= {name} if kind is WRONG else set()
            changes.append(f"{name}: {change.__name__}")
    if case.make in (verify_accept, window_attention) and random.random() < 0.1:
        words = ("accept", "redraw") if case.make is verify_accept else ("scale", "shadow", "refeed")
        name = str(random.choice(words))
        a[name] = WORDS[name][random.integers(len(WORDS[name]))]
        changes.append(f"{name} = {a[name]!r}")
    if random.random() < 0.03:
        name = str(random.choice(list(a)))
        changes.append(f"without {name}")
        del a[name]
    return a, changes


def outcome(case: Case, face: str, a: Arguments) -> str:
    """The word "error" or "result" if all is well, else what is wrong."""
    try:
        if face == "operator":
            out = getattr(torch.ops.sjd2, case.name)(**a)
        else:
            out = getattr(sjd2_kernels, case.name)(**a, backend=None if face == "function" else face)
    except (ValueError, TypeError, RuntimeError) as error:
        # the dispatcher and Python itself speak first where an argument is missing or is no tensor
        named = str(error).startswith((f"{case.name}:", f"sjd2::{case.name}()", f"{case.name}() "))
        return "error" if named else f"message: {type(error).__name__}: {str(error)[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    out = out if isinstance(out, tuple) else (out,)
    if any(x.device.type == "meta" for x in out):
        return "result"
    return "result" if case.sane(a, *out) else f"an insane result {out}"


@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.name)
def test_errors_or_sane_results(case: Case) -> None:
    random, seen, wrong = np.random.default_rng(17), Counter(), []
    faces = ["operator", "function", *live(case.name)]
    for _ in range(CALLS):
        a, changes = spoil(random, case, case.make(random))
        face = faces[random.integers(len(faces))]
        what = outcome(case, face, a)
        seen[what if what in ("error", "result") else "wrong"] += 1
        if what not in ("error", "result"):
            wrong.append(f"{face}, {changes}: {what}")
    assert not wrong, f"{len(wrong)} of {CALLS} calls, for example\n" + "\n".join(dict.fromkeys(wrong[:400]))[:6000]
    assert sum(seen.values()) == CALLS, seen
    assert min(seen["error"], seen["result"]) > CALLS // 6, seen


def test_ten_thousand_calls() -> None:
    assert CALLS * len(OPERATORS) >= 10_000
    assert {case.name for case in OPERATORS} == set(sjd2_kernels.schemas.SCHEMAS)
