"""One call per operator and shape, with random inputs and the least work that it is (bench/roofline.py).

The full shapes are those of a decoding step of a 7 B or 8 B model: L = 96, two model rows, bfloat16; the small ones are
for the interpreter, where nothing is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import sjd2_kernels

from ..roofline import WORK, Ceilings, Work

Inputs = dict[str, Any]
# of an H100: a copy, bytes read plus written, and large matrix products
H100 = Ceilings(3.0e12, {"bfloat16": 790e12, "float32": 50e12})
BFLOAT16 = torch.bfloat16
IN_PLACE = {
    "window_attention": ("k_cache", "v_cache"),
    "commit": ("out", "pos", "kv_len", "q_start", "refeed", "epoch", "done"),
}


@dataclass(frozen=True)
class Case:
    """A call of an operator.

    Attributes:
        operator, name: what is called, and its shape in words.
        make: the inputs, on the CPU, of a seed.
        work: what no implementation can do without.
        exact: outputs must equal the CPU's bit for bit (rung L3); else to ``tolerance`` of the largest.
        tolerance: one rounding of the output's type, and a little for sums in another order.
    """

    operator: str
    name: str
    make: Callable[[int], Inputs]
    work: Work
    exact: bool = False
    tolerance: float = 2.0**-7

    def run(self, inputs: Inputs, backend: str | None) -> list[Tensor]:
        """The outputs, and what was written in place."""
        out = getattr(sjd2_kernels, self.operator)(**inputs, backend=backend)
        written = IN_PLACE.get(self.operator, ())
        return [*(out if isinstance(out, tuple) else [out]), *(inputs[name] for name in written)]


def generator(seed: int) -> torch.Generator:
    """Of the inputs of a seed."""
    return torch.Generator().manual_seed(seed)


def process_logits(V: int, L: int, top_k: int | None) -> Case:
    """Guidance, and top-k or nothing."""

    def make(seed: int) -> Inputs:
        cond, uncond = (2.0 * torch.randn(2, 1, L, V, generator=generator(seed))).to(BFLOAT16)
        made: Inputs = {"cond": cond, "uncond": uncond, "guidance": torch.tensor([3.0]), "seed": torch.tensor([seed])}
        return made | {"pos": torch.tensor([7])} | ({} if top_k is None else {"top_k": torch.tensor([top_k])})

    name = f"V={V}, guidance, top-k {'off' if top_k is None else top_k}"
    work = WORK["process_logits"](B=1, L=L, V=V, dtype="bfloat16")
    return Case("process_logits", name, make, work, exact=True)


def verify_accept(V: int, L: int, redraw: str) -> Case:
    """Drafts of the previous iteration's law, which is near: some are accepted, then one is not."""

    def make(seed: int) -> Inputs:
        g = generator(seed)
        logits = 2.0 * torch.randn(1, L, V, generator=g)
        q, p = (torch.softmax(x, -1) for x in (logits, logits + 0.3 * torch.randn(1, L, V, generator=g)))
        drawn = [torch.multinomial(x[0], 1, generator=g).T.contiguous() for x in (q, p)]
        made: Inputs = {"draft": drawn[0], "p": p, "q": q, "seed": torch.tensor([seed]), "pos": torch.tensor([3])}
        return made | {"fresh": drawn[1], "redraw": redraw}

    return Case("verify_accept", f"V={V}, {redraw}", make, WORK["verify_accept"](B=1, L=L, V=V), exact=True)


def commit(L: int, N: int) -> Case:
    """A guided image at its beginning; N is far away, so that repeated calls go on committing."""

    def make(seed: int) -> Inputs:
        g = generator(seed)
        tokens = torch.randint(0, 50, (1, L), generator=g)
        state: Inputs = {"out": torch.randint(0, 50, (1, N), generator=g), "pos": torch.tensor([5])}
        state |= {"kv_len": torch.tensor([14, 11], dtype=torch.int32), "q_start": torch.zeros(2, dtype=torch.int32)}
        state |= {
            "refeed": torch.full((1, 1), 9),
            "epoch": torch.tensor([2]),
            "done": torch.zeros(1, dtype=torch.int32),
        }
        window: Inputs = {"tokens": tokens, "draft": tokens.clone(), "ids": torch.arange(100, 150)}
        window |= {"accept_len": torch.tensor([seed % L], dtype=torch.int32), "n_tokens": torch.tensor([N])}
        return window | {"prompt_len": torch.tensor([9, 6], dtype=torch.int32)} | state

    return Case("commit", f"L={L}", make, WORK["commit"](B=1, L=L), exact=True)


