"""What `make docs` does beyond MkDocs: formulas, links to source files, nothing from the network."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from _examples import PAGES, ROOT


def hook(name: str) -> ModuleType:
    """A module of docs/hooks, as MkDocs loads it."""
    spec = importlib.util.spec_from_file_location(f"docs_hook_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mathml, offline, sources = (hook(name) for name in ("mathml", "offline", "sources"))


def page(uri: str) -> Any:
    return SimpleNamespace(file=SimpleNamespace(src_uri=uri))


def test_every_hook_is_in_use() -> None:
    used = re.findall(r"docs/hooks/(\w+)\.py", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(used) == sorted(path.stem for path in (ROOT / "docs" / "hooks").glob("*.py"))


# formulas


def test_formulas_become_mathml() -> None:
    html = r'<p>so <span class="arithmatex">\(a &lt; b\)</span></p><div class="arithmatex">\[\frac{a}{2}\]</div>'
    got = mathml.on_page_content(html)
    assert got.count("<math ") == 2
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>a</mi><mo>&#x0003C;</mo>' in got
    assert 'display="block"><mrow><mfrac><mrow><mi>a</mi></mrow><mrow><mn>2</mn></mrow></mfrac>' in got
    assert mathml.on_page_content("<p>costs $5</p>") == "<p>costs $5</p>"


def test_a_command_that_would_be_shown_as_text_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\\nosuch is not known"):
        mathml.mathml(r"a \nosuch b")
    assert "&#x0223C;" in mathml.mathml(r"x \sim P")  # not a raised tilde


# links to source files


def test_links_out_of_the_documents_lead_to_copies() -> None:
    text = "[a](../python/sjd2/stop.py) [b](policies.md) [c](../bench/x.json) [d](../sjd2_kernels/rng.py#L3)"
    assert sources.outside(text, "rng.md") == {"python/sjd2/stop.py", "bench/x.json", "sjd2_kernels/rng.py"}
    assert sources.on_page_markdown(text, page("rng.md")) == (
        "[a](source/python/sjd2/stop.py.md) [b](policies.md) [c](source/bench/x.json) "
        "[d](source/sjd2_kernels/rng.py.md#L3)"
    )


def test_links_of_a_page_in_a_folder() -> None:
    text = "[a](../policies.md) [b](../../python/sjd2/stop.py)"
    assert sources.outside(text, "api/sjd2.md") == {"python/sjd2/stop.py"}
    assert sources.on_page_markdown(text, page("api/sjd2.md")) == (
        "[a](../policies.md) [b](../source/python/sjd2/stop.py.md)"
    )


def test_linked_files_are_added_and_missing_ones_are_not() -> None:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files

    config = MkDocsConfig()
    config.load_dict({"docs_dir": str(ROOT / "docs"), "site_dir": str(ROOT / "build" / "site"), "site_name": "s"})
    text = "[a](../sjd2_kernels/layout.py) [b](../CHANGELOG.md) [c](../gone.py) [d](../setup.cfg) [e](../LICENSE)"
    config.validate()
    config.plugins._current_plugin = "docs/hooks/sources.py"  # as when MkDocs calls a hook
    files = Files([File.generated(config, "rng.md", content=text)])
    found = {file.src_uri: file for file in sources.on_files(files, config)}
    assert set(found) == {"rng.md", "source/sjd2_kernels/layout.py.md", "source/CHANGELOG.md.md", "source/LICENSE"}
    shown = found["source/sjd2_kernels/layout.py.md"].content_string
    assert (ROOT / "sjd2_kernels" / "layout.py").read_text(encoding="utf-8") in shown
    assert found["source/LICENSE"].content_bytes == (ROOT / "LICENSE").read_bytes()


def test_every_link_of_the_documents_has_its_file() -> None:
    """Where MkDocs is not at hand too; the README's links are checked nowhere else."""
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w.-]+)?\)", path.read_text(encoding="utf-8")):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


# nothing from the network


@pytest.mark.parametrize(
    ("html", "ok"),
    [
        ('<a href="https://arxiv.org/abs/2510.08994">x</a>', True),
        ('<link href="https://example.com/" rel="canonical"><link rel="stylesheet" href="site.css">', True),
        ('<link rel="canonical" href="https://example.com/"><script src="assets/a.js"></script>', True),
        ('<link rel="stylesheet" href="https://example.com/a.css">', False),
        ('<link rel=preconnect href="//example.com">', False),
        ('<script defer src="https://example.com/a.js"></script>', False),
        ("<img alt=x src=https://example.com/a.png>", False),
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(html: str, ok: bool) -> None:
    assert (offline.loads(html) is None) == ok
    if not ok:
        with pytest.raises(Exception, match=r"a\.md is not whole without the network"):
            offline.on_post_page(html, page("a.md"))
