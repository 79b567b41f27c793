"""The examples of the pages in docs/ run, in order, as a reader would type them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from graphwright.ir.declare import REGISTRY

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = {"ir.md": 10, "passes.md": 4, "quantization.md": 1}
"""The pages with examples, and how many they have at least."""


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_run(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = [(text.count("\n", 0, m.start(1)), m[1]) for m in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S)]
    assert len(blocks) >= EXAMPLES[page]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        for line, code in blocks:
            # Padded, so that a failure names the line of the page.
            exec(compile("\n" * line + code, str(DOCS / page), "exec"), namespace)
    finally:
        REGISTRY.pop("l2_normalize", None)


def test_no_page_with_examples_is_left_out() -> None:
    assert {path.name for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8")} == set(EXAMPLES)


PAGES = [DOCS / "architecture.md", DOCS.parent / "CONTRIBUTING.md", *sorted((DOCS / "how-to-add").glob("*.md"))]
FOLDERS = ("ir", "frontend", "passes", "backends", "runtime", "graphwright", "tests", "benchmarks", "docs", "examples")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [path for path in re.findall(r"`([\w/.-]+)`", text) if path.partition("/")[0] in FOLDERS and "/" in path]
    linked = re.findall(r"\]\(([^):#]+)\)", text)
    assert [path for path in named if not (DOCS.parent / path).exists()] == []
    assert [path for path in linked if not (page.parent / path).exists()] == []
    assert named


def test_the_picture_is_what_its_script_draws() -> None:
    drawn = runpy.run_path(str(DOCS / "architecture_picture.py"))["picture"]()
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == drawn
