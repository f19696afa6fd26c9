"""The accelerator of a tuning run: one process, or what `accelerate launch` configures.

Three settings of FSDP and DeepSpeed cannot be left to their configuration files:

- which module is a unit: the decoder layer of the model at hand; all else, the embedding table too, is gathered by the
  root, whose forward reads the whole table;
- FSDP's bfloat16 must not cast what goes in and out of the root: the times of the noise stay float32 (1000 t is a
  timestep), the loss is float32, and gradients are summed in float32;
- DeepSpeed wants the batch of one process as a number.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ..backbones.transformer import TransformersBackbone

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(hours=2)  # one process may tokenise or write for long while the others wait


def make_accelerator(precision: str = "bf16", *, cpu: bool = False) -> Accelerator:
    """The accelerator of this process.

    Args:
        precision: "bf16" or "no". cpu: even where there is a GPU.

    Raises: ModuleNotFoundError that names the install line without accelerate.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("finetune: needs accelerate: pip install 'sjd2-kernels[finetune]'") from error
    return Accelerator(
        mixed_precision=precision,
        cpu=cpu,
        # as a plugin: the launcher's environment would have the last word over a number
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def fit(accelerator: Accelerator, backbone: TransformersBackbone, batch: int, micro_batch: int) -> None:
    """Complete the settings of accumulation, FSDP and DeepSpeed, before anything is prepared.

    Args:
        accelerator: from `make_accelerator`. backbone: what will be tuned.
        batch: sequences per step, of all processes together. micro_batch: sequences per process at a time.

    Raises: ValueError if the processes cannot share a batch evenly, or for FSDP of version 1.
    """
    together = micro_batch * accelerator.num_processes
    if batch % together:
        raise ValueError(
            f"finetune: --batch {batch} must be a multiple of --micro-batch {micro_batch} times "
            f"{accelerator.num_processes} processes"
        )
    accelerator.gradient_accumulation_steps = batch // together
    kind = accelerator.distributed_type.value
    if accelerator.is_fsdp2:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        plugin, layers = accelerator.state.fsdp_plugin, cast(nn.ModuleList, backbone.text.layers)
        plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layer in layers})
        if accelerator.mixed_precision == "bf16":
            plugin.mixed_precision_policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
    elif kind == "FSDP":
        raise ValueError("finetune: FSDP of version 1 is not supported, set fsdp_version: 2 (see docs/finetune.md)")
    elif kind == "DEEPSPEED":
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro_batch
