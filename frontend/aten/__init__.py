"""Importers of torch's operators, by theme."""

from graphwright.frontend.aten import (
    attention,
    convolution,
    elementwise,
    exponential,
    extremes,
    factory,
    grouped_norms,
    indexing,
    neural,
    positions,
    products,
    recurrence,
    reduction,
    rounding,
    shape,
)
from graphwright.frontend.aten.registry import IGNORED_ARGUMENTS, IMPORTERS, Imported
from graphwright.frontend.aten.site import Site

__all__ = [
    "IGNORED_ARGUMENTS",
    "IMPORTERS",
    "Imported",
    "Site",
    "attention",
    "convolution",
    "elementwise",
    "exponential",
    "extremes",
    "factory",
    "grouped_norms",
    "indexing",
    "neural",
    "positions",
    "products",
    "recurrence",
    "reduction",
    "rounding",
    "shape",
]
