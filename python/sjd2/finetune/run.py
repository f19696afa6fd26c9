"""A tuning run: checkpoint and data in, tuned checkpoints out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..backbones.base import Defaults
from ..backbones.checkpoint import locate
from ..backbones.loading import load_backbone
from ..grid import Grid
from ..schedule import time_grid
from .attention import use_attention
from .batch import Batch, at_time, clean_batch, noisy
from .encoders import load_encoder
from .export import Source, export
from .levels import Teeth
from .loop import train
from .objective import NextCleanToken
from .optimizers import Schedule, adamw
from .order import Order, split
from .pictures import find_pictures
from .processes import fit, make_accelerator
from .rows import Rows, parquet_files, read_rows
from .sequences import sequences
from .settings import Settings
from .states import States
from .tokenise import tokenise
from .validation import HeldOut

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

FIXED = (0.25, 0.5, 0.75, 1.0)  # times of the noise at which held-out loss is measured
LENGTHS = 64  # sequences are padded to a multiple of this, so that few lengths are compiled for


def tune(settings: Settings, accelerator: Accelerator | None = None) -> None:
    """Tune a checkpoint for decoding from noise; goes on where an earlier run in the same folder stopped.

    Args:
        settings: what to do.
        accelerator: from `processes.make_accelerator`; None makes one.

    Raises: ValueError, FileNotFoundError that say what to do.
    """
    settings.check()
    if accelerator is None:
        accelerator = make_accelerator(settings.precision)
    if accelerator.is_main_process:
        settings.record()
    accelerator.wait_for_everyone()
    backbone: Any = load_backbone(
        settings.model, dtype=torch.float32, tokenizer=settings.tokenizer, allow_pickle=settings.allow_pickle,
        pictures=lambda codes: codes,  # nothing is drawn
    )  # fmt: skip
    source = _source(settings, backbone)
    plan = Plan(settings, backbone, source.card.defaults, accelerator)
    data = plan.read(settings.data, "codes")
    numbers, apart = split(len(data.captions), 0 if settings.validation_data else settings.held_out)
    others = plan.read(settings.validation_data, "validation-codes") if settings.validation_data else data
    order = Order(numbers, settings.seed, settings.drop)
    steps = settings.steps or max(1, round(settings.epochs * len(numbers) / settings.batch))
    logger.info("%d pictures, %d held out, %d steps", len(numbers), len(apart), steps)

    fit(accelerator, backbone, settings.batch, settings.micro_batch)
    objective = prepare(backbone, settings, accelerator)
    world, B = accelerator.num_processes, settings.micro_batch
    chosen = range(len(others.captions))[: settings.held_out] if settings.validation_data else apart.tolist()
    held_out = plan.held_out(others, chosen)
    checkpoints = States(settings.out, "checkpoint")

    def batch_at(micro_step: int) -> Batch:
        first = (micro_step * world + accelerator.process_index) * B
        return plan.batch(data, order, range(first, first + B))

    def write(model: nn.Module, step: int) -> None:
        weights = accelerator.get_state_dict(model)  # gathered by all, needed by one
        dtype = getattr(torch, settings.dtype)

        def fill(folder: Path) -> None:
            if accelerator.is_main_process:
                export(source, weights, folder, dtype)

        checkpoints.write(step, fill, accelerator)

    train(
        objective, batch_at, adamw(objective, settings.lr, settings.weight_decay),
        Schedule(steps, warmup=min(settings.warmup, max(1, steps // 10))), settings.out, accelerator=accelerator,
        measure=HeldOut(held_out, plan.grid.forced, B, accelerator) if held_out else None, export=write,
        log_every=settings.log_every, measure_every=settings.measure_every, save_every=settings.save_every,
    )  # fmt: skip
    accelerator.end_training()


@dataclass
class Plan:
    """What every batch of a run has in common: the picture's grid, the decoding grid, how noise rises.

    Args:
        settings: of the run. backbone: the model. defaults: of its card. accelerator: of the run.
    """

    settings: Settings
    backbone: Any
    defaults: Defaults
    accelerator: Accelerator

    def __post_init__(self) -> None:
        values = self.defaults.of("sjd2")
        self.grid: Grid = self.backbone.grid(self.settings.size)
        self.times = time_grid(values["denoise_steps"], values["spacing"])
        self.teeth = Teeth.around(values["window"], values["denoise_steps"], self.settings.clean)

    def read(self, source: Path, name: str) -> Rows:
        """The tokenised pictures of a parquet file or folder; pictures are tokenised first, into ``out/name``."""
        files = parquet_files(source)
        if not files:
            vq = self.settings.vq or self.settings.model
            options = {"device": self.accelerator.device, "allow_pickle": self.settings.allow_pickle}
            load = partial(load_encoder, self.backbone, vq, **options)
            cache = self.settings.out / name
            files = tokenise(find_pictures(source), load, self.grid.size, cache, self.accelerator, vq)
        return read_rows(files, self.grid.height, self.grid.width, self.backbone.V)

    def clean(self, rows: Rows, numbers: list[int], dropped: list[bool], seeds: list[int]) -> Batch:
        """Sequences without noise."""
        texts = [None if drop else rows.captions[i] or None for i, drop in zip(numbers, dropped, strict=True)]
        codes = torch.from_numpy(rows.codes[numbers].astype("int64"))
        tokens, prompt = sequences(self.backbone, self.grid, texts, codes, multiple=LENGTHS)
        return clean_batch(tokens, prompt, self.grid.n_tokens, torch.tensor(seeds))

    def batch(self, rows: Rows, order: Order, positions: range) -> Batch:
        """The examples at ``positions``, with their noise."""
        numbers, dropped, seeds = (list(part) for part in zip(*(order[at] for at in positions), strict=True))
        return noisy(self.clean(rows, numbers, dropped, seeds), self.grid.forced, self.times, self.teeth)

    def held_out(self, rows: Rows, numbers: list[int] | range) -> dict[str, Batch]:
        """Clean, and with the whole picture at fixed times; the noise of a picture is always the same."""
        if not len(numbers):
            return {}
        base = self.clean(rows, list(numbers), [False] * len(numbers), list(range(len(numbers))))
        return {"clean": base} | {f"t{t:g}": at_time(base, self.grid.forced, t) for t in FIXED}


def prepare(backbone: Any, settings: Settings, accelerator: Accelerator) -> NextCleanToken:
    """The objective in training mode, without dropout (ours: the loss is a function of step and weights, and
    FlexAttention has none), with the attention and the checkpointing that the settings ask for."""
    text = backbone.text
    for module in text.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    cuda = accelerator.device.type == "cuda"
    if settings.attention == "flex" and not cuda:
        raise ValueError("finetune: FlexAttention has no gradients on a CPU; leave out --attention, or give dense")
    flex = cuda and settings.attention != "dense"
    use_attention(text, flex)
    if settings.checkpointing:
        for layer in text.layers:  # the forward, not the call: the hooks of FSDP stay outside and run once
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    return NextCleanToken(text, backbone.lm_head, flex=flex).train()


def _source(settings: Settings, backbone: Any) -> Source:
    """Where the model came from, with the decoding grid that it is tuned for written into its card."""
    given = {name: getattr(settings, name) for name in ("window", "denoise_steps", "spacing")}
    given = {name: value for name, value in given.items() if value is not None}
    held = backbone.card.defaults
    policy = {name: dict(values) for name, values in held.policy.items()}
    policy["sjd2"] = policy.get("sjd2", {}) | given
    defaults = Defaults(held.common, policy) if given else held
    lacking = [name for name in ("window", "denoise_steps", "spacing") if name not in defaults.of("sjd2")]
    if lacking:
        options = ", ".join("--" + name.replace("_", "-") for name in lacking)
        raise ValueError(f"finetune: the model's card has no {', '.join(lacking)} for sjd2; give {options}")
    folder = locate(settings.model, allow_pickle=settings.allow_pickle)
    tokenizer = locate(settings.tokenizer) if settings.tokenizer else folder
    return Source(folder, tokenizer, replace(backbone.card, defaults=defaults), settings.allow_pickle)
