"""Chameleon's VQGAN decoder: Meta's tensor names, an independent restatement by name, and the library's own blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sjd2.backbones.tiny import randomise
from sjd2.backbones.vqgan import AttentionBlock, ResidualBlock, VQGANDecoder, VQGANShape, decoder_name, load_vqgan
from torch import Tensor
from torch.nn.functional import conv2d, group_norm
from transformers import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL = VQGANShape(codes=16, embed=6, z=5, widths=(32, 64, 64), blocks=2, attention=(False, True, False))


def meta_layout(
    codes: int, embed: int, z: int, ch: int, mult: list[int], blocks: int, attention: set[int]
) -> dict[str, Tensor]:
    """A synthetic checkpoint with the names and shapes of Meta's vqgan.ckpt, from the published configuration."""
    generator = torch.Generator().manual_seed(0)
    held: dict[str, Tensor] = {}

    def conv(name: str, out: int, into: int, k: int) -> None:
        held[f"{name}.weight"] = torch.randn(out, into, k, k, generator=generator) / (into * k * k) ** 0.5
        held[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    def norm(name: str, width: int) -> None:
        held[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        held[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    def res(name: str, into: int, out: int) -> None:
        norm(f"{name}.norm1", into)
        conv(f"{name}.conv1", out, into, 3)
        norm(f"{name}.norm2", out)
        conv(f"{name}.conv2", out, out, 3)
        if into != out:
            conv(f"{name}.nin_shortcut", out, into, 1)

    def attn(name: str, width: int) -> None:
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    top = ch * mult[-1]
    held["quantize.embedding.weight"] = torch.randn(codes, embed, generator=generator)
    conv("quant_conv", embed, z, 1)
    conv("post_quant_conv", z, embed, 1)
    conv("encoder.conv_in", ch, 3, 3)
    held["loss.discriminator.main.0.weight"] = torch.zeros(2)
    conv("decoder.conv_in", top, z, 3)
    res("decoder.mid.block_1", top, top)
    attn("decoder.mid.attn_1", top)
    res("decoder.mid.block_2", top, top)
    into = top
    for level in reversed(range(len(mult))):
        out = ch * mult[level]
        for b in range(blocks + 1):
            res(f"decoder.up.{level}.block.{b}", into, out)
            into = out
            if level in attention:
                attn(f"decoder.up.{level}.attn.{b}", out)
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", out, out, 3)
    norm("decoder.norm_out", into)
    conv("decoder.conv_out", 3, into, 3)
    return held


def restated(w: dict[str, Tensor], codes: Tensor, levels: int, blocks: int) -> Tensor:
    """The decoder as a list of operations on named tensors, after the published configuration."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = w[f"{name}.weight"]
        return conv2d(x, weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        return group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def swish(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    def res(name: str, x: Tensor) -> Tensor:
        h = conv(f"{name}.conv1", swish(norm(f"{name}.norm1", x)))
        h = conv(f"{name}.conv2", swish(norm(f"{name}.norm2", h)))
        return (conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in w else x) + h

    def attn(name: str, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = norm(f"{name}.norm", x)
        q, k, v = (conv(f"{name}.{part}", h).reshape(B, C, H * W) for part in "qkv")
        weight = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * C**-0.5, dim=2)
        return x + conv(f"{name}.proj_out", torch.einsum("bcj,bij->bci", v, weight).reshape(B, C, H, W))

    z = w["quantize.embedding.weight"][codes].permute(0, 3, 1, 2)
    x = conv("decoder.conv_in", conv("post_quant_conv", z))
    x = res("decoder.mid.block_2", attn("decoder.mid.attn_1", res("decoder.mid.block_1", x)))
    for level in reversed(range(levels)):
        for b in range(blocks + 1):
            x = res(f"decoder.up.{level}.block.{b}", x)
            if f"decoder.up.{level}.attn.{b}.q.weight" in w:
                x = attn(f"decoder.up.{level}.attn.{b}", x)
        if level > 0:
            x = conv(f"decoder.up.{level}.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    return conv("decoder.conv_out", swish(norm("decoder.norm_out", x)))


@pytest.mark.parametrize(
    ("mult", "blocks", "attention"),
    [([1, 1, 2, 2, 4], 2, set()), ([1, 2], 1, {1}), ([1], 1, set()), ([2, 1, 1], 1, {0, 2})],
)
def test_a_checkpoint_of_metas_layout_loads_by_name_and_decodes_as_restated(
    tmp_path: Path, mult: list[int], blocks: int, attention: set[int]
) -> None:
    held = meta_layout(16, 6, 8, 32, mult, blocks, attention)
    save_file(held, tmp_path / "vqgan.safetensors")
    decoder = load_vqgan(tmp_path, dtype=torch.float64)
    assert not decoder.training
    codes = torch.randint(0, 16, (2, 3, 2), generator=torch.Generator().manual_seed(1))
    got = decoder(codes)
    expected = restated({name: value.double() for name, value in held.items()}, codes, len(mult), blocks)
    assert got.shape == (2, 3, 3 * 2 ** (len(mult) - 1), 2 * 2 ** (len(mult) - 1))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    pixels = decoder.pictures(codes)
    colour = ((expected.clamp(-1, 1) + 1) / 2 * 255).permute(0, 2, 3, 1)
    assert pixels.dtype == torch.uint8
    assert (pixels.double() - colour).abs().max() <= 0.5 + 1e-3


def test_published_configuration_has_the_published_tensors() -> None:
    """ch 128, multipliers 1, 1, 2, 2, 4, two blocks per level and one more in the decoder, 8192 codes of 256."""
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in VQGANDecoder().state_dict().items()}
    with torch.device("cpu"):
        layout = meta_layout(8192, 256, 256, 128, [1, 1, 2, 2, 4], 2, set())
    theirs = {name: tuple(value.shape) for name, value in layout.items() if decoder_name(name)}
    assert ours == theirs
    assert VQGANShape.of(theirs) == VQGANShape()


def test_blocks_equal_those_of_the_librarys_encoder() -> None:
    """The encoder in transformers is built of the same blocks; loaded with the same tensors they compute the same."""
    config = ChameleonVQVAEConfig(base_channels=32)
    x = torch.randn(2, 32, 5, 4, generator=torch.Generator().manual_seed(0))
    for ours, theirs in [
        (ResidualBlock(32, 64), ChameleonVQVAEEncoderResnetBlock(config, 32, 64)),
        (ResidualBlock(32, 32), ChameleonVQVAEEncoderResnetBlock(config, 32, 32)),
        (AttentionBlock(32), ChameleonVQVAEEncoderAttnBlock(32)),
    ]:
        randomise(ours, 5)
        theirs.load_state_dict(ours.state_dict())  # strict: the names are the same too
        torch.testing.assert_close(ours(x), theirs.eval()(x.clone()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "model.vqmodel.", "vqmodel.", "first_stage."])
def test_prefixes_are_dropped_and_the_rest_is_left_out(prefix: str) -> None:
    assert decoder_name(prefix + "decoder.up.0.block.1.conv1.weight") == "decoder.up.0.block.1.conv1.weight"
    assert decoder_name(prefix + "post_quant_conv.bias") == "post_quant_conv.bias"
    assert decoder_name(prefix + "quantize.embedding.weight") == "quantize.embedding.weight"
    assert decoder_name(prefix + "encoder.mid.block_1.conv1.weight") is None
    assert decoder_name(prefix + "quant_conv.weight") is None
    assert decoder_name("loss.perceptual.lin0.decoder.weight") is None
    assert decoder_name("model.layers.0.mlp.up_proj.weight") is None


def test_pictures_do_not_depend_on_the_batch() -> None:
    decoder = randomise(VQGANDecoder(SMALL), 2).eval()
    codes = torch.randint(0, 16, (3, 2, 2), generator=torch.Generator().manual_seed(0))
    together = decoder.pictures(codes)
    assert torch.equal(together[1:2], decoder.pictures(codes[1:2]))


def test_metas_pickled_checkpoint_needs_the_flag(tmp_path: Path) -> None:
    held = meta_layout(16, 6, 8, 32, [1, 1], 1, set())
    path = tmp_path / "vqgan.ckpt"
    torch.save({"state_dict": held, "global_step": 7}, path)
    with pytest.raises(ValueError, match=r"vqgan.ckpt is pickled, .* pass allow_pickle=True"):
        load_vqgan(path)
    loaded = load_vqgan(path, allow_pickle=True)
    torch.testing.assert_close(loaded.decoder.conv_in.weight, held["decoder.conv_in.weight"])


class Payload:
    """What a malicious pickle would run on loading."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('a checkpoint ran code')",))


def test_a_pickle_with_code_is_refused_even_with_the_flag(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "vqgan.ckpt"
    torch.save({"state_dict": {}, "payload": Payload()}, path)
    with pytest.raises(pickle.UnpicklingError):
        load_vqgan(path, allow_pickle=True)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    held = meta_layout(16, 6, 8, 32, [1, 1], 1, set())
    lacking = {name: value for name, value in held.items() if name != "decoder.mid.attn_1.k.bias"}
    save_file(lacking, tmp_path / "vqgan.safetensors")
    with pytest.raises(ValueError, match=r"lacks decoder.mid.attn_1.k.bias; .* Meta's Chameleon release"):
        load_vqgan(tmp_path)
    save_file({"encoder.conv_in.weight": torch.zeros(2)}, tmp_path / "vqgan.safetensors")
    with pytest.raises(ValueError, match=r"holds no VQGAN decoder \(tensors decoder.\*\); it comes from"):
        load_vqgan(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a folder or file on this machine, nor an embedded"):
        load_vqgan(tmp_path / "nothing" / "here")
