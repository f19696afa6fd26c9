"""`sjd2 generate`: a prompt to PNG files that say how they were made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option, echo

from ..policies import get_policy
from ._models import load_model, thread_limit

if TYPE_CHECKING:
    from ..pipeline import Output

LEAST_SIDE = 512  # pixels that the longer side of a small picture is enlarged to


def generate(
    prompt: Annotated[str, Argument(help="What to draw, in words.")],
    model: Annotated[
        str, Option(help="heroes-lumina or heroes-emu3, which come with the package, or a folder or hub id.")
    ] = "heroes-lumina",
    out: Annotated[
        Path, Option("--out", "-o", help="PNG file; with --count above 1 each picture's number goes before .png.")
    ] = Path("picture.png"),
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
    count: Annotated[int, Option(help="Pictures to draw, in one batch.", min=1)] = 1,
    scale: Annotated[
        int | None, Option(help=f"Enlarge by this; left out, small pictures get {LEAST_SIDE} pixels.", min=1)
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
    """Draw a prompt. Numbers that are left out are those of the model's card for the policy."""
    from ..png import check_png

    check_png(out)
    get_policy(policy)  # a wrong name shows before the model is loaded
    settings: dict[str, Any] = {
        "policy": policy, "window": window, "denoise_steps": denoise_steps, "guidance": guidance,
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "negative_prompt": negative_prompt,
        "size": parse_size(size),
    }  # fmt: skip
    extras = {"vq": vq, "tokenizer": tokenizer, "allow_pickle": allow_pickle or None}
    pipe = load_model(model, device=device, dtype=dtype, **extras)
    with thread_limit(pipe):
        drawn = pipe.generate(prompt, **settings, num_images_per_prompt=count, seed=seed, graph=graph)
    made_from = {"prompt": prompt, "model": model, **settings, "size": size}
    write(drawn, out, seed, scale, made_from)


def write(drawn: Output, out: Path, seed: int, scale: int | None, made_from: Mapping[str, Any]) -> None:
    """Save every picture with what it was made from, and print a line for it.

    Raises: ValueError where the picture decoder failed, Exit with code 1 where the logits did: those pictures are
        written, and not to be trusted.
    """
    from sjd2_kernels import __version__

    from ..png import enlarge, save_png, scale_to

    if not drawn.images:
        raise ValueError("there are no pictures, for the reason given above")
    N, several = drawn.tokens.shape[1], len(drawn.images) > 1
    text = {"Software": f"sjd2-kernels {__version__}", **{k: v for k, v in made_from.items() if v is not None}}
    for b, (picture, steps) in enumerate(zip(drawn.images, drawn.steps.tolist(), strict=True)):
        path = out.with_stem(f"{out.stem}-{b + 1}") if several else out
        scale_used = scale or scale_to(picture.size, LEAST_SIDE)
        chunks = {**text, "seed": seed + b, "steps": steps, "tokens": N, "scale": scale_used}
        save_png(enlarge(picture, scale_used), path, chunks)
        seconds = "" if several else f", {drawn.seconds:.1f} s"
        echo(f"{path}: {steps} steps, step compression {N / steps:.1f}{seconds}")
    if several:
        echo(f"{len(drawn.images)} pictures in {drawn.seconds:.1f} s")
    if any(status != "ok" for status in drawn.status):
        raise Exit(1)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(width, height) of a text such as "768x512".

    Raises: ValueError for anything else.

    Example:
        >>> parse_size("768x512")
        (768, 512)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not match:
        raise ValueError(f"size must be WIDTHxHEIGHT in pixels, such as 768x512, got {text!r}")
    return int(match[1]), int(match[2])
