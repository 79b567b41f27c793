"""Our own torch operators, which stand in a trace for a library's loops over tokens."""

from __future__ import annotations

from graphwright.frontend import custom_operators
from graphwright.frontend.aten.registry import Imported, imports
from graphwright.frontend.aten.site import Site
from graphwright.ir import Value, ops


@imports(f"{custom_operators.NAMESPACE}.linear_recurrence.default")
def import_linear_recurrence(
    site: Site,
    q: Value,
    k: Value,
    v: Value,
    decay: Value | None = None,
    rates: Value | None = None,
    beta: Value | None = None,
) -> Imported:
    return site.build.op(ops.linear_recurrence, q, k, v, decay, rates, beta).results[0]


@imports(f"{custom_operators.NAMESPACE}.weighted_mean.default")
def import_weighted_mean(site: Site, key: Value, value: Value, decay: Value, bonus: Value) -> Imported:
    return site.build.op(ops.weighted_mean, key, value, decay, bonus).results[0]