def window_attention(M: int, H: int, Hkv: int, D: int, prefix: int) -> Case:
    """One guided image: two model rows."""
    R, T = 2, 25

    def make(seed: int) -> Inputs:
        g = generator(seed)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g).to(BFLOAT16)

        made: Inputs = {"q": noise(R, M, H, D), "k": noise(R, M, Hkv, D), "v": noise(R, M, Hkv, D), "scale": D**-0.5}
        made |= {"k_cache": noise(R, Hkv, prefix + M + 8, D), "v_cache": noise(R, Hkv, prefix + M + 8, D)}
        made |= {"kv_len": torch.tensor([prefix, prefix - 3], dtype=torch.int32)}
        made |= {"q_start": torch.zeros(R, dtype=torch.int32), "time_k": noise(T + 1, Hkv, D)}
        made |= {"time_v": noise(T + 1, Hkv, D), "level": torch.randint(0, T + 1, (R, M), generator=g).int()}
        return made

    name = f"{'MHA' if H == Hkv else 'GQA'} {H}/{Hkv}, M={M}, D={D}, prefix {prefix}"
    work = WORK["window_attention"](B=1, L=M, H=H, Hkv=Hkv, D=D, prefix=prefix, dtype="bfloat16")
    return Case("window_attention", name, make, work)


def noise_embed(N: int, C: int, V: int) -> Case:
    """A training batch of two pictures, a third of it clean."""
    B = 2

    def make(seed: int) -> Inputs:
        g = generator(seed)
        t = torch.rand(B, N, generator=g)
        t[:, ::3] = 0.0
        made: Inputs = {"table": torch.randn(V, C, generator=g).to(BFLOAT16), "t": t, "std": torch.ones(C)}
        made |= {"token": torch.randint(0, V, (B, N), generator=g), "mean": torch.zeros(C)}
        return made | {"seed": torch.tensor([seed, 1]), "pos": torch.tensor([0, 5])}

    return Case("noise_embed", f"{B} x {N} x {C}", make, WORK["noise_embed"](B=B, N=N, C=C, dtype="bfloat16"))


def noise_mix(L: int, C: int, V: int) -> Case:
    """Every level, some new slots."""
    B, T = 2, 25

    def make(seed: int) -> Inputs:
        g = generator(seed)
        made: Inputs = {"state": torch.randn(B, L, C, generator=g), "times": torch.linspace(0, 1, T + 1)}
        made |= {"level": torch.randint(0, T + 1, (B, L), generator=g).int(), "mean": torch.zeros(C)}
        made |= {name: torch.randint(0, V, (B, L), generator=g) for name in ("tokens", "fresh")}
        made |= {"shift": torch.tensor([3, 1], dtype=torch.int32), "std": torch.ones(C)}
        made |= {"table": torch.randn(V, C, generator=g).to(BFLOAT16), "seed": torch.tensor([seed, 1])}
        return made | {"pos": torch.tensor([0, 5])}

    return Case("noise_mix", f"{B} x {L} x {C}", make, WORK["noise_mix"](B=B, L=L, C=C, dtype="bfloat16"))


def nearest_token(L: int, C: int, V: int) -> Case:
    """Every slot of an image needs scores."""

    def make(seed: int) -> Inputs:
        g = generator(seed)
        table = torch.randn(V, C, generator=g).to(BFLOAT16)
        return {"state": torch.randn(1, L, C, generator=g), "table": table, "bias": torch.randn(V, generator=g)}

    work = WORK["nearest_token"](B=1, L=L, V=V, C=C, dtype="bfloat16")
    return Case("nearest_token", f"V={V}, L={L}, C={C}", make, work, exact=True)


FULL = (
    process_logits(8192, 96, 2000), process_logits(8192, 96, None), process_logits(32768, 96, 2000),
    process_logits(32768, 96, None), process_logits(65536, 96, 2000),
    verify_accept(8192, 96, "fresh"), verify_accept(8192, 96, "couple"), verify_accept(32768, 96, "fresh"),
    verify_accept(32768, 96, "couple"),
    commit(96, 2**16),
    window_attention(97, 32, 32, 128, 2048), window_attention(97, 32, 32, 128, 4096),
    window_attention(97, 32, 8, 128, 4096), window_attention(97, 32, 8, 128, 8192),
    window_attention(1, 32, 32, 128, 4096),
    noise_embed(1024, 4096, 8192), noise_mix(96, 4096, 8192),
    nearest_token(64, 4096, 8192), nearest_token(64, 4096, 32768),
)  # fmt: skip
SMALL = (
    process_logits(70, 3, 20), verify_accept(70, 4, "couple"), commit(4, 200), window_attention(5, 4, 2, 16, 20),
    noise_embed(4, 24, 9), noise_mix(5, 24, 9), nearest_token(5, 32, 70),
)  # fmt: skip
