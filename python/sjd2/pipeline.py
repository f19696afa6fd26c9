"""What a user calls: `load` a model, `generate` pictures from prompts.

None for a number means the model card's value for that policy; the card comes with the checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .backbones.base import Backbone, NoPictureDecoder, Prompt
from .decoder import Decoder, Sampling, check_requests
from .grid import Grid
from .policies import Policy, get_policy

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

Callback = Callable[[int, list[int]], None]
# where neither the user nor the model card says anything
FALLBACK: dict[str, Any] = {
    "window": 32, "denoise_steps": 25, "spacing": "karras",
    "guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
}  # fmt: skip
STATUS = {1: "NaN in the logits", 2: "+inf in the logits", 4: "no token left to choose"}


@dataclass
class Output:
    """What `Pipeline.generate` returns.

    Attributes:
        images: one Pillow picture per image; empty where the model has no picture decoder.
        tokens: [B, N] int64, the model's own ids, forced ones included.
        steps: [B] int64, forward passes after the prefill until the image was done.
        accept_lengths: per image, tokens committed in each of its steps.
        status: per image "ok", or what went wrong in its logits.
        seconds: prefill and decoding; the tables that a model makes at its first use are not in it.
        picture_seconds: codes to pictures.
    """

    images: list[Image]
    tokens: Tensor
    steps: Tensor
    accept_lengths: list[list[int]]
    status: list[str]
    seconds: float
    picture_seconds: float


class Pipeline:
    """A model and the decoder.

    Args:
        backbone: the model; any `Backbone`.

    Examples:
        >>> from sjd2.backbones.tiny import tiny_lumina
        >>> out = Pipeline(tiny_lumina()).generate("a dwarf", policy="coupled", window=8, seed=7)
        >>> out.status, out.images[0].size
        (['ok'], (12, 8))
    """

    def __init__(self, backbone: Backbone):
        self.backbone = backbone

    def generate(
        self,
        prompts: str | Sequence[str],
        policy: str | Policy = "sjd2",
        window: int | None = None,
        denoise_steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = 1.0,
        top_k: int | None = None,
        top_p: float | None = 1.0,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        num_images_per_prompt: int = 1,
        seed: int | Sequence[int] = 0,
        callback: Callback | None = None,
        *,
        graph: bool = False,
        draw: bool = True,
    ) -> Output:
        """Draw pictures.

        None for a number means the model card's value for the policy.

        Args:
            prompts: one text, or several; all are decoded in one batch, each at its own pace.
            policy: a name of `POLICIES`, as the model card has it, or a `Policy` (`get_policy` makes variants).
            window: L, slots per image; at most the picture's tokens.
            denoise_steps: T, for the policies with noise.
            guidance: scale of classifier-free guidance; 1 is off and halves the work.
            temperature: of the sampling; 0 takes the largest logit.
            top_k: of the sampling; 0 is off.
            top_p: of the sampling; 1 is off.
            negative_prompt: text of the unconditional row.
            size: (width, height) in pixels.
            num_images_per_prompt: pictures of each prompt, in a row.
            seed: s means s, s+1, ... per image; a list is taken as it is. A seed gives its picture in any batch.
            callback: called with (steps, committed tokens per image) after each step, one step late.
            graph: replay the step as a CUDA graph.
            draw: False leaves out the pictures.

        Returns:
            An `Output`: pictures, tokens, steps and what went wrong, image by image.

        Raises:
            ValueError: for arguments that cannot be decoded.
            MemoryError: where it would not fit, before anything large is allocated; the message says what to lower.

        Determinism: the tokens of an image depend on its seed, not on its neighbours, as far as the model's own
        arithmetic does not (docs/decoder.md).
        """
        policy = of_card(self.backbone, policy)
        prompts = [prompts] if isinstance(prompts, str) else prompts
        texts = [text for text in prompts for _ in range(num_images_per_prompt)]
        seeds = list(range(seed, seed + len(texts))) if isinstance(seed, int) else list(seed)
        if not texts or len(seeds) != len(texts):
            raise ValueError(
                f"generate: prompts and seed must name the same number of images, at least one, "
                f"got {len(texts)} images and {len(seeds)} seeds"
            )
        given = {
            "window": window, "denoise_steps": denoise_steps, "guidance": guidance, "temperature": temperature,
            "top_k": top_k, "top_p": top_p,
        }  # fmt: skip
        grid, rows, values, sampling = self._ready(policy, texts, given, negative_prompt, size)
        decoder = Decoder(
            self.backbone, policy, rows, [grid] * len(texts), seeds, L=values["window"],
            denoise_steps=values["denoise_steps"], spacing=values["spacing"], sampling=sampling,
        )  # fmt: skip
        start = self._now()
        with Progress(len(texts) * grid.n_tokens, callback) as progress:
            decoder.run(graph=graph, progress=progress)
        return self._output(decoder, grid, self._now() - start, draw)

    def check(
        self,
        prompt: str,
        policy: str | Policy = "sjd2",
        *,
        negative_prompt: str | None = None,
        size: tuple[int, int] | None = None,
        **numbers: float | None,
    ) -> None:
        """Refuse a prompt that `generate` would refuse, without decoding.

        Args:
            prompt: one text.
            policy: as in `generate`.
            negative_prompt: as in `generate`.
            size: as in `generate`.
            numbers: window, denoise_steps, guidance, temperature, top_k, top_p, as in `generate`.

        Raises:
            ValueError: with the message of `generate`.

        Examples:
            >>> from sjd2.backbones.tiny import tiny_lumina
            >>> Pipeline(tiny_lumina()).check("a dwarf", window=8)
        """
        policy = of_card(self.backbone, policy)
        grid, rows, values, sampling = self._ready(policy, [prompt], numbers, negative_prompt, size)
        check_requests(
            self.backbone, rows, [grid], [0], policy.window or values["window"], 1 + (sampling.guidance != 1)
        )

    def _ready(
        self,
        policy: Policy,
        texts: Sequence[str],
        given: Mapping[str, float | None],
        negative_prompt: str | None,
        size: tuple[int, int] | None,
    ) -> tuple[Grid, list[Prompt], dict[str, Any], Sampling]:
        """Grid, prompt rows and numbers of a call."""
        grid = self.backbone.grid(size)
        values = settle(self.backbone, policy, grid, given)
        sampling = Sampling(values["guidance"], values["temperature"], values["top_k"], values["top_p"])
        if negative_prompt is not None and sampling.guidance == 1:
            raise ValueError("generate: negative_prompt is of no use with guidance 1; give another guidance")
        rows = self.backbone.encode(texts, negative_prompt=negative_prompt, size=size, guidance=sampling.guidance != 1)
        return grid, rows, values, sampling

    def _now(self) -> float:
        """The time when the device has done all it was given."""
        if self.backbone.device.type == "cuda":
            torch.cuda.synchronize(self.backbone.device)
        return time.perf_counter()

    def _output(self, decoder: Decoder, grid: Grid, seconds: float, draw: bool) -> Output:
        w = decoder.window
        tokens, steps = w.out.cpu(), w.epoch.cpu()
        lengths = [row[:n] for row, n in zip(w.accepted.tolist(), steps.tolist(), strict=True)]
        status = [", ".join(text for bit, text in STATUS.items() if s & bit) or "ok" for s in w.status.tolist()]
        for b, text in enumerate(status):
            if text != "ok":
                logger.warning("image %d: %s; its picture is not to be trusted", b, text)
        start, images = self._now(), []
        if draw:
            try:
                images = self.backbone.images(self.backbone.codes(w.out, grid))
            except (NoPictureDecoder, torch.OutOfMemoryError) as error:  # the tokens are worth having
                logger.warning("no pictures: %s", error)
        return Output(images, tokens, steps, lengths, status, seconds, self._now() - start)


def of_card(backbone: Backbone, policy: str | Policy) -> Policy:
    """A policy by its name, with the options of the model card; a `Policy` as it is.

    Raises: ValueError for an unknown name.
    """
    return policy if isinstance(policy, Policy) else get_policy(policy, **backbone.defaults.options.get(policy, {}))


def settle(backbone: Backbone, policy: Policy, grid: Grid, given: Mapping[str, float | None]) -> dict[str, Any]:
    """The numbers of a run: the user's, else the model card's for this policy, else `FALLBACK`.

    Raises:
        ValueError: for a number out of range.
    """
    card = backbone.defaults.of(policy.name)
    values = {**FALLBACK, **card, **{name: value for name, value in given.items() if value is not None}}
    N, L = grid.n_tokens, given.get("window")
    if L is not None and not 1 <= L <= N:
        raise ValueError(f"generate: window must be between 1 and the picture's {N} tokens, got {L}")
    values["window"] = policy.window or min(values["window"], N)
    for name in ("guidance", "temperature", "top_p"):
        if not 0 <= values[name] < float("inf"):
            raise ValueError(f"generate: {name} must be a number >= 0, got {values[name]}")
    return values


class Progress:
    """A bar over committed tokens, quiet where the output is not a terminal; passes every step on to a callback.

    Args:
        total: tokens of all images.
        callback: called with (steps, committed tokens per image).
    """

    def __init__(self, total: int, callback: Callback | None = None):
        from tqdm import tqdm  # type: ignore[import-untyped]

        self.bar, self.callback, self.shown = tqdm(total=total, unit="token", disable=None), callback, 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def __call__(self, steps: int, committed: list[int]) -> None:
        """Show the new total."""
        self.bar.update(sum(committed) - self.shown)
        self.shown = sum(committed)
        if self.callback is not None:
            self.callback(steps, committed)


def load(
    source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, **options: Any
) -> Pipeline:
    """Load a checkpoint: an embedded model ("heroes-lumina", "heroes-emu3"), a folder or a hub id.

    Args:
        source: folder, name of an embedded model, or hub id ("owner/name").
        device: of the model.
        dtype: of the language model; None is bfloat16, and float32 for the embedded models.
        options: more arguments of `sjd2.backbones.load_backbone`: vq, tokenizer, allow_pickle, ...

    Returns:
        A `Pipeline`.

    Raises:
        FileNotFoundError: names the file that is missing and where it comes from.
        ValueError: for a model that is not supported.

    Examples:
        >>> load("heroes-lumina").generate("a dwarf in a blue robe", policy="coupled", window=64, seed=1).status
        ['ok']
    """
    from .backbones import load_backbone

    return Pipeline(load_backbone(source, device=device, dtype=dtype, **options))
