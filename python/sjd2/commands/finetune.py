"""`sjd2 finetune`: next-clean-token tuning of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ..prompts import parse_size


def finetune(
    model: Annotated[str, Option(help="Checkpoint to tune: folder or hub id of a Lumina-mGPT or Emu3 model.")],
    data: Annotated[Path, Option(help="Folder of pictures with captions, or parquet file or folder of codes.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder of the run; one that was stopped goes on.")],
    validation_data: Annotated[Path | None, Option(help="As --data; left out, some of --data is held out.")] = None,
    held_out: Annotated[int, Option(help="Pictures to measure on; 0 is none.", min=0)] = 64,
    epochs: Annotated[float, Option(help="Times to go through the data.")] = 6.0,
    steps: Annotated[int | None, Option(help="Optimizer steps, instead of --epochs.", min=1)] = None,
    lr: Annotated[float, Option(help="Learning rate of AdamW.")] = 2e-5,
    weight_decay: Annotated[float, Option(help="Of AdamW, for matrices.")] = 0.05,
    warmup: Annotated[int, Option(help="Steps in which the learning rate rises; at most a tenth of all.")] = 100,
    batch: Annotated[int, Option(help="Pictures per step, of all processes together.", min=1)] = 64,
    micro_batch: Annotated[int, Option(help="Pictures per process at a time; the rest is accumulated.", min=1)] = 1,
    window: Annotated[int | None, Option(help="L to tune for; left out, the model card's.", min=1)] = None,
    denoise_steps: Annotated[int | None, Option(help="T to tune for; left out, the card's.", min=1)] = None,
    spacing: Annotated[str | None, Option(help="Time grid: karras, edm or linear; left out, the card's.")] = None,
    clean: Annotated[float, Option(help="Share of sequences without noise.", min=0, max=1)] = 0.12,
    drop: Annotated[float, Option(help="Share of captions that are dropped, for guidance.", min=0, max=1)] = 0.1,
    size: Annotated[str | None, Option(help="Pixels of the pictures; left out, the card's.", metavar="WxH")] = None,
    seed: Annotated[int, Option(help="Of the order, the levels and the noise.")] = 0,
    precision: Annotated[str, Option(help="bf16, or no for float32.")] = "bf16",
    checkpointing: Annotated[bool, Option(help="Compute activations twice instead of keeping them.")] = True,
    attention: Annotated[str, Option(help="flex, dense, or auto: flex on a GPU.")] = "auto",
    log_every: Annotated[int, Option(help="Steps between rows of log.csv.", min=1)] = 10,
    measure_every: Annotated[int, Option(help="Steps between measurements of the held-out loss.", min=1)] = 250,
    save_every: Annotated[int, Option(help="Steps between saved states and checkpoints.", min=1)] = 250,
    dtype: Annotated[str, Option(help="bfloat16 or float32, of the checkpoints.")] = "bfloat16",
    vq: Annotated[str | None, Option(help="VQ encoder, where the checkpoint has none: file, folder or hub id.")] = None,
    tokenizer: Annotated[str | None, Option(help="Tokenizer, where the checkpoint has none: folder or hub id.")] = None,
    allow_pickle: Annotated[bool, Option("--allow-pickle", help="Read pickled weights too, safely.")] = False,
) -> None:
    """Tune a checkpoint so that it can decode from noise; on many GPUs: accelerate launch ... -m sjd2 finetune."""
    options: dict[str, Any] = {**locals(), "size": parse_size(size) if size else None}
    from ..finetune.run import tune
    from ..finetune.settings import Settings

    tune(Settings(**options))
