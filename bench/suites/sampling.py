"""process_logits, verify_accept, and both together, guidance on, beside the eager chains, torch.compile and a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import sjd2_kernels

from .. import eager, flashinfer_peers
from ..case import Case, Spec, WrongResult, within
from ..clock import Clock, Variant, copies
from ..grid import BATCHES, DTYPES, VOCABULARIES, WINDOWS, product, star

GUIDANCE, K = 3.0, 2000
BASE = {"B": 1, "L": 96, "V": 8192, "top_k": K, "dtype": "float32"}
BOTH = "process_logits + verify_accept"
# peer -> least ratio on a CPU of two cores, float32, by (V, top-k)
TARGETS = {
    (65_536, K): {"eager": 40.0, "smart eager": 15.0},
    (8192, K): {"eager": 20.0, "smart eager": 10.0},
    (65_536, 0): {"eager": 12.0},
    (8192, 0): {"eager": 12.0},
}


def specs(grid: str) -> list[Spec]:
    """Both together over all axes; each alone over the vocabulary."""
    if grid == "smoke":
        tiny = {"B": 2, "L": 4, "V": 96, "top_k": 20, "dtype": "float32"}
        return [Spec("sampling", name, tiny) for name in (BOTH, "process_logits", "verify_accept")]
    axes: dict[str, Any] = {"V": VOCABULARIES, "L": WINDOWS, "B": BATCHES, "top_k": (K, 0), "dtype": DTYPES}
    if grid == "full":
        points = product(BASE, axes)
    else:
        points = star(BASE, axes | {"B": (1, 4)})
        points += [BASE | {"V": 65_536, "top_k": 0}, BASE | {"V": 65_536, "dtype": "bfloat16"}]
    found = []
    for point in points:
        at_base = all(point[name] == BASE[name] for name in ("B", "L", "dtype"))
        shown = at_base and point["V"] in (8192, 32_768, 65_536)
        compiled = at_base and point["top_k"] == K and (grid == "full" or point["V"] in (8192, 65_536))
        found.append(Spec("sampling", BOTH, point, compiled, shown))
    alone = star(BASE, {"V": VOCABULARIES})
    return found + [Spec("sampling", name, point) for name in ("process_logits", "verify_accept") for point in alone]


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """Draft and q come from the law of slightly other logits, as from the previous iteration."""
    n = spec.numbers
    B, L, V, k = n["B"], n["L"], n["V"], n["top_k"]
    torch.manual_seed(0)
    cond, uncond = ((2.0 * torch.randn(B, L, V, device=device)).to(getattr(torch, n["dtype"])) for _ in range(2))
    q, draft, _ = sjd2_kernels.process_logits(cond * 0.95, uncond, guidance=GUIDANCE, top_k=k or None, seed=1)
    step = _Step(draft, B, k, device)
    make = {BOTH: _both, "process_logits": _process, "verify_accept": _verify}[spec.operator]
    return make(spec, clock, step, cond, uncond, q)


class _Step:
    """Our operators with the small tensors of a step."""

    def __init__(self, draft: Tensor, B: int, k: int, device: str):
        self.draft, self.k = draft, k
        self.one = torch.ones(B, dtype=torch.int64, device=device)
        self.guidance = torch.full((B,), GUIDANCE, device=device)
        self.top_k = torch.full((B,), k, dtype=torch.int64, device=device)

    def process(self, cond: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.sjd2.process_logits(
            cond, uncond, self.guidance, None, self.top_k, None, self.one, self.one
        )
        return result

    def verify(self, p: Tensor, q: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.sjd2.verify_accept(
            self.draft, p, q, self.one, self.one, fresh
        )
        return result

    def both(self, cond: Tensor, uncond: Tensor, q: Tensor) -> Any:
        p, fresh, _ = self.process(cond, uncond)
        return p, self.verify(p, q, fresh)


def law_gate(step: _Step, cond: Tensor, uncond: Tensor) -> dict[str, float]:
    """p: at most twice the error of the same-precision PyTorch expression, and one unit of float32 more."""
    p, fresh, status = step.process(cond, uncond)
    if bool(status.any()) or bool((p.gather(-1, fresh[..., None]) <= 0).any()):
        raise WrongResult("process_logits: a flagged row, or a draw that its law does not hold")
    found = allowed = 0.0
    for b in range(len(p)):  # image by image: the exact law is in float64
        scores = eager.guided(cond[b].float(), uncond[b].float(), GUIDANCE)
        exact, single = eager.top_k_law(scores.double(), step.k), eager.top_k_law(scores, step.k)
        found = max(found, float((p[b] - exact).abs().max()))
        allowed = max(allowed, 2 * float((single - exact).abs().max()) + 2**-23)
    return within(found, allowed, "process_logits")


def _tokens_gate(step: _Step, p: Tensor, q: Tensor, fresh: Tensor) -> dict[str, float]:
    """Tokens and accept lengths are those of the reference, bit for bit."""
    found = step.verify(p, q, fresh)
    expected = sjd2_kernels.verify_accept(step.draft, p, q, step.one, step.one, fresh, backend="reference")
    wrong = sum(int((a != b).sum()) for a, b in zip(found[:2], expected[:2], strict=True))
    return within(float(wrong), 0.0, "verify_accept: tokens that differ from the reference")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile for this shape alone, without what it keeps of other shapes."""
    torch.compiler.reset()
    made: Callable[..., Any] = torch.compile(function, dynamic=False)
    return made


