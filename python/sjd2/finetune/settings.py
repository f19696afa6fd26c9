"""What a tuning run is told; the options of `sjd2 finetune`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..atomic import replacing

FILE = "run.json"
# what may change when a run is resumed: none of it changes a loss but by rounding
FREE = {"out", "micro_batch", "checkpointing", "attention", "log_every", "measure_every", "save_every", "dtype"}


@dataclass(frozen=True)
class Settings:
    """The options of a run, by the names and with the meaning of `sjd2 finetune --help`."""

    model: str
    data: Path
    out: Path
    validation_data: Path | None = None
    held_out: int = 64
    epochs: float = 6.0
    steps: int | None = None
    lr: float = 2e-5
    weight_decay: float = 0.05
    warmup: int = 100
    batch: int = 64
    micro_batch: int = 1
    window: int | None = None
    denoise_steps: int | None = None
    spacing: str | None = None
    clean: float = 0.12
    drop: float = 0.1
    size: tuple[int, int] | None = None
    seed: int = 0
    precision: str = "bf16"
    checkpointing: bool = True
    attention: str = "auto"
    log_every: int = 10
    measure_every: int = 250
    save_every: int = 250
    dtype: str = "bfloat16"
    vq: str | None = None
    tokenizer: str | None = None
    allow_pickle: bool = False

    def check(self) -> None:
        """Raises: ValueError for a word that is not known."""
        words = {"precision": ("bf16", "no"), "attention": ("auto", "flex", "dense"), "dtype": ("bfloat16", "float32")}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise ValueError(f"finetune: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def record(self) -> None:
        """Keep the settings in the run's folder.

        Raises: ValueError if the folder holds a run with other settings, which would be gone on with as something else.
        """
        path = self.out / FILE
        mine = json.loads(json.dumps(asdict(self), default=str))
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in mine if name not in FREE and held.get(name) != mine[name]]
            if changed:
                raise ValueError(
                    f"finetune: {self.out} holds a run with other settings: "
                    + ", ".join(f"{name} {held.get(name)!r}, now {mine[name]!r}" for name in changed)
                    + "; give them again as they were, or take another --out"
                )
        self.out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as scratch:
            scratch.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")
