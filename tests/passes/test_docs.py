"""The examples in docs/passes.md run, in order, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "passes.md"


def test_the_examples_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = [(text.count("\n", 0, m.start(1)), m[1]) for m in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S)]
    assert len(blocks) >= 3
    namespace: dict[str, Any] = {"__name__": __name__}
    for line, code in blocks:
        # Padded, so that a failure names the line of the page.
        exec(compile("\n" * line + code, str(PAGE), "exec", dont_inherit=True), namespace)
