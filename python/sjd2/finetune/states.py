"""Numbered folders of a run, `<name>-<step>`: a folder has its name only when it is complete, and the newest stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator


class States:
    """The folders of one name.

    Args:
        folder: of the run; created if missing. name: what stands before the step.

    Example:
        >>> States(Path("/tmp/a-run-that-never-was"), "checkpoint").newest is None
        True
    """

    def __init__(self, folder: Path, name: str = "state"):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def newest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest complete one."""
        numbers = [(path.name.removeprefix(f"{self.name}-"), path) for path in self.folder.glob(f"{self.name}-*")]
        return max(((int(number), path) for number, path in numbers if number.isdecimal()), default=None)

    def write(self, step: int, fill: Callable[[Path], None], accelerator: Accelerator) -> Path:
        """Let every process fill the folder of ``step``, then remove the older ones.

        Returns: the folder.
        """
        new, final = self.folder / f"{self.name}-new", self.folder / f"{self.name}-{step}"
        if accelerator.is_main_process:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
        accelerator.wait_for_everyone()
        fill(new)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(new, final)
            for path in self.folder.glob(f"{self.name}-*"):
                if path != final:
                    shutil.rmtree(path, ignore_errors=True)
        accelerator.wait_for_everyone()
        return final
