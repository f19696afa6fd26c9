"""Emu3's picture decoder: transformers' `Emu3VQVAE`, loaded from any of the layouts it is published in.

- ``BAAI/Emu3-Gen-hf``: beside the language model, as ``model.vqmodel.*`` or ``vqmodel.*``;
- ``BAAI/Emu3-VisionTokenizer``: the tensor names of its remote code, which are renamed here (1x1 convolutions of the
  attention become
  linear layers, ``mid``, ``down``, ``up`` get their wrappers' names). The remote code itself is never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Emu3VQVAE, Emu3VQVAEConfig

from .checkpoint import Checkpoint, fill, locate, open_checkpoint, read_json
from .pictures import to_uint8

COMES_FROM = "BAAI/Emu3-VisionTokenizer, or BAAI/Emu3-Gen-hf which contains it"
# remote configuration field -> transformers'
_FIELDS = {
    "ch": "base_channels",
    "ch_mult": "channel_multiplier",
    "z_channels": "latent_channels",
    "double_z": "double_latent",
}
_SAME = (
    "codebook_size",
    "embed_dim",
    "in_channels",
    "out_channels",
    "temporal_downsample_factor",
    "num_res_blocks",
    "attn_resolutions",
)
_RENAMES = [
    (r"^(?:model\.)?vqmodel\.", ""),
    (r"^(encoder|decoder)\.mid\.attn_1\.norm\.", r"\1.middle_block.attn_norm."),
    (r"^(encoder|decoder)\.mid\.", r"\1.middle_block."),
    (r"^encoder\.down\.", "encoder.down_block.down."),
    (r"^decoder\.up\.", "decoder.up_block.up."),
    (r"\.attn\.(\d+)\.norm\.", r".attn_norms.\1."),
    (r"\.(attn_1|attn\.\d+)\.([qkv])\.(weight|bias)$", r".\1.\2_proj.\3"),
    (r"\.(attn_1|attn\.\d+)\.proj_out\.(weight|bias)$", r".\1.out_proj.\2"),
]


class Emu3Pictures(nn.Module):
    """Codes -> pictures through Emu3's VQ decoder.

    Args:
        vq: transformers' model; only its decoder is used.
        mean, std: of the colours, as in the image processor's configuration.
    """

    def __init__(self, vq: Emu3VQVAE, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)):
        super().__init__()
        self.vq, self.mean, self.std = vq, tuple(mean), tuple(std)
        self.eval()

    @torch.no_grad()
    def forward(self, codes: Tensor) -> Tensor:
        """[B, h, w] int64 codes -> [B, 8 h, 8 w, 3] uint8, one picture at a time to bound the memory."""
        codes = codes.to(next(self.vq.parameters()).device)
        return torch.cat([to_uint8(self.vq.decode(one), self.mean, self.std) for one in codes.split(1)])


def load_emu3_pictures(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> Emu3Pictures:
    """The picture decoder from a folder or hub id of either layout.

    Raises: FileNotFoundError, ValueError that name what is missing and where it comes from.
    """
    folder = locate(source, allow_pickle=allow_pickle)
    config = read_json(folder, "config.json", COMES_FROM)
    checkpoint = open_checkpoint(folder, comes_from=COMES_FROM, allow_pickle=allow_pickle)
    pictures = pictures_of(folder, config, checkpoint, dtype=dtype, device=device)
    if pictures is None:
        raise ValueError(f"load: {folder} holds no Emu3 VQ model; it comes from {COMES_FROM}")
    return pictures


def pictures_of(
    folder: Path, config: dict[str, Any], checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device | str
) -> Emu3Pictures | None:
    """The picture decoder inside a checkpoint, or None if there is none."""
    alone = config.get("model_type") in ("Emu3VisionVQ", Emu3VQVAEConfig.model_type)
    part = Checkpoint(
        {name: path for name, path in checkpoint.where.items() if alone or re.match(r"(model\.)?vqmodel\.", name)}
    )
    if not part.where:
        return None
    with torch.device("meta"):
        vq = Emu3VQVAE(vq_config(config))
    fill(vq, part, dtype=dtype, device=device, rename=vq_name, reshape=_linear, comes_from=COMES_FROM)
    processor = folder / "preprocessor_config.json"
    colours = json.loads(processor.read_text()) if processor.is_file() else {}
    middle = [0.5, 0.5, 0.5]
    return Emu3Pictures(vq, colours.get("image_mean") or middle, colours.get("image_std") or middle)


def vq_config(config: dict[str, Any]) -> Emu3VQVAEConfig:
    """transformers' configuration from ``vq_config`` of a full model, or from the remote code's fields."""
    if "vq_config" in config:
        return Emu3VQVAEConfig(**config["vq_config"])
    if config.get("model_type") == Emu3VQVAEConfig.model_type:
        return Emu3VQVAEConfig(**config)
    fields = {new: config[old] for old, new in _FIELDS.items() if old in config}
    fields |= {name: config[name] for name in _SAME if name in config}
    made = Emu3VQVAEConfig(**fields)
    made.hidden_size = made.base_channels * made.channel_multiplier[-1]
    return made


def vq_name(name: str) -> str:
    """The name of a tensor in `Emu3VQVAE`; names that are already right come back unchanged."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _linear(name: str, tensor: Tensor, wanted: torch.Size) -> Tensor:
    """A 1x1 convolution's weight [C, C, 1, 1] where a linear layer's [C, C] is wanted."""
    return tensor[..., 0, 0] if tensor.dim() == 4 and len(wanted) == 2 and tensor.shape[2:] == (1, 1) else tensor
