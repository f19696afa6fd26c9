"""Pictures -> codes: the VQ encoders of both families, which are transformers' own.

Lumina-mGPT's is Chameleon's VQGAN encoder, under the tensor names of Meta's checkpoint (``encoder.*``, ``quant_conv``,
``quantize.embedding``), with or without a prefix; its sizes are read off the tensors' shapes. Emu3's is part of the
model that also decodes (backbones/emu3_pictures.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from ..backbones.checkpoint import Checkpoint, fill, locate, open_checkpoint
from ..backbones.emu3 import Emu3
from ..backbones.emu3_pictures import load_emu3_pictures
from ..backbones.lumina_mgpt import LuminaMGPT
from ..backbones.vqgan import COMES_FROM

Encode = Callable[[Tensor], Tensor]
_PART = re.compile(r"(?:^|.*?\.)((?:encoder|quant_conv|post_quant_conv|quantize)\..*)$")


def load_encoder(
    backbone: LuminaMGPT | Emu3, source: str | Path, *, device: torch.device | str = "cpu", allow_pickle: bool = False
) -> Encode:
    """The encoder that fits a backbone.

    Args:
        backbone: whose codes.
        source: file, folder or hub id that holds the VQ model: the checkpoint itself, or what ``vq`` means elsewhere.
        device: of the encoder, in float32.
        allow_pickle: read pickled weights, with ``torch.load(weights_only=True)``.

    Returns: a function from [B, height, width, 3] uint8 pictures to [B, rows, columns] int64 codes on the CPU.

    Raises: FileNotFoundError, ValueError that name what is missing and where it comes from.
    """
    if isinstance(backbone, Emu3):
        pictures = load_emu3_pictures(source, device=device, allow_pickle=allow_pickle)
        emu3: Any = pictures.vq
        return _encode(
            lambda x: torch.stack(emu3.encode(x, image_sizes=torch.tensor([x.shape[2:]] * len(x))).image_tokens),
            pictures.mean, pictures.std, device,
        )  # fmt: skip
    path = locate(source, allow_pickle=allow_pickle)
    vq: Any = chameleon_encoder(open_checkpoint(path, comes_from=COMES_FROM, allow_pickle=allow_pickle), path, device)
    cell = 2 ** (len(vq.config.channel_multiplier) - 1)

    def chameleon(x: Tensor) -> Tensor:
        codes: Tensor = vq.encode(x).image_tokens
        return codes.view(len(x), x.shape[2] // cell, x.shape[3] // cell)

    return _encode(chameleon, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), device)


def _encode(model: Encode, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str) -> Encode:
    shift, scale = (torch.tensor(x, device=device).view(1, 3, 1, 1) for x in (mean, std))

    @torch.no_grad()
    def encode(pictures: Tensor) -> Tensor:
        colour = pictures.to(device).permute(0, 3, 1, 2).float() / 255
        return model((colour - shift) / scale).cpu()

    return encode


def chameleon_encoder(checkpoint: Checkpoint, path: Path, device: torch.device | str) -> ChameleonVQVAE:
    """transformers' Chameleon VQ model, its decoder's entry included, from Meta's tensor names.

    Raises: ValueError if there is no encoder.
    """
    ours = {name: short for name in checkpoint.where if (short := encoder_name(name))}
    if not any(short.startswith("encoder.down.") for short in ours.values()):
        raise ValueError(
            f"finetune: {path} holds no VQ encoder, so pictures cannot be tokenised; give a file or folder that does "
            f"as --vq ({COMES_FROM}), or data that is tokenised already (parquet)"
        )
    part = Checkpoint({name: checkpoint.where[name] for name in ours})
    shapes = {ours[name]: shape for name, shape in part.shapes().items()}
    build: Callable[..., Any] = ChameleonVQVAE
    with torch.device("meta"):
        model = build(encoder_config(shapes))
    fill(model, part, dtype=torch.float32, device=device, rename=encoder_name, comes_from=COMES_FROM)
    return model.eval()


def encoder_name(name: str) -> str | None:
    """The name of a tensor in transformers' model, or None for the decoder, the losses and a language model."""
    if ".decoder." in f".{name}" or name.startswith("loss."):
        return None
    match = _PART.match(name)
    return match.group(1) if match else None


def encoder_config(shapes: dict[str, tuple[int, ...]]) -> ChameleonVQVAEConfig:
    """The sizes of an encoder, from the shapes of its tensors."""
    levels = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("encoder.down."))
    blocks = 1 + max(int(name.split(".")[4]) for name in shapes if name.startswith("encoder.down.0.block."))
    base = shapes["encoder.conv_in.weight"][0]
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)]
    codes, embed = shapes["quantize.embedding.weight"]
    resolution = 2**levels  # only says which levels have attention
    make: Callable[..., ChameleonVQVAEConfig] = ChameleonVQVAEConfig
    return make(
        embed_dim=embed,
        num_embeddings=codes,
        latent_channels=shapes["quant_conv.weight"][1],
        resolution=resolution,
        in_channels=shapes["encoder.conv_in.weight"][1],
        base_channels=base,
        channel_multiplier=[width // base for width in widths],
        num_res_blocks=blocks,
        attn_resolutions=[resolution >> i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in shapes],
    )