def _both(spec: Spec, clock: Clock, step: _Step, cond: Tensor, uncond: Tensor, q: Tensor) -> Case:
    draft, k = step.draft, step.k

    def chain(c: Tensor, u: Tensor, q: Tensor) -> Any:
        return eager.chain(c, u, q, draft, GUIDANCE, k)

    peers: dict[str, Callable[[], Variant]] = {
        "eager": lambda: Variant(chain),
        "copy": lambda: Variant(lambda *tensors: [t.clone() for t in tensors]),
    }
    if k:
        peers["smart eager"] = lambda: Variant(lambda c, u, q: eager.smart_chain(c, u, q, draft, GUIDANCE, k))
    if spec.compiled:
        peers["torch.compile"] = lambda: Variant(compiled(chain))
    peers["flashinfer"] = lambda: flashinfer_peers.sampling(draft, GUIDANCE, k)
    on_cpu = cond.is_cpu and spec.numbers["dtype"] == "float32" and spec.numbers["L"] == 96
    targets = TARGETS.get((spec.numbers["V"], k), {}) if on_cpu else {}

    def gate() -> dict[str, float]:
        p, fresh, _ = step.process(cond, uncond)
        if len(p) * p.shape[1] * p.shape[2] <= 1 << 21:  # larger ones have a case of their own
            _tokens_gate(step, p, q, fresh)
        return law_gate(step, cond, uncond)

    buffers = copies((cond, uncond, q), clock.cold_bytes)
    return Case(spec, buffers, Variant(step.both), gate, peers, targets=dict(targets))


def _process(spec: Spec, clock: Clock, step: _Step, cond: Tensor, uncond: Tensor, q: Tensor) -> Case:
    k = step.k

    def law(c: Tensor, u: Tensor) -> Any:
        p = eager.top_k_law(eager.guided(c.float(), u.float(), GUIDANCE), k)
        return p, eager.draw(p)

    peers = {
        "eager": lambda: Variant(law),
        "copy": lambda: Variant(lambda *tensors: [t.clone() for t in tensors]),
        "smart eager": lambda: Variant(lambda c, u: eager.smart_law(eager.guided(c.float(), u.float(), GUIDANCE), k)),
    }
    buffers = copies((cond, uncond), clock.cold_bytes)
    return Case(spec, buffers, Variant(step.process), lambda: law_gate(step, cond, uncond), peers)


def _verify(spec: Spec, clock: Clock, step: _Step, cond: Tensor, uncond: Tensor, q: Tensor) -> Case:
    p, fresh, _ = step.process(cond, uncond)
    peers = {"eager": lambda: Variant(lambda p, q: eager.verify(step.draft, p, q, fresh))}
    ours = Variant(lambda p, q: step.verify(p, q, fresh))
    return Case(spec, copies((p, q), clock.cold_bytes), ours, lambda: _tokens_gate(step, p, q, fresh), peers)
