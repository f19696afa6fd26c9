"""What a bug report says: sizes against what is really held, backends against the reference, and parts that fail."""

from __future__ import annotations

import importlib.metadata
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sjd2 import cache, doctor, provenance
from sjd2.backbones import load_backbone
from sjd2.backbones.checkpoint import EMBEDDED
from sjd2.decoder import Decoder, Sampling
from sjd2.pipeline import of_card

from sjd2_kernels import backends

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["heroes-lumina", "heroes-emu3"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_memory_is_what_the_decoder_takes(name: str, dtype: torch.dtype | None, caplog: Any) -> None:
    backbone = load_backbone(name, dtype=dtype or torch.float32)
    prompt = backbone.encode(["a dwarf"])[0]
    longer = type(prompt)((prompt.cond * doctor.PROMPT)[: doctor.PROMPT], prompt.uncond)
    with caplog.at_level("INFO", logger="sjd2.cache"):
        made = Decoder(
            backbone, of_card(backbone, "sjd2"), [longer], [backbone.grid()], [0],
            L=backbone.defaults.of("sjd2")["window"], sampling=Sampling(2.0),
        )  # fmt: skip
    found = doctor.memory([name], dtype, CPU)[0]
    assert found["weights"] == backbone.memory().weights
    assert found["cache"] == made.k_cache.nbytes + made.v_cache.nbytes
    assert f"window {cache.readable(found['window'])} " in caplog.text  # what the decoder itself reported
    assert found["together"] == found["weights"] + found["cache"] + found["window"]
    assert (found["dtype"], found["L"], found["rows"]) == (str(backbone.dtype).removeprefix("torch."), made.L, made.G)


def test_published_models_need_no_files() -> None:
    found = {r["model"]: r for r in doctor.memory(list(doctor.PUBLISHED), None, CPU)}
    assert found["Lumina-mGPT-7B-768"]["tokens"] == 2357
    assert found["Lumina-mGPT-7B-1024"]["tokens"] == 64 * 65 + 5
    assert found["Emu3-Gen"]["tokens"] == 8193
    # embedding and head, then per layer: queries and output, keys and values, three feed-forward matrices
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert found["Emu3-Gen"]["weights"] == pytest.approx(2 * (2 * 184_622 * 4096 + 32 * layer), rel=1e-4)
    assert found["Emu3-Gen"]["cache"] == 2 * 2 * 32 * 2 * 8 * 128 * (doctor.PROMPT + 8193)
    assert 13.0 < found["Lumina-mGPT-7B-768"]["weights"] / 2**30 < 13.2


def test_the_dtype_is_what_loading_would_take(tmp_path: Any) -> None:
    """A tuned checkpoint of heroes in any folder is loaded in float32, like the embedded one."""
    folder = shutil.copytree(EMBEDDED / "heroes-emu3", tmp_path / "tuned")
    found = doctor.memory([str(folder)], None, CPU)[0]
    assert found["dtype"] == str(load_backbone(folder).dtype).removeprefix("torch.") == "float32"


def test_how_many_pictures_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fits(free: int | None) -> int | None:
        monkeypatch.setattr(cache, "free_bytes", lambda device: free)
        return doctor.memory(["heroes-lumina"], None, CPU)[0]["fits"]

    one = doctor.memory(["heroes-lumina"], None, CPU)[0]
    together, more = one["together"], one["each more"]
    assert fits(None) is None
    edges = [fits(free) for free in (0, together - 1, together, together + more - 1, together + more)]
    assert edges == [0, 0, 1, 1, 2]


def test_a_model_that_cannot_be_read_hides_no_other(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    wrong, lost, right = doctor.memory([str(tmp_path), "nowhere", "heroes-emu3"], None, CPU)
    assert "model_type must be" in wrong["error"]
    assert "neither a folder" in lost["error"]
    assert right["fits"] > 0
    text = doctor.render({"memory": [wrong, lost, right]})
    assert text.index("heroes-emu3  float32") < text.index("nowhere  FileNotFoundError")
    assert doctor.render({"memory": [lost]}).splitlines()[1].startswith("  nowhere  ")


def test_backends_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    live = [name for name in ("native",) if backends.why_not(name) is None]
    assert doctor.trial() == {f"{name} cpu": doctor.AGREES for name in live}
    wanted = doctor._results("reference", "cpu")
    assert set(wanted) == {"p", "draws", "accepted", "tokens", "attention", "keys", "values"}
    assert 0 < int(wanted["accepted"].sum()) < wanted["tokens"].numel()  # some are accepted, some are not

    def results(backend: str, device: str) -> dict[str, Any]:
        if backend == "native":
            return wanted | {"tokens": wanted["tokens"] + 1, "attention": wanted["attention"] + 2 * doctor.ALIKE}
        return wanted

    monkeypatch.setattr(backends, "why_not", lambda backend: None if backend in ("native", "reference") else "no")
    monkeypatch.setattr(doctor, "_results", results)
    assert doctor.trial() == {"native cpu": "differs from the reference in tokens, attention"}
    monkeypatch.setattr(doctor, "_results", lambda backend, device: wanted if backend == "reference" else 1 // 0)
    assert doctor.trial()["native cpu"].startswith("fails: ZeroDivisionError")


def found() -> dict[str, Any]:
    return {"system": {}, "packages": {}, "backends": "", "trial": {"native cpu": doctor.AGREES}, "memory": []}


def test_healthy_and_not() -> None:
    assert doctor.healthy(found())
    assert not doctor.healthy(found() | {"system": {"error": "OSError: gone"}})
    assert not doctor.healthy(found() | {"trial": {"native cpu": "differs from the reference in p"}})
    assert not doctor.healthy(found() | {"memory": [{"model": "a", "error": "ValueError: b"}]})
    assert not doctor.healthy(found() | {"trial": {"error": "RuntimeError: c"}, "memory": {"error": "d"}})


def test_a_part_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("no\nsuch thing")

    monkeypatch.setattr(doctor, "system", broken)
    all_found = doctor.examine("heroes-emu3")
    assert all_found["system"] == {"error": "OSError: no such thing"}
    assert not doctor.healthy(all_found)
    text = doctor.render(all_found)
    assert "system:\n  could not be found out: OSError: no such thing\n" in text
    assert "heroes-emu3" in text


def test_system_names_what_a_maintainer_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SJD2_BACKEND", "reference")
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-there")
    said = doctor.system()
    assert "SJD2_BACKEND=reference" in said["variables"]
    assert said["tools"].startswith("c++ absent, cmake ")
    assert "threads of torch" in said["processor"]
    assert any(name.startswith("GPU") for name in said)
    for name in doctor.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert doctor.system()["variables"] == "none set"


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    of = SimpleNamespace(name="GPU X", major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: of)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3 << 29, 4 << 30))
    monkeypatch.setattr(provenance, "nvidia_smi", lambda fields: {"driver_version": "570.1"}[fields])
    said = doctor.system()
    expected = "GPU X, compute capability 9.0, 132 multiprocessors, 1.50 GiB of 4.00 GiB free, "
    assert said["GPU 1"].startswith(expected)
    assert said["GPU 1"].endswith("driver 570.1")
    assert "GPU" not in said
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in doctor._no_gpu()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert doctor._no_gpu().endswith("(CUDA 12.8) finds; driver 570.1")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("ray", "torch"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    said = doctor.packages()
    assert said["ray"] == "not installed: pip install 'sjd2-kernels[ray]'"
    assert said["torch"] == "not installed: pip install torch"
    assert said["triton"] == "1.0"


def test_packages_are_those_of_the_extras() -> None:
    """The extra that is named for a package does bring it."""
    for name, extra in doctor.PACKAGES.items():
        wanted = [text for text in importlib.metadata.requires("sjd2-kernels") or [] if text.startswith(name)]
        marks = [text.partition("extra ==")[2].strip(" \"'") for text in wanted]
        assert extra in marks, (name, wanted)
