"""Tuned checkpoints: the source's layout with the tensors replaced, read back by the package's own loader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from _tuning import FAMILIES, write_checkpoint, write_tokenizer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sjd2.backbones import Defaults, load_backbone
from sjd2.backbones.card import FILE
from sjd2.finetune.export import INDEX, Source, export
from sjd2.finetune.objective import NextCleanToken
from torch import Tensor


def tuned(folder: Path) -> tuple[Source, dict[str, Tensor]]:
    """A checkpoint, and weights that differ from it everywhere."""
    backbone = load_backbone(folder, dtype=torch.float32)
    weights = NextCleanToken(backbone.text, backbone.lm_head).state_dict()
    source = Source(folder, folder, backbone.card)  # type: ignore[attr-defined]
    return source, {name: value + 1 for name, value in weights.items()}


def same(loaded: object, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    found = NextCleanToken(loaded.text, loaded.lm_head).state_dict()  # type: ignore[attr-defined]
    assert set(found) == set(weights)
    for name, value in found.items():
        assert torch.equal(value, weights[name].to(dtype)), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard", [4 * 2**30, 40_000])
def test_what_is_written_is_loaded(tmp_path: Path, family: str, dtype: torch.dtype, shard: int) -> None:
    folder = write_checkpoint(tmp_path / "m", family, vq=True)
    source, weights = tuned(folder)
    (tmp_path / "out").mkdir()
    export(source, weights, tmp_path / "out", dtype, shard)
    same(load_backbone(tmp_path / "out", dtype=dtype), weights, dtype)
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    if shard > 2**20:
        assert files == ["model.safetensors"]
    else:
        held = json.loads((tmp_path / "out" / INDEX).read_text())
        assert len(files) > 2
        assert sorted(set(held["weight_map"].values())) == files
        sizes = [(tmp_path / "out" / name).stat().st_size for name in files]
        largest = max(value.numel() for value in weights.values()) * 4
        assert max(sizes) < shard + largest + 20_000
    before, after = {}, {}
    for place, found in ((folder, before), (tmp_path / "out", after)):
        for path in place.glob("*.safetensors"):
            found |= load_file(path)
            with safe_open(path, "pt") as opened:
                assert place == folder or opened.metadata() == {"format": "pt"}
    assert set(after) == set(before), "every tensor keeps its name"
    kept = [name for name in before if ".vqmodel." in name]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_configuration_tokenizer_and_card_come_along(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text()) | {"torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / FILE).write_text(json.dumps(json.loads((folder / FILE).read_text()) | {"note": "mine"}))
    (folder / "generation_config.json").write_text("{}")
    (folder / "remote_code.py").write_text("evil()")
    (folder / "tokenizer.json").unlink()
    (tmp_path / "t").mkdir()
    write_tokenizer(tmp_path / "t", 30)
    backbone = load_backbone(folder, dtype=torch.float32, tokenizer=tmp_path / "t")
    card = replace(backbone.card, defaults=Defaults({"window": 7}))  # type: ignore[attr-defined]
    weights = NextCleanToken(backbone.text, backbone.lm_head).state_dict()
    (tmp_path / "out").mkdir()
    export(Source(folder, tmp_path / "t", card), weights, tmp_path / "out", torch.bfloat16)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "sjd2.json", "tokenizer.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert json.loads((tmp_path / "out" / FILE).read_text())["note"] == "mine"
    loaded = load_backbone(tmp_path / "out")
    assert loaded.defaults.of("sjd2") == {"window": 7}
    assert loaded.tokenize("ab") == backbone.tokenize("ab")


def test_norms_of_few_rows_become_one_per_head(tmp_path: Path) -> None:
    """Lumina stores q/k norms once for all heads; tuned heads differ, and the loader takes a row for each as well."""
    folder = write_checkpoint(tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    norms = [name for name in state if "q_norm" in name or "k_norm" in name]
    save_file({n: v[:1].clone() if n in norms else v for n, v in state.items()}, folder / "model.safetensors")
    source, weights = tuned(folder)
    weights["text.layers.0.self_attn.q_norm.weight"][2] += 5
    (tmp_path / "out").mkdir()
    export(source, weights, tmp_path / "out", torch.float32)
    same(load_backbone(tmp_path / "out", dtype=torch.float32), weights, torch.float32)


def test_a_tensor_without_a_place_is_named(tmp_path: Path) -> None:
    source, weights = tuned(write_checkpoint(tmp_path / "m"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"has no place for model.layers.9.extra"):
        export(source, weights | {"text.layers.9.extra": torch.zeros(2)}, tmp_path / "out", torch.float32)
