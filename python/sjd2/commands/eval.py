"""`sjd2 eval`: decoding settings compared on the same prompts and seeds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, echo

from ..prompts import parse_size
from ._models import load_model, thread_limit

if TYPE_CHECKING:
    from ..evaluation.task import Task

KINDS = "flat,mottled,flat short,mottled short"


def eval(
    model: Annotated[str, Option(help="An embedded model, a folder or a hub id.")] = "heroes-lumina",
    baseline: Annotated[
        str | None, Option(help="Folder of the same model without noise tuning: ar and coupled only.")
    ] = None,
    prompts: Annotated[
        Path | None, Option(help="File of prompts, as of generate; left out, held-out captions of heroes.")
    ] = None,
    out: Annotated[Path, Option("--out", "-o", help="JSON file; one that is there goes on.")] = Path("out/eval.json"),
    policies: Annotated[
        str | None,
        Option(help="Settings, with commas: ar, sjd 16, 'coupled *'; left out, five with the card's numbers."),
    ] = None,
    captions: Annotated[int, Option(help="Held-out captions of each kind.", min=1)] = 64,
    kinds: Annotated[str, Option(help="Kinds of held-out captions, with commas.")] = KINDS,
    seeds: Annotated[int, Option(help="Pictures of each prompt.", min=1)] = 2,
    quick: Annotated[bool, Option("--quick", help="16 captions, one seed.")] = False,
    batch: Annotated[int, Option(help="Pictures per call.", min=1)] = 32,
    guidance: Annotated[float | None, Option(help="Scale of classifier-free guidance; 1 is off.")] = None,
    temperature: Annotated[float, Option(help="Of the sampling; 0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Sample among the k likeliest tokens; 0 is off.")] = None,
    top_p: Annotated[float, Option(help="Sample among the likeliest tokens of this probability; 1 is off.")] = 1.0,
    size: Annotated[str | None, Option(help="Pixels, such as 768x512.", metavar="WxH")] = None,
    time: Annotated[bool, Option(help="Take seconds, in a run of their own.")] = True,
    test: Annotated[bool, Option(help="Draw ar once more, to test the law of every setting.")] = True,
    table: Annotated[bool, Option("--table", help="Only print the tables of the file.")] = False,
    dtype: Annotated[str | None, Option(help="float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:N; left out, the GPU where there is one.")] = None,
    vq: Annotated[
        str | None, Option(help="Picture decoder, where the checkpoint has none: file, folder or hub id.")
    ] = None,
    tokenizer: Annotated[str | None, Option(help="Tokenizer, where the checkpoint has none: folder or hub id.")] = None,
    allow_pickle: Annotated[bool, Option("--allow-pickle", help="Read pickled weights too, safely.")] = False,
) -> None:
    """Compare decoding settings: steps, seconds, quality, and whether the law is that of ar. Stopped, it goes on."""
    from dataclasses import asdict

    from ..backbones.checkpoint import locate
    from ..decoder import Sampling
    from ..evaluation.results import Results, digest, read
    from ..evaluation.run import run
    from ..evaluation.settings import STANDARD, chosen
    from ..evaluation.summary import summarise
    from ..evaluation.table import render
    from ..pipeline import settle

    if table:
        echo(render(summarise(read(out))), nl=False)
        return
    extras = {"vq": vq, "tokenizer": tokenizer, "allow_pickle": allow_pickle or None}
    folders = {"tuned": locate(model, allow_pickle=allow_pickle)} | ({"baseline": locate(baseline)} if baseline else {})
    task, shared = _task(folders["tuned"], prompts, kinds, 16 if quick else captions)
    pipes = {
        name: load_model(str(folder), device=device, dtype=dtype, pictures=False, **extras)
        for name, folder in folders.items()
    }
    backbone = pipes["tuned"].backbone
    grid = backbone.grid(parse_size(size) if size else None)
    settings = chosen(policies or STANDARD, backbone, grid)
    numbers: dict[str, Any] = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    values = settle(backbone, next(iter(settings.values())).policy, grid, numbers | {"window": None})
    sampling = Sampling(values["guidance"], values["temperature"], values["top_k"], values["top_p"])
    options = {"model": backbone.name, "captions": task.count, "sampling": asdict(sampling)} | shared
    options |= {f"weights of {name}": digest(folder) for name, folder in folders.items()}
    options |= {"size": size} if size else {}
    results = Results(out, options)
    with thread_limit(pipes["tuned"]):
        run(
            {name: pipe.backbone for name, pipe in pipes.items()}, settings, task, 1 if quick else seeds, batch,
            sampling, grid, results, timed=time, tested=test,
        )  # fmt: skip
    results.held["summary"] = summarise(results.held)
    results.write()
    echo(render(results.held["summary"]) + f"\n{out}")


def _task(folder: Path, prompts: Path | None, kinds: str, captions: int) -> tuple[Task, dict[str, Any]]:
    """What is drawn, and what the file of results must remember of it.

    Raises: ValueError without prompts for a model of something else than heroes.
    """
    from ..backbones.card import data_set_of
    from ..evaluation.task import heroes_task, prompts_task
    from ..prompts import read_prompts

    if prompts is not None:
        texts = [each.prompt for each in read_prompts(prompts)]
        return prompts_task(texts), {"prompts": hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]}
    if not folder.is_dir() or data_set_of(folder) is None:
        raise ValueError(
            f"eval: {folder.name} is no model of heroes, whose captions come with the package: --prompts FILE"
        )
    return heroes_task([kind.strip() for kind in kinds.split(",")], captions), {}
