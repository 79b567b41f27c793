"""Our own torch operators, which stand in a trace for a library's loops over tokens."""

from typing import Any

import torch
from torch import Tensor

from graphwright.frontend.aten.registry import Imported, imports
from graphwright.frontend.aten.site import Site
from graphwright.ir import Value, ops

NAMESPACE = "graphwright"


@torch.library.custom_op(f"{NAMESPACE}::linear_recurrence", mutates_args=())
def linear_recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None = None,
    rates: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    """The result of the IR's op of that name, from the first token on."""
    y, _ = ops.linear_recurrence.evaluate([q, k, v, decay, rates, beta, None, None], {})
    return y


@torch.library.custom_op(f"{NAMESPACE}::weighted_mean", mutates_args=())
def weighted_mean(key: Tensor, value: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """The result of the IR's op of that name, from the first token on."""
    y, _ = ops.weighted_mean.evaluate([key, value, decay, bonus, None, None], {})
    return y


def _like_values(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None = None,
    rates: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(v, memory_format=torch.contiguous_format)


def _like_key(key: Tensor, value: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    return torch.empty_like(key, memory_format=torch.contiguous_format)


_operators: tuple[Any, ...] = (linear_recurrence, weighted_mean)
for _operator, _shape in zip(_operators, (_like_values, _like_key), strict=True):
    # What tracing needs to know of an operator: the shape of its result.
    _operator.register_fake(_shape)


@imports(f"{NAMESPACE}.linear_recurrence.default")
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


@imports(f"{NAMESPACE}.weighted_mean.default")
def import_weighted_mean(site: Site, key: Value, value: Value, decay: Value, bonus: Value) -> Imported:
    return site.build.op(ops.weighted_mean, key, value, decay, bonus).results[0]
