"""What a launcher's configuration leaves to the program: accumulation, units of FSDP, its casts, DeepSpeed's batch."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from _tuning import FAMILIES
from _tuning_process import CONFIGS, launcher_environment
from accelerate.state import AcceleratorState
from sjd2.finetune.processes import fit, make_accelerator


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def accelerator(kind: str, count: int = 2, precision: str = "bf16") -> Any:
    """What `fit` asks of an accelerator of a kind that needs a GPU."""
    plugin = SimpleNamespace(transformer_cls_names_to_wrap=None, mixed_precision_policy=None)
    return SimpleNamespace(
        num_processes=count, is_fsdp2=kind == "FSDP2", distributed_type=SimpleNamespace(value=kind.rstrip("2")),
        mixed_precision=precision, gradient_accumulation_steps=1,
        state=SimpleNamespace(fsdp_plugin=plugin, deepspeed_plugin=SimpleNamespace(deepspeed_config={})),
    )  # fmt: skip


def test_the_rest_of_a_batch_is_accumulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "7")  # a launcher's word, which must not count
    made = make_accelerator("no", cpu=True)
    assert made.gradient_accumulation_steps == 1
    fit(made, FAMILIES["emu3"](), 64, 4)
    assert made.gradient_accumulation_steps == 16
    with pytest.raises(ValueError, match=r"--batch 64 must be a multiple of --micro-batch 3 times 1 processes"):
        fit(made, FAMILIES["emu3"](), 64, 3)


@pytest.mark.parametrize(("family", "layer"), [("lumina", "ChameleonDecoderLayer"), ("emu3", "Emu3DecoderLayer")])
def test_a_decoder_layer_is_a_unit_and_nothing_is_cast_but_weights(family: str, layer: str) -> None:
    made = accelerator("FSDP2")
    fit(made, FAMILIES[family](), 8, 2)
    plugin = made.state.fsdp_plugin
    assert plugin.transformer_cls_names_to_wrap == [layer]
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    assert policy.output_dtype is None
    assert not policy.cast_forward_inputs
    assert made.gradient_accumulation_steps == 2
    plain = accelerator("FSDP2", precision="no")
    fit(plain, FAMILIES[family](), 8, 2)
    assert plain.state.fsdp_plugin.mixed_precision_policy is None


def test_deepspeed_is_told_the_batch_and_old_fsdp_is_refused() -> None:
    made = accelerator("DEEPSPEED", count=4)
    fit(made, FAMILIES["emu3"](), 64, 2)
    assert made.state.deepspeed_plugin.deepspeed_config == {"train_micro_batch_size_per_gpu": 2}
    assert made.gradient_accumulation_steps == 8
    with pytest.raises(ValueError, match=r"FSDP of version 1 is not supported, set fsdp_version: 2"):
        fit(accelerator("FSDP"), FAMILIES["emu3"](), 64, 2)


def test_the_shipped_configurations_are_what_the_launcher_reads() -> None:
    held = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    assert set(held) == {"fsdp2", "zero3"}
    environment = launcher_environment(CONFIGS / "fsdp2.yaml")
    assert environment["FSDP_VERSION"] == "2"
    assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert environment["FSDP_STATE_DICT_TYPE"] == "SHARDED_STATE_DICT"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert "FSDP_TRANSFORMER_CLS_TO_WRAP" not in environment
    zero = held["zero3"]["deepspeed_config"]
    assert (zero["zero_stage"], zero["zero3_init_flag"], zero["gradient_accumulation_steps"]) == (3, False, "auto")
