"""window_attention beside PyTorch's attention in each of its backends, FlexAttention, FlashInfer, flash-attn and what
the published loops do: a window over a long prefix, two model rows per image, and a window of one.

PyTorch's functions have no lengths and no cache, so they get queries laid out for them, and keys and values that hold
the window already; ours, flash-attn's and the published one append it within the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, bias, flex_attention, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

import sjd2_kernels

from .. import flashinfer_peers, published
from ..case import Case, Spec, within
from ..clock import Clock, Variant, copies
from ..grid import BATCHES, DTYPES, GQA, MHA, PREFIXES, WINDOWS, product, star
from .sampling import compiled

BASE = {"B": 1, "L": 96, **GQA, "D": 128, "prefix": 2048, "dtype": "float32"}
TOLERANCE = {"float32": 2e-3, "bfloat16": 2e-2}  # of a peer, relative: wide enough for tf32, far under a wrong mask
NO_SLOWER = 1.0
FEW_HEADS = {"H": 8, "Hkv": 8}

Call = Callable[..., Tensor]


def specs(grid: str) -> list[Spec]:
    """Window, prefix, heads, batch, dtype."""
    if grid == "smoke":
        return [Spec("window_attention", "window_attention", BASE | {"L": 5, "H": 4, "Hkv": 2, "D": 32, "prefix": 20})]
    axes: dict[str, Any] = {"L": (1, *WINDOWS), "prefix": PREFIXES, "dtype": DTYPES}
    if grid == "full":
        points = [point for heads in (MHA, GQA) for point in product(BASE | heads, axes | {"B": BATCHES})]
    else:
        points = [*star(BASE, axes), BASE | MHA, BASE | MHA | {"L": 1}]
        shapes: dict[str, Any] = {"D": (64, 128), "prefix": (2048, 8192)}
        points += [point for heads in (FEW_HEADS, GQA) for point in product(BASE | {"L": 97} | heads, shapes)]
    found = []
    for point in points:
        at_base = (
            point["B"] == 1 and point["L"] == 96 and point["dtype"] == ("bfloat16" if grid == "full" else "float32")
        )
        shown = at_base and point["prefix"] in (2048, 9216)
        found.append(Spec("window_attention", "window_attention", point, at_base and point["prefix"] == 2048, shown))
    return found


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """Caches hold the window's keys and values from the start, so that every peer sees the same ones."""
    n = spec.numbers
    R, M, H, Hkv, D, prefix = 2 * n["B"], n["L"], n["H"], n["Hkv"], n["D"], n["prefix"]
    dtype = getattr(torch, n["dtype"])
    torch.manual_seed(0)
    q, k, v = (torch.randn(R, M, heads, D, device=device).to(dtype) for heads in (H, Hkv, Hkv))
    caches = [torch.randn(R, Hkv, prefix + M, D, device=device).to(dtype) for _ in range(2)]
    for cache, rows in zip(caches, (k, v), strict=True):
        cache[:, :, prefix:] = rows.transpose(1, 2)
    lengths = torch.full((R,), prefix, dtype=torch.int32, device=device)
    start = torch.zeros(R, dtype=torch.int32, device=device)

    def ours(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, heads: Tensor) -> Tensor:
        return sjd2_kernels.window_attention(q, k, v, k_cache, v_cache, lengths, start, D**-0.5)

    tensors = (q, k, v, *caches, q.transpose(1, 2).contiguous())
    exact = _Exact(q, caches, prefix)

    def gate() -> dict[str, float]:
        single = sdpa(tensors[5], *caches, exact.seen, enable_gqa=H > Hkv).transpose(1, 2)
        theirs = (exact.rows(single) - exact.out).abs().max()
        found = (exact.rows(ours(*tensors)) - exact.out).abs().max()
        rounding = torch.finfo(dtype).eps / 2 * exact.out.abs().max()
        return within(float(found), float(2 * theirs + rounding), "window_attention")

    peers = _peers(spec, exact.seen, device)
    check = _check(exact, tensors, TOLERANCE[n["dtype"]])
    targets = {name: NO_SLOWER for name in peers if name.startswith(("sdpa", "flex"))}
    buffers = copies(tensors, clock.cold_bytes)
    return Case(spec, buffers, Variant(ours), gate, peers, dict.fromkeys(peers, check), targets)


