"""Importers of torch's operators, by theme."""

from graphwright.frontend.aten import (
    attention,
    elementwise,
    experts,
    factory,
    indexing,
    neural,
    products,
    reduction,
    shape,
    sorting,
)
from graphwright.frontend.aten.registry import IGNORED_ARGUMENTS, IMPORTERS, Imported
from graphwright.frontend.aten.site import Site

__all__ = [
    "IGNORED_ARGUMENTS",
    "IMPORTERS",
    "Imported",
    "Site",
    "attention",
    "elementwise",
    "experts",
    "factory",
    "indexing",
    "neural",
    "products",
    "reduction",
    "shape",
    "sorting",
]
