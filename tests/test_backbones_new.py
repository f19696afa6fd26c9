"""docs/new_backbone.md: its code runs from top to bottom, and the adapter it shows keeps what it promises."""

from __future__ import annotations

import re
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from sjd2.pipeline import Pipeline

PAGE = Path(__file__).resolve().parent.parent / "docs" / "new_backbone.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's code defines."""
    names: dict[str, Any] = {"__name__": "new_backbone"}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_the_pages_code_runs_and_its_claims_hold(page: dict[str, Any]) -> None:
    assert page["hidden"].shape == (2, 6, 64)


def test_the_adapter_is_about_a_screen(page: dict[str, Any]) -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL) if "class ClassR" in c)
    assert len(code.splitlines()) <= 60


def test_guidance_prompts_sizes_and_errors(page: dict[str, Any]) -> None:
    backbone = page["backbone"]
    assert backbone.encode(["cat"], guidance=False)[0].uncond is None
    assert backbone.encode(["cat"], negative_prompt="dog")[0].uncond == (65,)
    assert backbone.grid((4, 12)).forced.tolist() == [-1] * 12
    with pytest.raises(ValueError, match="unknown classes cow; known are cat, dog, newt"):
        backbone.encode(["cat", "cow"])
    with pytest.raises(ValueError, match="multiples of 2 pixels, got 3x4"):
        backbone.grid((3, 4))
    with pytest.raises(ValueError, match="has 256 tokens, the model knows 128 positions"):
        backbone.grid((32, 32))


def test_it_decodes_as_the_library_would(page: dict[str, Any]) -> None:
    """Greedy, in float64, against the library's forward over the whole picture; and match against ar."""
    backbone = copy(page["backbone"])
    backbone.text = backbone.text.double()
    backbone.lm_head = backbone.lm_head.double()
    for made_once in ("table", "_mean_std", "cosine"):
        vars(backbone).pop(made_once, None)
    pipe = Pipeline(backbone)
    outs = [
        pipe.generate(["cat", "newt"], policy, window=12, guidance=2.0, temperature=0.0, draw=False).tokens
        for policy in ("ar", "coupled", "sjd2-exact")
    ]
    assert all(torch.equal(out, outs[0]) for out in outs)
    for b, prompt in enumerate(backbone.encode(["cat", "newt"])):
        rows = []
        for row in (prompt.cond, prompt.uncond):
            with torch.no_grad():
                hidden = backbone.text(input_ids=torch.cat([torch.tensor(row), outs[0][b]])[None], use_cache=False)
                rows.append(backbone.lm_head(hidden.last_hidden_state)[0, :-1, : backbone.V])
        assert torch.equal((rows[1] + 2.0 * (rows[0] - rows[1])).argmax(-1), outs[0][b])
    drawn = [
        pipe.generate(["cat", "newt"], policy, window=12, guidance=2.0, seed=5, draw=False).tokens
        for policy in ("ar", "match")
    ]
    assert torch.equal(*drawn)
    backbone.text.float()
    backbone.lm_head.float()


def test_noise_has_the_scale_of_the_codes_alone(page: dict[str, Any]) -> None:
    backbone = page["backbone"]
    codes = backbone.embedding.detach()[: backbone.V]
    torch.testing.assert_close(backbone.mean, codes.mean(0))
    torch.testing.assert_close(backbone.std, codes.std(0, correction=0))
    table, bias = backbone.cosine
    assert table.shape == (64, 64)
    assert bias.shape == (64,)
    unit = torch.nn.functional.normalize((codes - backbone.mean) / backbone.std, dim=-1)
    torch.testing.assert_close(codes @ table.T + bias, (codes - backbone.mean) / backbone.std @ unit.T)