class _Exact:
    """The attention of the first and the last model row in float64."""

    def __init__(self, q: Tensor, caches: list[Tensor], prefix: int):
        M = q.shape[1]
        self.seen = torch.ones(M, prefix + M, dtype=torch.bool, device=q.device).tril(prefix)
        heads, k, v = (self.rows(x).double() for x in (q.transpose(1, 2), *caches))
        self.out = sdpa(heads, k, v, self.seen, enable_gqa=heads.shape[1] > k.shape[1]).transpose(1, 2)

    @staticmethod
    def rows(x: Tensor) -> Tensor:
        """The model rows that are checked."""
        return x[:: max(1, len(x) - 1)]


def _check(exact: _Exact, tensors: tuple[Tensor, ...], tolerance: float) -> Callable[[Variant], None]:
    def check(variant: Variant) -> None:
        out = variant.call(*tensors)
        assert isinstance(out, Tensor)
        error = (exact.rows(out) - exact.out).norm() / exact.out.norm()
        within(float(error), tolerance, "a peer's attention, relative")

    return check


def _peers(spec: Spec, seen: Tensor, device: str) -> dict[str, Callable[[], Variant]]:
    """Name -> maker; each gets q, k, v, k_cache, v_cache and the queries as [R, H, M, D]."""
    n = spec.numbers
    M, H, Hkv, prefix = n["L"], n["H"], n["Hkv"], n["prefix"]
    grouped, mask = H > Hkv, None if M == 1 else seen

    def on_heads(function: Call) -> Variant:
        return Variant(lambda q, k, v, K, V, heads: function(heads, K, V).transpose(1, 2))

    def in_backend(backend: SDPBackend, mask: Any) -> Call:
        def call(heads: Tensor, K: Tensor, V: Tensor) -> Tensor:
            with sdpa_kernel(backend):
                return sdpa(heads, K, V, mask, enable_gqa=grouped)

        return call

    def on_rows(made: Variant) -> Variant:  # keys and values as [R, S, Hkv, D]: views, the copy is not timed
        return Variant(lambda q, k, v, K, V, heads: made.call(q, k, v, K.transpose(1, 2), V.transpose(1, 2)))

    peers: dict[str, Callable[[], Variant]] = {
        "published": lambda: Variant(
            lambda q, k, v, K, V, heads: published.attention(q, k, v, K[:, :, :prefix], V[:, :, :prefix])
        )
    }
    if torch.device(device).type == "cuda":
        lower = None if M == 1 else bias.causal_lower_right(M, prefix + M)
        backends = {"flash": lower, "cudnn": mask, "efficient": mask, "math": mask}
        kinds = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
        kinds |= {"efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
        for name, its in backends.items():
            peers[f"sdpa {name}"] = lambda name=name, its=its: on_heads(in_backend(kinds[name], its))
    else:
        additive = None if mask is None else torch.zeros(mask.shape, dtype=getattr(torch, n["dtype"]))
        if additive is not None:
            additive.masked_fill_(~seen, -torch.inf)
            peers["sdpa, additive mask"] = lambda: on_heads(lambda q, K, V: sdpa(q, K, V, additive, enable_gqa=grouped))
        peers["sdpa"] = lambda: on_heads(lambda q, K, V: sdpa(q, K, V, mask, enable_gqa=grouped))
    if spec.compiled:
        peers["flex attention"] = lambda: on_heads(_flex(M, prefix, grouped, device))
    R, D, dtype = 2 * n["B"], n["D"], getattr(torch, n["dtype"])
    peers["flashinfer"] = lambda: on_rows(flashinfer_peers.append_attention(R, M, H, Hkv, D, prefix, dtype))
    peers["flash-attn"] = lambda: on_rows(flashinfer_peers.flash_attention(R, prefix))
    return peers


def _flex(M: int, prefix: int, grouped: bool, device: str) -> Call:
    def causal(b: Tensor, h: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return key <= row + prefix

    mask = flex_attention.create_block_mask(causal, None, None, M, prefix + M, device=device)
    call = compiled(flex_attention.flex_attention)
    return lambda q, K, V: call(q, K, V, block_mask=mask, enable_gqa=grouped)
