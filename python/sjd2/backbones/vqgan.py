"""The decoder of Chameleon's VQGAN (f16, 8192 codes): codes -> picture. transformers has the encoder only.

The architecture is that of the VQGAN paper (arXiv 2012.09841) as configured for Chameleon: code vectors, a 1x1
convolution, a 3x3 convolution, a middle of residual block, attention, residual block, then per level residual blocks
and a nearest-neighbour doubling with a 3x3 convolution, group norm, swish, 3x3 convolution to RGB in [-1, 1].

Module names are those of Meta's checkpoint (``quantize.embedding``, ``post_quant_conv``, ``decoder.*``), so that it
loads by name; widths, depths and attention levels are read from the tensors' shapes, no configuration file is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from .checkpoint import Checkpoint, fill, locate, open_checkpoint
from .pictures import to_uint8

COMES_FROM = "Meta's Chameleon release (tokenizer/vqgan.ckpt) or a conversion of it (Anole)"
_PART = re.compile(r"(?:^|.*?\.)((?:decoder|post_quant_conv|quantize)\..*)$")


@dataclass(frozen=True)
class VQGANShape:
    """The sizes of a decoder; level 0 is the finest. The defaults are Chameleon's."""

    codes: int = 8192
    embed: int = 256
    z: int = 256
    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    blocks: int = 3
    attention: tuple[bool, ...] = (False, False, False, False, False)
    out: int = 3

    @classmethod
    def of(cls, shapes: dict[str, tuple[int, ...]]) -> VQGANShape:
        """Read off the shapes of Meta's tensor names (without prefix)."""
        levels = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("decoder.up."))
        blocks = 1 + max(int(name.split(".")[4]) for name in shapes if name.startswith("decoder.up.0.block."))
        codes, embed = shapes["quantize.embedding.weight"]
        return cls(
            codes=codes,
            embed=embed,
            z=shapes["post_quant_conv.weight"][0],
            widths=tuple(shapes[f"decoder.up.{i}.block.0.conv1.weight"][0] for i in range(levels)),
            blocks=blocks,
            attention=tuple(f"decoder.up.{i}.attn.0.q.weight" in shapes for i in range(levels)),
            out=shapes["decoder.conv_out.weight"][0],
        )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """norm, swish, 3x3, norm, swish, 3x3, plus the input (through a 1x1 convolution where the width changes)."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(width_in), nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(width_out), nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width_in, h, w] -> [B, width_out, h, w]."""
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """Single-head attention over all cells, plus the input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))  # [B, cells, width]
        h = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Upsample(nn.Module):
    """Every pixel twice in both directions, then a 3x3 convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> [B, width, 2 h, 2 w]."""
        out: Tensor = self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Middle(nn.Module):
    """Residual block, attention, residual block, at the coarsest level."""

    def __init__(self, width: int):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = (
            ResidualBlock(width, width),
            AttentionBlock(width),
            ResidualBlock(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Level(nn.Module):
    """Residual blocks, attention after each where the checkpoint has it, and the doubling to the next finer level."""

    def __init__(self, width_in: int, width: int, blocks: int, attention: bool, upsample: bool):
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(width_in if i == 0 else width, width) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(width) for _ in range(blocks if attention else 0))
        if upsample:
            self.upsample = Upsample(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width_in, h, w] -> [B, width, h, w], or twice the size with upsample."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return self.upsample(x) if hasattr(self, "upsample") else x


class Decoder(nn.Module):
    """Latent [B, z, h, w] -> picture [B, out, h * 2^(levels-1), w * 2^(levels-1)]."""

    def __init__(self, shape: VQGANShape):
        super().__init__()
        widths, top = shape.widths, shape.widths[-1]
        self.conv_in = nn.Conv2d(shape.z, top, 3, padding=1)
        self.mid = Middle(top)
        self.up = nn.ModuleList(
            Level(
                widths[min(i + 1, len(widths) - 1)], widths[i], shape.blocks, shape.attention[i], upsample=i > 0
            )  # level i is fed by the coarser level i + 1
            for i in range(len(widths))
        )
        self.norm_out, self.conv_out = _norm(widths[0]), nn.Conv2d(widths[0], shape.out, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """[B, z, h, w] -> [B, out, h * 2^(levels-1), w * 2^(levels-1)]."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        out: Tensor = self.conv_out(silu(self.norm_out(h)))
        return out


