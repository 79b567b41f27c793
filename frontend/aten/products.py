"""Products of matrices: `linear` where a weight of two axes stands on the right, `matmul` otherwise."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, Value, ops
from graphwright.ir.dims import product


@aten("linear")
def import_linear(site: Site, x: Value, weight: Value, bias: Value | None = None) -> Imported:
    return site.build.op(ops.linear, x, weight, bias).result


@aten("mm", "bmm")
def import_mm(site: Site, x: Value, y: Value) -> Imported:
    return multiply(site, x, y)


@aten("matmul")
def import_matmul(site: Site, x: Value, y: Value) -> Imported:
    # A vector counts as a row on the left and as a column on the right, and its axis vanishes again.
    left = x if x.tensor.rank > 1 else site.reshape(x, (1, *x.tensor.shape))
    right = y if y.tensor.rank > 1 else site.reshape(y, (*y.tensor.shape, 1))
    return site.reshape(multiply(site, left, right), site.type.shape)


@aten("mv", "dot")
def import_mv(site: Site, x: Value, y: Value) -> Imported:
    left = x if x.tensor.rank > 1 else site.reshape(x, (1, *x.tensor.shape))
    return site.reshape(multiply(site, left, site.reshape(y, (*y.tensor.shape, 1))), site.type.shape)


@aten("addmm")
def import_addmm(site: Site, addend: Value, x: Value, y: Value, beta: float = 1, alpha: float = 1) -> Imported:
    weight = _linear_weight(site, y)
    if weight is not None and beta == 1 and alpha == 1 and addend.tensor.shape == (weight.tensor.shape[0],):
        return site.build(ops.linear, x, weight, addend)
    return _add(site, addend, multiply(site, x, y), beta, alpha)


@aten("baddbmm", "addbmm")
def import_baddbmm(site: Site, addend: Value, x: Value, y: Value, beta: float = 1, alpha: float = 1) -> Imported:
    products = multiply(site, x, y)
    if site.operator == "aten.addbmm.default":
        products = site.build(ops.sum, products, axes=(0,))
    return _add(site, addend, products, beta, alpha)


def _add(site: Site, addend: Value, products: Value, beta: float, alpha: float) -> Value:
    dtype = site.type.dtype
    scaled = products if alpha == 1 else site.binary(ops.mul, products, alpha, dtype)
    if beta == 0:
        return scaled
    return site.binary(ops.add, addend if beta == 1 else site.binary(ops.mul, addend, beta, dtype), scaled, dtype)


def multiply(site: Site, x: Value, y: Value) -> Value:
    """The product of x [..., m, k] and y [..., k, n]."""
    weight = _linear_weight(site, y)
    return site.build(ops.matmul, x, y) if weight is None else site.build(ops.linear, x, weight)


def _linear_weight(site: Site, y: Value) -> Value | None:
    """y [in, out] as the weight [out, in] of a `linear` if it is a parameter, maybe transposed."""
    if y.tensor.rank != 2 or not y.tensor.dtype.is_float:
        return None
    if y.weight is not None:
        return site.transposed_weight(y)
    transposed = y.defined_by(ops.transpose)
    return transposed.inputs[0] if transposed is not None and transposed.inputs[0].weight is not None else None


@aten("outer")
def import_outer(site: Site, x: Value, y: Value) -> Imported:
    return site.binary(ops.mul, site.reshape(x, (*x.tensor.shape, Dim.of(1))), y, site.type.dtype)


@aten("einsum")
def import_einsum(site: Site, equation: str, operands: list[Value]) -> Imported:
    letters = plain_contraction(equation)
    if letters is None:
        raise site.unsupported(f"the contraction '{equation}' is not supported")
    left, right, result = letters
    x, y = (site.cast(v, site.type.dtype) for v in operands)
    size = dict(zip(left + right, x.tensor.shape + y.tensor.shape, strict=True))
    batch = [c for c in result if c in left and c in right]
    rows = [c for c in result if c not in right]
    columns = [c for c in result if c not in left]
    summed = [c for c in left if c not in result]

    def arranged(v: Value, order: str, first: list[str], second: list[str]) -> Value:
        moved = site.transpose(v, [order.index(c) for c in (*batch, *first, *second)])
        merged = (product(size[c] for c in group) for group in (first, second))
        return site.reshape(moved, (*(size[c] for c in batch), *merged))

    out = multiply(site, arranged(x, left, rows, summed), arranged(y, right, summed, columns))
    made = [*batch, *rows, *columns]
    return site.transpose(site.reshape(out, [size[c] for c in made]), [made.index(c) for c in result])


@aten("_trilinear")
def import_trilinear(
    site: Site,
    i1: Value,
    i2: Value,
    i3: Value,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Imported:
    """The sum of a product of three over some axes: what a bilinear layer becomes."""
    operands: list[Value] = []
    for x, missing in ((i1, expand1), (i2, expand2), (i3, expand3)):
        shape = list(x.tensor.shape)
        for axis in sorted(missing):
            shape.insert(axis, Dim.of(1))
        operands.append(site.reshape(x, shape))
    whole = site.build(ops.mul, site.build(ops.mul, operands[0], operands[1]), operands[2])
    return site.build(ops.sum, whole, axes=tuple(sorted(a % whole.type.rank for a in sumdim)), keepdims=False)


def plain_contraction(equation: str) -> tuple[str, str, str] | None:
    """The letters of two operands and of the result if the equation is one matrix product, else None."""
    operands, arrow, result = equation.replace(" ", "").partition("->")
    left, comma, right = operands.partition(",")
    if not arrow or not comma or "," in right or "." in equation:
        return None
    once = all(len(set(part)) == len(part) for part in (left, right, result))
    shared = set(left) & set(right)
    return (
        (left, right, result)
        if once and set(left) ^ set(right) <= set(result) <= set(left) | shared | set(right)
        else None
    )
