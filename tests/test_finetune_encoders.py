"""VQ encoders: loaded from every layout, they give the codes of transformers' own model, in raster order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from _tuning import FAMILIES, vq_model, write_checkpoint
from safetensors.torch import save_file
from sjd2.backbones import Emu3, LuminaMGPT
from sjd2.backbones.tiny import randomise
from sjd2.backbones.vqgan import VQGANDecoder, VQGANShape
from sjd2.finetune.encoders import encoder_config, encoder_name, load_encoder
from torch import Tensor
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

PICTURES = torch.randint(0, 256, (3, 8, 12, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def expected(family: str, model: Any) -> Tensor:
    """Codes by the model itself, of colours in -1..1."""
    x = PICTURES.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        if family == "lumina":
            return model.encode(x).image_tokens.view(3, 4, 6)
        return torch.stack(model.encode(x, image_sizes=torch.tensor([[8, 12]] * 3)).image_tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_inside_a_checkpoint(tmp_path: Path, family: str) -> None:
    folder = write_checkpoint(tmp_path / "m", family, vq=True)
    got = load_encoder(FAMILIES[family](), folder)(PICTURES)
    assert got.shape == (3, 4, 6)
    assert got.dtype == torch.int64
    assert torch.equal(got, expected(family, vq_model(family)))
    assert len(got.unique()) > 2


def test_metas_file_with_the_decoder_beside_the_encoder(tmp_path: Path) -> None:
    model = vq_model("lumina")
    decoder = randomise(VQGANDecoder(VQGANShape(8, 8, 8, (32, 32), 2, (False, False))), 1)
    state = {name: v for name, v in decoder.state_dict().items() if name.startswith("decoder.")} | model.state_dict()
    state["loss.discriminator.main.0.weight"] = torch.zeros(2)
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "vqgan.safetensors")
    got = load_encoder(FAMILIES["lumina"](), tmp_path / "vqgan.safetensors")(PICTURES)
    assert torch.equal(got, expected("lumina", model))


def test_codes_lie_where_the_picture_is() -> None:
    """Black on the left, white on the right: columns differ, rows do not, away from edges."""
    picture = torch.zeros(1, 8, 32, 3, dtype=torch.uint8)
    picture[:, :, 16:] = 255
    model = vq_model("lumina")
    with torch.no_grad():  # no attention: a code then knows its surroundings only
        model.encoder.mid.attn_1.proj_out.weight.zero_()
        model.encoder.mid.attn_1.proj_out.bias.zero_()
        for block in [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm)]:
            block.eps = 1e6  # group norms would look at the whole picture
    from sjd2.finetune.encoders import _encode

    encode = _encode(
        lambda x: model.encode(x).image_tokens.view(1, 4, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "cpu"
    )  # fmt: skip
    codes = encode(picture)[0]
    with torch.no_grad():
        left, right = (model.encode(torch.full((1, 3, 8, 32), c)).image_tokens.view(4, 16)[1, 8] for c in (-1.0, 1.0))
    assert codes.shape == (4, 16)
    assert (int(left), int(right)) == (int(codes[1, 2]), int(codes[1, 13]))


@pytest.mark.parametrize(
    "config",
    [
        ChameleonVQVAEConfig(),
        ChameleonVQVAEConfig(
            base_channels=32, num_embeddings=8, embed_dim=8, latent_channels=16, resolution=32,
            channel_multiplier=[1, 2, 2], num_res_blocks=1, attn_resolutions=[16],
        ),
    ],
)  # fmt: skip
def test_sizes_are_read_off_the_shapes(config: ChameleonVQVAEConfig) -> None:
    with torch.device("meta"):
        model = ChameleonVQVAE(config)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        again = ChameleonVQVAE(encoder_config(shapes))
    assert {name: tuple(value.shape) for name, value in again.state_dict().items()} == shapes
    assert len(again.encoder.down) == len(config.channel_multiplier)


def test_without_an_encoder_the_way_out_is_named(tmp_path: Path) -> None:
    lumina = FAMILIES["lumina"]()
    assert isinstance(lumina, LuminaMGPT)
    with pytest.raises(ValueError, match=r"holds no VQ encoder, .* as --vq \(Meta's Chameleon release .* \(parquet\)"):
        load_encoder(lumina, write_checkpoint(tmp_path / "l", "lumina"))
    emu3 = FAMILIES["emu3"]()
    assert isinstance(emu3, Emu3)
    with pytest.raises(ValueError, match=r"holds no Emu3 VQ model; it comes from BAAI/Emu3-VisionTokenizer"):
        load_encoder(emu3, write_checkpoint(tmp_path / "e", "emu3"))


def test_names_of_other_tensors_are_left_out() -> None:
    assert encoder_name("model.vqmodel.encoder.conv_in.bias") == "encoder.conv_in.bias"
    assert encoder_name("quantize.embedding.weight") == "quantize.embedding.weight"
    for name in ("decoder.mid.block_1.norm1.bias", "model.layers.0.mlp.up_proj.weight", "loss.quantize.x"):
        assert encoder_name(name) is None
