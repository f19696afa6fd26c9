"""Many prompts: split into groups and shards, drawn group by group into the folder of a run.

A group is decoded as one batch, and who is in it depends on the prompts and the size of a batch alone: neither shards,
nor interruptions, nor workers change it. So a picture comes out the same to the last bit, although matrix products
round differently in another batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .png import save_enlarged
from .prompts import Picture, refuse
from .run_folder import RunFolder

if TYPE_CHECKING:
    from .pipeline import Pipeline

Group = tuple[Picture, ...]


def split(pictures: Sequence[Picture], batch: int) -> list[Group]:
    """Groups of at most ``batch`` pictures of one size, in order.

    Example:
        >>> pictures = [Picture(n, str(n), "a dwarf", n, (8, 8) if n == 2 else None) for n in (1, 2, 3, 4)]
        >>> [[p.id for p in group] for group in split(pictures, 2)]
        [['1', '3'], ['4'], ['2']]
    """
    sizes = dict.fromkeys(picture.size for picture in pictures)
    alike = [[picture for picture in pictures if picture.size == size] for size in sizes]
    return [tuple(some[i : i + batch]) for some in alike for i in range(0, len(some), batch)]


def parse_shard(text: str | None) -> tuple[int, int]:
    """(i, n) of a text such as "2/8"; None is the whole.

    Raises: ValueError unless 1 <= i <= n.

    Example:
        >>> parse_shard("2/8")
        (2, 8)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", (text or "1/1").strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard must be i/n with i from 1 to n, such as 2/8, got {text!r}")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Job:
    """What a process needs to know to take part in a run; it can be pickled.

    Attributes:
        load: gives the model.
        folder: of the run.
        drawing: arguments of `Pipeline.generate` that all pictures share; ``size`` is of those without their own.
        scale: as in `save_enlarged`.
        prompts: their file, for errors.
        groups: what is to be drawn by this job.
    """

    load: Callable[[], Pipeline]
    folder: RunFolder
    drawing: Mapping[str, Any]
    scale: int | None
    prompts: Path
    groups: Sequence[Group]

    def start(self) -> Drawer:
        """Load the model, look at every prompt of the run, and claim the folder.

        Raises: ValueError that lists by line the prompts that the model cannot draw, or says why the folder cannot be
            had; what `load` raises.
        """
        pipe, bad = self.load(), dict[int, str]()
        shared = {name: value for name, value in self.drawing.items() if name != "graph"}
        for picture in self.folder.pictures:  # the others' too: a run with a bad line must not begin
            if picture.line not in bad:
                try:
                    pipe.check(picture.prompt, **{**shared, "size": picture.size or shared["size"]})
                except ValueError as error:
                    bad[picture.line] = str(error)
        refuse(self.prompts, sorted(bad.items()))
        self.folder.claim()
        return Drawer(self, pipe)


@dataclass(frozen=True)
class Drawer:
    """A job with its model."""

    job: Job
    pipe: Pipeline

    def draw(self, group: Group) -> list[dict[str, Any]]:
        """Draw those pictures of a group that are not there yet.

        Returns: the manifest's records of all of the group.

        Raises: ValueError where the picture decoder failed.
        """
        folder, drawing = self.job.folder, dict(self.job.drawing)
        missing = [b for b, picture in enumerate(group) if folder.record(picture) is None]
        if missing:  # all are decoded: a smaller batch may round differently
            drawing["size"] = group[0].size or drawing["size"]
            drawn = self.pipe.generate([p.prompt for p in group], **drawing, seed=[p.seed for p in group])
            if not drawn.images:
                raise ValueError("there are no pictures, for the reason given above")
            for b in missing:
                own = {"seed": group[b].seed, "steps": int(drawn.steps[b]), "tokens": drawn.tokens.shape[1]}
                status = {} if drawn.status[b] == "ok" else {"status": drawn.status[b]}
                text = {**folder.settings, "prompt": group[b].prompt, **own, **status, "run": folder.run}
                save_enlarged(drawn.images[b], folder.file(group[b]), self.job.scale, text)
        return [record for record in map(folder.record, group) if record is not None]
