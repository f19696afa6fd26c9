"""`sjd2 generate --prompts`: what a folder lacks of a file of prompts is drawn, here or by Ray's actors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Exit, echo

from ..prompts import read_prompts
from ._models import find_device, thread_limit

if TYPE_CHECKING:
    from ..many import Job
    from ..pipeline import Pipeline


def many(
    prompts: Path,
    out: Path,
    load: partial[Pipeline],
    drawing: Mapping[str, Any],
    text: Mapping[str, Any],
    *,
    batch: int,
    shard: str | None,
    workers: int | None,
) -> None:
    """Draw what is missing, print a line for each picture, and write the manifest.

    Args:
        prompts: the file.
        out: folder of the run.
        load: `load_model` with its arguments.
        drawing: arguments of `Pipeline.generate`.
        text: what the run's pictures are made from; ``seed``, ``count`` and ``scale`` are read here.
        batch, shard, workers: see the options.

    Raises: ValueError for bad lines, a folder of another run, or a picture decoder that failed; Exit with code 1 where
        logits were not finite.
    """
    from ..many import Job, parse_shard, split
    from ..png import made_from
    from ..run_folder import RunFolder

    i, n = parse_shard(shard)
    pictures = read_prompts(prompts, seed=text["seed"], count=text["count"])
    device = find_kind(load.keywords["device"], workers)
    folder = RunFolder(out, made_from({**text, "device": device}), pictures)  # another device rounds differently
    folder.compare()
    told = {picture.id for picture in pictures if folder.record(picture) is not None}
    groups = [g for g in split(pictures, batch)[i - 1 :: n] if any(p.id not in told for p in g)]
    if workers is not None:
        load = partial(load, device=device)  # the GPU that Ray gave the actor
    job = Job(load, folder, drawing, text["scale"], prompts, groups)
    try:
        for records in draw(job, workers, device) if groups else ():
            for record in (record for record in records if record["id"] not in told):
                told.add(record["id"])
                folder.add(record)
                N, steps = record["tokens"], record["steps"]
                echo(f"{out / record['file']}: {steps} steps, step compression {N / steps:.1f}")
    finally:
        records = folder.write_manifest() if folder.begun else []
    echo(f"{len(records)} of {len(pictures)} pictures are in {out}; manifest.jsonl lists them")
    bad = [record for record in records if record["status"] != "ok"]
    if bad:
        echo(f"not to be trusted: {', '.join(record['file'] for record in bad)}")
        raise Exit(1)


def find_kind(device: str | None, workers: int | None) -> str:
    """ "cpu" or "cuda"; with workers, this machine need not have what the others have.

    Raises: ValueError for a device that is not there, or for workers on one numbered GPU.
    """
    if workers is None or device is None:
        return find_device(device).type
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda with workers, Ray gives each a GPU of its own; got {device!r}")
    return device


def draw(job: Job, workers: int | None, device: str) -> Iterator[list[dict[str, Any]]]:
    """Draw group after group, here or by actors; gives the records of each."""
    if workers is not None:
        from ..workers import draw_by_actors

        yield from draw_by_actors(job, workers, device)
        return
    drawer = job.start()
    with thread_limit(drawer.pipe):
        yield from map(drawer.draw, job.groups)
