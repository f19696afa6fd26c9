"""`sjd2 generate`: a prompt, or a file of them, to PNG files that say how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, BadParameter, Exit, Option, echo

from ..policies import get_policy
from ..prompts import parse_size
from ._many import many
from ._models import load_model, thread_limit

if TYPE_CHECKING:
    from ..pipeline import Output, Pipeline


def generate(
    prompt: Annotated[str | None, Argument(help="What to draw, in words; or see --prompts.")] = None,
    model: Annotated[
        str, Option(help="heroes-lumina or heroes-emu3, which come with the package, or a folder or hub id.")
    ] = "heroes-lumina",
    out: Annotated[
        Path | None, Option("--out", "-o", help="PNG file (picture.png), or with --prompts a folder (pictures).")
    ] = None,
    policy: Annotated[str, Option(help="How tokens are drafted and verified, see docs/policies.md.")] = "sjd2",
    window: Annotated[int | None, Option(help="L, tokens that are drafted at once.", min=1)] = None,
    denoise_steps: Annotated[int | None, Option(help="T, steps from noise to a token.", min=1)] = None,
    guidance: Annotated[float | None, Option(help="Scale of classifier-free guidance; 1 is off.")] = None,
    temperature: Annotated[float, Option(help="Of the sampling; 0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Sample among the k likeliest tokens; 0 is off.")] = None,
    top_p: Annotated[float, Option(help="Sample among the likeliest tokens of this probability; 1 is off.")] = 1.0,
    negative_prompt: Annotated[str | None, Option(help="What guidance leads away from.")] = None,
    size: Annotated[str | None, Option(help="Pixels, such as 768x512.", metavar="WxH")] = None,
    seed: Annotated[int, Option(help="Of the first picture; the others count on from it.")] = 0,
    count: Annotated[int, Option(help="Pictures of a prompt, in one batch; with --prompts of each.", min=1)] = 1,
    prompts: Annotated[
        Path | None, Option(help="File: a prompt a line, or *.jsonl; what --out lacks of them is drawn.")
    ] = None,
    batch: Annotated[int | None, Option(help="With --prompts: pictures at a time; left out, 1.", min=1)] = None,
    shard: Annotated[str | None, Option(help="With --prompts: draw part i of n.", metavar="i/n")] = None,
    workers: Annotated[
        int | None, Option(help="With --prompts: Ray actors that share the work, each with a GPU.", min=1)
    ] = None,
    scale: Annotated[
        int | None, Option(help="Enlarge by this; left out, small pictures get 512 pixels.", min=1)
    ] = None,
    dtype: Annotated[str | None, Option(help="float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:N; left out, the GPU where there is one.")] = None,
    graph: Annotated[bool, Option("--graph", help="Replay the decoding step as a CUDA graph.")] = False,
    vq: Annotated[
        str | None, Option(help="Picture decoder, where the checkpoint has none: file, folder or hub id.")
    ] = None,
    tokenizer: Annotated[str | None, Option(help="Tokenizer, where the checkpoint has none: folder or hub id.")] = None,
    allow_pickle: Annotated[bool, Option("--allow-pickle", help="Read pickled weights too, safely.")] = False,
) -> None:
    """Draw a prompt, or a file of prompts. Numbers that are left out are those of the model's card for the policy."""
    get_policy(policy)  # a wrong name shows before the model is loaded
    settings: dict[str, Any] = {
        "policy": policy, "window": window, "denoise_steps": denoise_steps, "guidance": guidance,
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "negative_prompt": negative_prompt,
        "size": parse_size(size) if size else None,
    }  # fmt: skip
    files: dict[str, Any] = {"vq": vq, "tokenizer": tokenizer}
    load = partial(load_model, model, device=device, dtype=dtype, **files, allow_pickle=allow_pickle or None)
    text = {"model": model, **settings, "size": size}
    drawing = {**settings, "graph": graph}
    if prompts is not None and prompt is None:
        text |= {"scale": scale, "dtype": dtype, **files, "seed": seed, "count": count}
        many(prompts, out or Path("pictures"), load, drawing, text, batch=batch or 1, shard=shard, workers=workers)
    elif prompt is None or prompts is not None:
        raise BadParameter("give either a prompt, in quotes, or a file of them by --prompts")
    elif batch or shard or workers:
        raise BadParameter("--batch, --shard and --workers are for a file of prompts (--prompts)")
    else:
        one(prompt, out or Path("picture.png"), load, {**drawing, "num_images_per_prompt": count}, text, seed, scale)


def one(
    prompt: str,
    out: Path,
    load: partial[Pipeline],
    drawing: Mapping[str, Any],
    text: Mapping[str, Any],
    seed: int,
    scale: int | None,
) -> None:
    """Draw one prompt, in one batch."""
    from ..png import check_png, made_from

    check_png(out)
    pipe = load()
    with thread_limit(pipe):
        drawn = pipe.generate(prompt, **drawing, seed=seed)
    write(drawn, out, seed, scale, made_from({"prompt": prompt, **text}))


def write(drawn: Output, out: Path, seed: int, scale: int | None, text: Mapping[str, Any]) -> None:
    """Save every picture with what it was made from, and print a line for it.

    Raises: ValueError where the picture decoder failed, Exit with code 1 where the logits did: those pictures are
        written, and not to be trusted.
    """
    from ..png import save_enlarged

    if not drawn.images:
        raise ValueError("there are no pictures, for the reason given above")
    N, several = drawn.tokens.shape[1], len(drawn.images) > 1
    for b, (picture, steps) in enumerate(zip(drawn.images, drawn.steps.tolist(), strict=True)):
        path = out.with_stem(f"{out.stem}-{b + 1}") if several else out
        save_enlarged(picture, path, scale, {**text, "seed": seed + b, "steps": steps, "tokens": N})
        seconds = "" if several else f", {drawn.seconds:.1f} s"
        echo(f"{path}: {steps} steps, step compression {N / steps:.1f}{seconds}")
    if several:
        echo(f"{len(drawn.images)} pictures in {drawn.seconds:.1f} s")
    if any(status != "ok" for status in drawn.status):
        raise Exit(1)
