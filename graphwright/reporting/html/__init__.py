"""A run of passes as one self-contained HTML page."""

from graphwright.reporting.html.page import render

__all__ = ["render"]
