"""The project's own files agree with each other."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_readme_and_makefile_take_the_torch_that_the_project_needs() -> None:
    needed = next(r for r in PROJECT["project"]["optional-dependencies"]["compile"] if r.startswith("torch"))
    assert f"'{needed}'" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"'{needed}'".replace(",", "$(comma)") in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_readme_links_to_what_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_hooks_are_local() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"- repo: (\S+)", text) == ["local"]


def test_the_backend_of_torch_compile_is_where_its_entry_point_says() -> None:
    ((name, place),) = PROJECT["project"]["entry-points"]["torch_dynamo_backends"].items()
    module, _, function = place.partition(":")
    assert name == "graphwright"
    assert callable(getattr(importlib.import_module(module), function))