class Codebook(nn.Module):
    """The code vectors, under the name that Meta's checkpoint uses."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, width)


class VQGANDecoder(nn.Module):
    """Codes -> pictures.

    Example:
        >>> shape = VQGANShape(codes=16, embed=4, z=4, widths=(32, 32), blocks=1, attention=(False, False))
        >>> vq = VQGANDecoder(shape).eval()
        >>> vq.pictures(torch.zeros(1, 2, 3, dtype=torch.long)).shape
        torch.Size([1, 4, 6, 3])
    """

    def __init__(self, shape: VQGANShape | None = None):
        super().__init__()
        shape = shape or VQGANShape()
        self.shape = shape
        self.quantize = Codebook(shape.codes, shape.embed)
        self.post_quant_conv = nn.Conv2d(shape.embed, shape.z, 1)
        self.decoder = Decoder(shape)

    def forward(self, codes: Tensor) -> Tensor:
        """[B, h, w] int64 codes -> [B, 3, 16 h, 16 w] in about [-1, 1] (16 = 2^(levels - 1))."""
        z = self.quantize.embedding(codes).permute(0, 3, 1, 2)
        out: Tensor = self.decoder(self.post_quant_conv(z))
        return out

    @torch.no_grad()
    def pictures(self, codes: Tensor) -> Tensor:
        """[B, h, w] int64 codes -> [B, 16 h, 16 w, 3] uint8, one picture at a time to bound the memory."""
        codes = codes.to(self.quantize.embedding.weight.device)
        return torch.cat([to_uint8(self(one)) for one in codes.split(1)])


def load_vqgan(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> VQGANDecoder:
    """A decoder from Meta's vqgan.ckpt, a safetensors file of the same names, or a folder that holds one of them.

    Prefixes before ``decoder.``, ``post_quant_conv.`` and ``quantize.`` are dropped (``model.vqmodel.`` in converted
    checkpoints); the encoder and training losses are left out.

    Raises: FileNotFoundError, ValueError that name what is missing and where it comes from; ValueError for a pickled
    file without ``allow_pickle``.
    """
    path = locate(source, allow_pickle=allow_pickle)
    checkpoint = open_checkpoint(path, comes_from=COMES_FROM, allow_pickle=allow_pickle)
    decoder = decoder_of(checkpoint, dtype=dtype, device=device)
    if decoder is None:
        raise ValueError(f"load: {path} holds no VQGAN decoder (tensors decoder.*); it comes from {COMES_FROM}")
    return decoder


def decoder_of(checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device | str) -> VQGANDecoder | None:
    """The decoder inside a checkpoint, or None if there is none."""
    ours = {name: short for name in checkpoint.where if (short := decoder_name(name))}
    if not any(short.startswith("decoder.up.") for short in ours.values()):
        return None
    part = Checkpoint({name: checkpoint.where[name] for name in ours})
    shapes = {ours[name]: shape for name, shape in part.shapes().items()}
    with torch.device("meta"):
        model = VQGANDecoder(VQGANShape.of(shapes))
    fill(model, part, dtype=dtype, device=device, rename=decoder_name, comes_from=COMES_FROM)
    return model.eval()


def decoder_name(name: str) -> str | None:
    """The name of a tensor in `VQGANDecoder`, or None for the encoder, the losses and a language model's tensors."""
    if ".encoder." in f".{name}" or name.startswith("loss."):
        return None
    match = _PART.match(name)
    return match.group(1) if match else None
