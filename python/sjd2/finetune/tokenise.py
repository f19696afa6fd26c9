"""A folder of pictures as parquet files of codes: made once, in parts, by all processes; a kill loses one part."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .encoders import Encode
from .pictures import Picture, pixels
from .rows import note_of, write_rows

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

PART = 256  # pictures per file
TOGETHER = 4  # pictures through the encoder at a time
READERS = 4  # threads that read and scale pictures


def tokenise(
    pictures: Sequence[Picture],
    load: Callable[[], Encode],
    size: tuple[int, int],
    folder: Path,
    accelerator: Accelerator,
    identity: str,
) -> list[Path]:
    """Write the codes of all pictures, or what of them is not there yet.

    A part is kept if it was made from the same files (name, bytes, time of change), captions, size and model.

    Args:
        pictures: from `find_pictures`. load: gives the encoder; called only where there is work.
        size: (width, height) of the pictures in pixels.
        folder: for ``part-00000.parquet`` and so on.
        accelerator: whose processes share the parts.
        identity: names the encoder.

    Returns: the parts, in the pictures' order.
    """
    parts = [pictures[first : first + PART] for first in range(0, len(pictures), PART)]
    paths = [folder / f"part-{number:05}.parquet" for number in range(len(parts))]
    accelerator.wait_for_everyone()  # a part that another process has written by now must not change who does which
    missing = [
        (part, path, note)
        for part, path in zip(parts, paths, strict=True)
        if note_of(path) != (note := fingerprint(part, size, identity))
    ]
    accelerator.wait_for_everyone()
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    if mine:
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("%d of %d parts of %d pictures are to be tokenised", len(missing), len(parts), PART)
        _write(mine, load(), size, quiet=not accelerator.is_main_process)
    accelerator.wait_for_everyone()
    return paths


def fingerprint(pictures: Sequence[Picture], size: tuple[int, int], identity: str) -> str:
    """What a part was made from, in 32 letters."""
    made = hashlib.blake2b(f"{identity}\0{size}".encode(), digest_size=16)
    for path, caption in pictures:
        state = path.stat()
        made.update(f"\0{path.name}\0{state.st_size}\0{state.st_mtime_ns}\0{caption}".encode())
    return made.hexdigest()


def _write(
    parts: Sequence[tuple[Sequence[Picture], Path, str]], encode: Encode, size: tuple[int, int], quiet: bool
) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    total = sum(len(part) for part, _, _ in parts)
    bar = tqdm(total=total, unit="picture", desc="tokenising", disable=True if quiet else None)
    with bar, ThreadPoolExecutor(READERS) as pool:
        for part, path, note in parts:
            codes = []
            for first in range(0, len(part), TOGETHER):
                read = pool.map(lambda picture: pixels(picture.path, size), part[first : first + TOGETHER])
                together = np.stack(list(read))
                codes.append(encode(torch.from_numpy(together)).numpy())
                bar.update(len(together))
            write_rows(path, [picture.caption for picture in part], np.concatenate(codes), note)
