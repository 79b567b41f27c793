"""Hadamard matrices and rotations made of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def hadamard(size: int) -> Tensor | None:
    """A matrix f64 [size, size] of 1 and -1 with orthogonal rows; None where none is known here.

    Sylvester's doubling of an order that Paley's constructions give for a prime (Paley 1933): powers of two, and them
    times 12, 20, 28, 36 and others.
    """
    base, doubled = size, 0
    while True:
        matrix = _base(base)
        if matrix is not None:
            break
        if base % 2:
            return None
        base, doubled = base // 2, doubled + 1
    for _ in range(doubled):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def rotation(size: int, seed: int, keep_mean: bool) -> Tensor | None:
    """An orthogonal matrix f64 [size, size] that spreads each channel over all: random signs times a Hadamard matrix
    (QuaRot, Ashkboos et al. 2024, section 3); None where no Hadamard matrix is known.

    With `keep_mean` it leaves the mean of a vector as it is, so that a layer norm may stand behind it: a reflection
    besides maps the vector of ones, as the rotation turned it, back.
    """
    matrix = hadamard(size)
    if matrix is None:
        return None
    signs = torch.randint(2, (size,), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    turned = signs[:, None] * matrix / math.sqrt(size)
    if keep_mean:
        ones = torch.ones(size, dtype=torch.float64)
        normal = ones @ turned - ones
        length = normal @ normal
        if length > 0:
            turned -= torch.outer(turned @ normal, normal) * (2 / length)
    return turned


def _base(order: int) -> Tensor | None:
    """A Hadamard matrix of this order that is no doubling."""
    if order == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if order % 4:
        return None
    if _is_prime(order - 1):
        # Paley's first construction: q = order - 1 is 3 modulo 4, so its Jacobsthal matrix is skew.
        bordered = _bordered(order - 1, sign=-1)
        return bordered + torch.eye(order, dtype=torch.float64)
    half = order // 2
    if (half - 1) % 4 == 1 and _is_prime(half - 1):
        # The second: q = order / 2 - 1 is 1 modulo 4, and the matrix is symmetric.
        bordered, unit = _bordered(half - 1, sign=1), torch.eye(half, dtype=torch.float64)
        plus, minus = bordered + unit, bordered - unit
        return torch.cat([torch.cat([plus, minus], 1), torch.cat([minus, -plus], 1)])
    return None


def _bordered(q: int, sign: int) -> Tensor:
    """The Jacobsthal matrix of a prime q, whose entry i, j says whether i - j is a square, with a border of ones."""
    squares = {i * i % q for i in range(1, q)}
    residues = torch.tensor([0.0] + [1.0 if i in squares else -1.0 for i in range(1, q)], dtype=torch.float64)
    index = torch.arange(q)
    matrix = torch.zeros(q + 1, q + 1, dtype=torch.float64)
    matrix[0, 1:] = 1
    matrix[1:, 0] = sign
    matrix[1:, 1:] = residues[(index[:, None] - index) % q]
    return matrix


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % i for i in range(2, math.isqrt(n) + 1))
