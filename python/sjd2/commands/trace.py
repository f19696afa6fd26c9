"""`sjd2 trace`: what a decoding did in each step, as charts, a film strip, an animation, and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, echo

from ..prompts import parse_size
from ._models import load_model, thread_limit
from .demo import PROMPT

CLOCKS = ("seconds", "steps")


def trace(
    prompt: Annotated[str, Argument(help="What to draw, in words.")] = PROMPT,
    model: Annotated[str, Option(help="An embedded model, a folder or a hub id.")] = "heroes-lumina",
    out: Annotated[Path, Option("--out", "-o", help="Folder of the files.")] = Path("out/trace"),
    policy: Annotated[str, Option(help="What is looked at, see docs/policies.md.")] = "sjd2",
    against: Annotated[str, Option(help="The policy beside it in the animation.")] = "ar",
    clock: Annotated[str, Option(help="What equal time means in the animation: seconds, or steps.")] = "seconds",
    window: Annotated[int | None, Option(help="L, tokens that are drafted at once.", min=1)] = None,
    denoise_steps: Annotated[int | None, Option(help="T, steps from noise to a token.", min=1)] = None,
    guidance: Annotated[float | None, Option(help="Scale of classifier-free guidance; 1 is off.")] = None,
    temperature: Annotated[float, Option(help="Of the sampling; 0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Sample among the k likeliest tokens; 0 is off.")] = None,
    top_p: Annotated[float, Option(help="Sample among the likeliest tokens of this probability; 1 is off.")] = 1.0,
    size: Annotated[str | None, Option(help="Pixels, such as 768x512.", metavar="WxH")] = None,
    seed: Annotated[int, Option(help="The same for both policies.")] = 0,
    dtype: Annotated[str | None, Option(help="float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:N; left out, the GPU where there is one.")] = None,
    vq: Annotated[
        str | None, Option(help="Picture decoder, where the checkpoint has none: file, folder or hub id.")
    ] = None,
    tokenizer: Annotated[str | None, Option(help="Tokenizer, where the checkpoint has none: folder or hub id.")] = None,
    allow_pickle: Annotated[bool, Option("--allow-pickle", help="Read pickled weights too, safely.")] = False,
) -> None:
    """Decode a prompt by two policies and show what each step did."""
    from dataclasses import asdict

    from ..decoder import Sampling
    from ..pipeline import of_card, settle
    from ..policies import get_policy
    from ..provenance import commit, machine
    from ..trace.files import write
    from ..trace.record import record

    if clock not in CLOCKS:
        raise ValueError(f"clock must be one of {', '.join(CLOCKS)}, got {clock!r}")
    names = list(dict.fromkeys((policy, against)))
    for name in names:
        get_policy(name)  # a wrong name shows before the model is loaded
    extras = {"vq": vq, "tokenizer": tokenizer, "allow_pickle": allow_pickle or None}
    pipe = load_model(model, device=device, dtype=dtype, pictures=False, **extras)
    backbone, pixels = pipe.backbone, parse_size(size) if size else None
    chosen = [of_card(backbone, name) for name in names]
    grid = backbone.grid(pixels)
    numbers: dict[str, Any] = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    traces, seconds_before = {}, {}
    with thread_limit(pipe):
        # once unrecorded: tables that a model makes at first use would else be on the first policy's account
        pipe.generate(prompt, chosen[0], window, denoise_steps, **numbers, size=pixels, seed=seed, draw=False)
        for each in chosen:
            own = {"window": None if each.window else window, "denoise_steps": denoise_steps}
            values = settle(backbone, each, grid, numbers | own)
            sampling = Sampling(values["guidance"], values["temperature"], values["top_k"], values["top_p"])
            made = record(backbone, each, prompt, grid, sampling, seed, values)
            traces[each.name], seconds_before[each.name] = made, made.clock("seconds")[-1]
        about = {
            "prompt": prompt, "model": backbone.name, "seed": seed, "sampling": asdict(sampling), "clock": clock,
            "machine": machine(backbone.device), "commit": commit(),
        }  # fmt: skip
        files = write(backbone, traces, grid, about, clock, out)
    for name, made in traces.items():
        n = len(made.seconds)
        echo(f"{name}: {n} steps, step compression {grid.n_tokens / n:.1f}, {seconds_before[name]:.2f} s")
    echo("\n".join(map(str, files)))
