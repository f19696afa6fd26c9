"""`sjd2 demo`: one prompt, drawn by every embedded model token by token and by SJD2, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, echo

from ._models import load_model, thread_limit

if TYPE_CHECKING:
    from PIL.Image import Image

# a full caption ("the ..."): what it does not name is not there
PROMPT = (
    "the bearded dwarf in a blue robe with a golden crown, holding a spear and a round shield, on a green background"
)
POLICIES = ("ar", "sjd2")
EMBEDDED = ("heroes-lumina", "heroes-emu3")


@dataclass(frozen=True)
class Run:
    """One picture and what it cost: N tokens in some steps and seconds, without loading and picture decoding."""

    model: str
    policy: str
    picture: Image
    N: int
    steps: int
    seconds: float


def demo(
    prompt: Annotated[str, Argument(help="What to draw, in words.")] = PROMPT,
    out: Annotated[Path, Option("--out", "-o", help="PNG file of the pictures side by side.")] = Path("out/demo.png"),
    model: Annotated[
        list[str] | None, Option(help="A model to show; may be repeated. Left out, the embedded ones.")
    ] = None,
    window: Annotated[int | None, Option(help="L, tokens that sjd2 drafts at once.", min=1)] = None,
    seed: Annotated[int, Option(help="The same for every picture.")] = 0,
    device: Annotated[str | None, Option(help="cpu, cuda or cuda:N; left out, the GPU where there is one.")] = None,
) -> None:
    """Draw one prompt with each embedded model, token by token (ar) and by SJD2, side by side."""
    from ..png import check_png, save_png
    from ..strip import Panel, draw_strip

    check_png(out)
    runs = [run for name in model or EMBEDDED for run in compare(name, prompt, window, seed, device)]
    panels = [
        Panel(run.picture, (f"{run.model}, {run.policy}", f"{run.steps} steps, {run.seconds:.2f} s")) for run in runs
    ]
    save_png(draw_strip(panels, prompt), out, {"prompt": prompt, "seed": seed})
    echo("\n".join([table(runs), *remarks(runs), str(out)]))


def compare(model: str, prompt: str, window: int | None, seed: int, device: str | None) -> list[Run]:
    """Draw the prompt with every policy of `POLICIES` and the same seed."""
    pipe, runs = load_model(model, device=device), []
    with thread_limit(pipe):
        # once untimed: tables that a model makes at first use would else be on the first policy's account
        pipe.generate(prompt, "sjd2", window, seed=seed, draw=False)
        for policy in POLICIES:
            drawn = pipe.generate(prompt, policy, None if policy == "ar" else window, seed=seed)
            N, steps = drawn.tokens.shape[1], int(drawn.steps[0])
            runs.append(Run(Path(model).name, policy, drawn.images[0], N, steps, drawn.seconds))
    return runs


def table(runs: Sequence[Run]) -> str:
    """The runs as lines of text in columns."""
    head = ("model", "policy", "steps", "step compression", "seconds")
    rows = [(r.model, r.policy, str(r.steps), f"{r.N / r.steps:.1f}", f"{r.seconds:.2f}") for r in runs]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(words: Sequence[str]) -> str:
        names = [word.ljust(width) for word, width in zip(words[:2], widths, strict=False)]
        numbers = [word.rjust(width) for word, width in zip(words[2:], widths[2:], strict=True)]
        return "  ".join([*names, *numbers])

    return "\n".join(line(row) for row in (head, *rows))


def remarks(runs: Sequence[Run]) -> list[str]:
    """A line that says so where fewer steps took more seconds."""
    slower = [
        fast.model
        for plain, fast in zip(runs[:: len(POLICIES)], runs[1 :: len(POLICIES)], strict=True)
        if fast.seconds > plain.seconds
    ]
    if not slower:
        return []
    return [
        f"Fewer steps, but more seconds here ({', '.join(slower)}): a CPU pays for every row of the window, "
        "which a GPU computes at the price of one; try a smaller --window."
    ]
