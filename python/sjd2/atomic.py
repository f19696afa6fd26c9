"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A scratch file beside ``path`` that takes its name when the block ends well, and is removed when it does not.

    Whoever opens ``path`` meanwhile, or after a crash, sees the old file or the new one, never a part. The scratch file
    keeps the suffix, by which libraries tell formats.

    Args:
        path: the file to write; its folder exists.

    Returns: the path to write to; nothing is there yet.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/a.txt") as scratch:
        ...         _ = scratch.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    path = Path(path)
    scratch = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield scratch
        with open(scratch, "rb") as written:
            os.fsync(written.fileno())  # else a power cut may leave the name without the bytes
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
