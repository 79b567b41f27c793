"""Marks of single cases of a test."""

from __future__ import annotations

from typing import Any

import pytest


def full(*values: object) -> Any:
    """The parameters of a case that `make test-full` runs, and `make test` does not."""
    return pytest.param(*values, marks=pytest.mark.full)
