"""Files of a checkpoint: shards, pickles, streaming one tensor at a time, and errors that name what is missing."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sjd2.backbones import checkpoint as module
from sjd2.backbones.checkpoint import Checkpoint, fill, locate, open_checkpoint, place
from torch import Tensor, nn


def model() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))


def state(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(5)
        for name, value in model().state_dict().items()
    }


def load(path: Path, target: nn.Module, dtype: torch.dtype = torch.float32, **kwargs: Any) -> nn.Module:
    fill(target, open_checkpoint(path, comes_from="the hub", **kwargs), dtype=dtype, device="cpu", comes_from="the hub")
    return target


def shard(folder: Path, held: dict[str, Tensor], kind: str = "safetensors") -> list[str]:
    stem, end = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    files = {name: f"{stem}-{i % 2 + 1:05}-of-00002.{end}" for i, name in enumerate(sorted(held))}
    for file in sorted(set(files.values())):
        part = {name: held[name] for name in held if files[name] == file}
        save_file(part, folder / file) if kind == "safetensors" else torch.save(part, folder / file)
    (folder / f"{stem}.{end}.index.json").write_text(json.dumps({"weight_map": files}))
    return sorted(set(files.values()))


@pytest.mark.parametrize("shards", [False, True])
def test_parameters_and_buffers_are_filled_and_only_floating_ones_converted(tmp_path: Path, shards: bool) -> None:
    held = state()
    if shards:
        shard(tmp_path, held)
    else:
        save_file(held, tmp_path / "anything.safetensors")
    got = load(tmp_path, model(), torch.bfloat16)
    for name, value in got.state_dict().items():
        wanted = held[name].bfloat16() if held[name].is_floating_point() else held[name]
        assert value.dtype == wanted.dtype
        assert torch.equal(value, wanted)
    assert all(parameter.requires_grad for parameter in got.parameters())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    files = shard(tmp_path, state())
    (tmp_path / files[1]).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"lacks {files[1]}, named in model.safetensors.index.json; they come from the hub"
    ):
        load(tmp_path, model())


def test_several_files_without_an_index_are_refused(tmp_path: Path) -> None:
    shard(tmp_path, state())
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 safetensors files but no model.safetensors.index.json"):
        load(tmp_path, model())


@pytest.mark.parametrize("name", ["../other.safetensors", "/tmp/other.safetensors"])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    save_file(state(), tmp_path / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(state(), name)}))
    with pytest.raises(ValueError, match="points outside its folder"):
        load(folder, model())


@pytest.mark.parametrize("shards", [False, True])
def test_pickled_weights_need_the_flag(tmp_path: Path, shards: bool) -> None:
    held = state()
    if shards:
        shard(tmp_path, held, "bin")
    else:
        torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"pytorch_model.* is pickled, and only safetensors are read by default; pass allow_pickle"
    ):
        load(tmp_path, model())
    got = load(tmp_path, model(), allow_pickle=True)
    assert all(torch.equal(value, held[name]) for name, value in got.state_dict().items())


def test_pickles_of_the_oldest_format_are_read_too(tmp_path: Path) -> None:
    held = state()
    torch.save({"state_dict": held}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    got = load(tmp_path / "old.ckpt", model(), allow_pickle=True)
    assert torch.equal(got.state_dict()["0.weight"], held["0.weight"])


def test_safetensors_win_over_pickles_beside_them(tmp_path: Path) -> None:
    shard(tmp_path, state(1), "bin")
    save_file(state(2), tmp_path / "model.safetensors")
    got = load(tmp_path, model(), allow_pickle=True)
    assert torch.equal(got.state_dict()["0.weight"], state(2)["0.weight"])


def test_no_second_copy_one_tensor_is_alive_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """34 GB of float32 become 17 GB of bfloat16 on a machine that never had 51."""
    shard(tmp_path, state())
    alive: list[weakref.ref[Tensor]] = []
    read = Checkpoint.tensors

    def watched(self: Checkpoint) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in read(self):
            gc.collect()
            assert not [r for r in alive if r() is not None], "an earlier tensor is still held"
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor

    monkeypatch.setattr(module.Checkpoint, "tensors", watched)
    load(tmp_path, model(), torch.bfloat16)
    assert len(alive) == len(state())


def test_weights_outlive_their_file(tmp_path: Path) -> None:
    """Tensors of a mapped file would change, or fault, when the file does."""
    held = state()
    path = tmp_path / "model.safetensors"
    save_file(held, path)
    got = load(tmp_path, model())
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(got.state_dict()["0.weight"], held["0.weight"])


def test_placing_keeps_memory_contiguous() -> None:
    target = model()
    place(target, "0.weight", torch.randn(4, 3).T, dtype=torch.float32, device="cpu")
    assert target.get_parameter("0.weight").is_contiguous()


def test_hub_ids_are_downloaded_without_code_or_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.update(kwargs, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert locate("BAAI/Emu3-Gen", revision="abc") == tmp_path
    assert asked["repo_id"] == "BAAI/Emu3-Gen"
    assert asked["revision"] == "abc"
    assert not [p for p in asked["allow_patterns"] if p.endswith((".py", ".bin", ".ckpt", ".pt", ".pth"))]
    locate("BAAI/Emu3-Gen", allow_pickle=True)
    assert "*.ckpt" in asked["allow_patterns"]
    assert "*.py" not in asked["allow_patterns"]


def test_a_path_that_is_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder or file on this machine, nor an embedded model"):
        locate(tmp_path / "none")


def test_buffers_that_no_checkpoint_holds_are_named(tmp_path: Path) -> None:
    target = model()
    with torch.device("meta"):
        target.register_buffer("clock", torch.zeros(2), persistent=False)
    save_file(state(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="buffers without a value: clock"):
        load(tmp_path, target)
