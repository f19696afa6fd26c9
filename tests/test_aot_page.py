"""The generated parts of docs/kernels.md: a table of compiled kernels, one of launches, and their places in a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import aot, aot_page

OPTIONS: dict[str, int | str] = {"BLOCK": 64, "num_warps": 4, "enable_fp_fusion": 0}
ROW = aot.Compiled("commit", "c", "some_kernel", 90, "triton 3.9.0", OPTIONS, 40, 0, 0, 0, 12, [])


def test_table() -> None:
    other = aot.Compiled(**(vars(ROW) | {"arch": 80, "blocks": 1, "complaints": ["8 bytes of spills"]}))
    cuda = aot.Compiled(**(vars(ROW) | {"kernel": "z", "compiler": "nvcc 13.0", "options": {"threads": 1024}}))
    lines = aot_page.table({"commit": "12"}, [ROW, other, cuda]).splitlines()
    assert lines[-6] == "| kernel | case | configuration | compiler | sm_80 | sm_90 |"
    first = "| some_kernel | c | BLOCK=64 num_warps=4 | triton 3.9.0 "
    assert lines[-4] == first + "| 40 / 0 / 1 (6 %) **8 bytes of spills** | 40 / 0 / 12 (75 %) |"
    assert lines[-3] == "| z | c | threads=1024 | nvcc 13.0 |  | 40 / 0 / 12 (600 %) |"
    assert lines[-1] == '<!-- sources {"commit": "12"} -->'


def test_launches_names_every_entry() -> None:
    lines = aot_page.launches().splitlines()
    from sjd2_kernels.triton import nearest_token, process_logits

    for operator, configs in (("nearest_token", nearest_token.CONFIGS), ("process_logits", process_logits.CONFIGS)):
        assert all(any(f"| {operator} | {c.case}" in line and c.reason in line for line in lines) for c in configs)
    assert f"| nearest_token | pick kernel | all | BB=256 | 1 | 1 | {nearest_token.PICK.reason} |" in lines


def test_insert(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x begins -->\nold\n<!-- x ends -->\nb\n")
    for text in ("new\n", "newer"):
        aot_page.insert(page, "x", text)
        assert page.read_text() == f"a\n<!-- x begins -->\n{text.strip()}\n<!-- x ends -->\nb\n"
    with pytest.raises(SystemExit, match="must have one line <!-- y begins --> and one <!-- y ends -->"):
        aot_page.insert(page, "y", "new")
