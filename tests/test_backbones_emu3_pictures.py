"""Emu3's picture decoder from every layout it is published in, equal to transformers' own model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sjd2.backbones.emu3_pictures import load_emu3_pictures, vq_config, vq_name
from sjd2.backbones.tiny import emu3_vq_config, randomise
from torch import Tensor
from transformers import Emu3VQVAE


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model() -> Emu3VQVAE:
    made = randomise(Emu3VQVAE(emu3_vq_config()), 5).eval()
    for name, buffer in made.named_buffers():  # batch norm statistics that are not the initial ones
        if buffer.is_floating_point():
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=torch.Generator().manual_seed(len(name))))
    return made


def remote(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor as the remote-code checkpoint names it, module by module as its published source builds them."""
    name = name.replace(".middle_block.attn_norm.", ".mid.attn_1.norm.").replace(".middle_block.", ".mid.")
    name = name.replace("encoder.down_block.down.", "encoder.down.").replace("decoder.up_block.up.", "decoder.up.")
    name = re.sub(r"\.attn_norms\.(\d+)\.", r".attn.\1.norm.", name)
    if re.search(r"\.attn(_1|\.\d+)\.", name) and "norm" not in name:
        name = re.sub(r"\.([qkv])_proj\.", r".\1.", name).replace(".out_proj.", ".proj_out.")
        value = value[..., None, None] if value.dim() == 2 else value
    return name, value.contiguous()


REMOTE_CONFIG = {
    "model_type": "Emu3VisionVQ",
    "architectures": ["Emu3VisionVQModel"],
    "codebook_size": 8,
    "embed_dim": 4,
    "z_channels": 4,
    "double_z": False,
    "in_channels": 3,
    "out_channels": 3,
    "temporal_downsample_factor": 1,
    "ch": 32,
    "ch_mult": [1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [1],
    "dropout": 0.0,
}


def write(folder: Path, layout: str, vq: Emu3VQVAE) -> None:
    folder.mkdir(exist_ok=True)
    state = dict(vq.state_dict().items())
    if layout == "remote":
        config, state = REMOTE_CONFIG, dict(remote(name, value) for name, value in state.items())
        assert "decoder.mid.attn_1.norm.norm_layer.weight" in state
        assert "decoder.up.1.attn.0.q.weight" in state
        assert "decoder.up.1.attn.1.norm.conv_y.weight" in state
        assert "encoder.down.1.attn.0.norm.weight" in state
    elif layout == "alone":
        config = vq.config.to_dict()
    else:
        config = {"model_type": "emu3", "vq_config": vq.config.to_dict()}
        state = {layout + name: value for name, value in state.items()} | {"lm_head.weight": torch.zeros(2)}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("layout", ["remote", "alone", "model.vqmodel.", "vqmodel."])
def test_every_layout_decodes_as_the_librarys_model(tmp_path: Path, layout: str) -> None:
    vq = model()
    write(tmp_path, layout, vq)
    pictures = load_emu3_pictures(tmp_path)
    assert not any(module.training for module in pictures.modules())
    codes = torch.randint(0, 8, (2, 3, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        colour = (vq.decode(codes).clamp(-1, 1) + 1) / 2 * 255
    got = pictures(codes)
    assert got.shape == (2, 6, 10, 3)
    assert got.dtype == torch.uint8
    assert (got.float() - colour.permute(0, 2, 3, 1)).abs().max() <= 0.501
    assert got.float().std() > 20


def test_colours_follow_the_image_processor(tmp_path: Path) -> None:
    vq = model()
    write(tmp_path, "alone", vq)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    codes = torch.zeros(1, 2, 2, dtype=torch.long)
    with torch.no_grad():
        x = vq.decode(codes)
    expected = (x * torch.tensor(std).view(1, 3, 1, 1) + torch.tensor(mean).view(1, 3, 1, 1)).clamp(0, 1) * 255
    got = load_emu3_pictures(tmp_path)(codes)
    assert (got.float() - expected.permute(0, 2, 3, 1)).abs().max() <= 0.501


def test_remote_configuration_becomes_the_librarys() -> None:
    assert vq_config(REMOTE_CONFIG).to_dict() == emu3_vq_config().to_dict()
    published = vq_config({"model_type": "Emu3VisionVQ"})
    assert published.hidden_size == 1024
    assert published.codebook_size == 32_768


def test_names_that_are_right_stay() -> None:
    for name in model().state_dict():
        assert vq_name(name) == name
        assert vq_name("model.vqmodel." + name) == name


def test_a_folder_without_a_picture_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.json is missing; it comes from BAAI/Emu3-VisionTokenizer"):
        load_emu3_pictures(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "emu3"}))
    save_file({"lm_head.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no Emu3 VQ model; it comes from BAAI/Emu3-VisionTokenizer"):
        load_emu3_pictures(tmp_path)
