"""Complex tensors as pairs of real ones. The IR has none: they come and go inside a model, as in the first Llama's
rotary embedding, and every operator on them is one on their real and imaginary parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.frontend.aten.registry import IMPORTERS
from graphwright.frontend.aten.site import Operand, Site
from graphwright.ir import Value, ops


@dataclass(frozen=True)
class Complex:
    """Real and imaginary part, of one type."""

    real: Value
    imaginary: Value


ComplexImporter = Callable[..., "Complex | Value"]
COMPLEX: dict[str, ComplexImporter] = {}
"""Importers of operators that take or give complex tensors, by operator name."""

PART_BY_PART = frozenset(
    f"aten.{name}"
    for name in (
        *("view.default", "reshape.default", "_unsafe_view.default", "view_as.default", "flatten.using_ints"),
        *("unflatten.int", "unsqueeze.default", "squeeze.default", "squeeze.dim", "squeeze.dims", "permute.default"),
        *("transpose.int", "t.default", "mT.default", "movedim.int", "expand.default", "expand_as.default"),
        *("repeat.default", "repeat_interleave.self_int", "slice.Tensor", "narrow.default", "select.int"),
        *("split.Tensor", "split_with_sizes.default", "chunk.default", "unbind.int", "index.Tensor"),
        *("index_select.default", "cat.default", "stack.default", "neg.default", "sum.default", "sum.dim_IntList"),
        *("mean.default", "mean.dim", "clone.default", "detach.default", "alias.default", "contiguous.default"),
        *("lift_fresh_copy.default", "where.self", "flip.default", "roll.default"),
    )
)
"""Operators whose parts are what the operator makes of the parts."""
CONVERSIONS = frozenset(
    f"aten.{name}"
    for name in ("to.dtype", "to.device", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default")
)
"""Conversions of type, or of device alone."""


def import_complex(site: Site, arguments: Sequence[Any], named: dict[str, Any], *, gives_complex: bool) -> Any:
    """What an operator gives that takes or gives complex tensors: values, and `Complex` for complex ones."""
    if site.operator in CONVERSIONS:
        return _converted(site, arguments[0], gives_complex=gives_complex)
    importer = COMPLEX.get(site.operator)
    if importer is not None:
        return importer(site, *arguments, **named)
    if site.operator not in PART_BY_PART or not gives_complex:
        raise site.unsupported("this operator is not known for complex numbers; write it with real and imaginary part")
    plain = IMPORTERS[site.operator]
    both: list[Any] = [
        plain(site, *_part(site, arguments, which), **{k: _part(site, v, which) for k, v in named.items()})
        for which in ("real", "imaginary")
    ]
    real, imaginary = both
    if isinstance(real, Value):
        return Complex(real, imaginary)
    return tuple(Complex(r, i) for r, i in zip(real, imaginary, strict=True))


def _converted(site: Site, x: Value | Complex, *, gives_complex: bool) -> Value | Complex:
    """The numbers as another type. As in torch a complex number becomes its real part where the type is real."""
    dtype = site.type.dtype
    if not gives_complex:
        if not dtype.is_float:
            raise site.unsupported(f"complex numbers become {dtype}; take the real part first")
        return site.cast(x.real if isinstance(x, Complex) else x, dtype)
    if isinstance(x, Complex):
        return Complex(site.cast(x.real, dtype), site.cast(x.imaginary, dtype))
    value = site.cast(x, dtype)
    return Complex(value, site.full(0.0, value.tensor.shape, dtype))


def _part(site: Site, argument: Any, which: str) -> Any:
    if isinstance(argument, Complex):
        return argument.real if which == "real" else argument.imaginary
    if isinstance(argument, list | tuple):
        return [_part(site, item, which) for item in argument]  # pyright: ignore[reportUnknownVariableType] - fx arguments
    if isinstance(argument, Value) and argument.tensor.dtype.is_float:
        raise site.unsupported("real and complex tensors are mixed; make the real one complex first")
    return argument


def _complex(*overloads: str) -> Callable[[ComplexImporter], ComplexImporter]:
    def register(function: ComplexImporter) -> ComplexImporter:
        for overload in overloads:
            COMPLEX[f"aten.{overload}" if "." in overload else f"aten.{overload}.default"] = function
        return function

    return register


def parts(site: Site, operand: Operand | Complex | complex) -> Complex | Value:
    """An operand of complex arithmetic in the element type of the result's parts; what is real stays one value."""
    if isinstance(operand, Complex):
        return Complex(site.cast(operand.real, site.type.dtype), site.cast(operand.imaginary, site.type.dtype))
    if isinstance(operand, complex):
        real, imaginary = (site.value(number, site.type.dtype) for number in (operand.real, operand.imag))
        return Complex(real, imaginary)
    return site.value(operand, site.type.dtype)


@_complex("view_as_complex")
def import_complex_view(site: Site, x: Value) -> Complex:
    axis = x.tensor.rank - 1
    real, imaginary = (site.reshape(site.slice(x, axis, i, i + 1), site.type.shape) for i in (0, 1))
    return Complex(real, imaginary)


@_complex("view_as_real")
def import_real_view(site: Site, z: Complex) -> Value:
    pair = [site.reshape(part, (*part.tensor.shape, 1)) for part in (z.real, z.imaginary)]
    return site.build(ops.concat, *pair, axis=z.real.tensor.rank)


@_complex("complex")
def import_complex_of_parts(site: Site, real: Value, imaginary: Value) -> Complex:
    return Complex(site.expand(real, site.type.shape), site.expand(imaginary, site.type.shape))


@_complex("polar")
def import_complex_polar(site: Site, length: Value, angle: Value) -> Complex:
    real, imaginary = (site.build(ops.mul, length, site.build(turn, angle)) for turn in (ops.cos, ops.sin))
    return Complex(real, imaginary)


@_complex("exp")
def import_complex_exp(site: Site, z: Complex) -> Complex:
    length = site.build(ops.exp, z.real)
    real, imaginary = (site.build(ops.mul, length, site.build(turn, z.imaginary)) for turn in (ops.cos, ops.sin))
    return Complex(real, imaginary)


@_complex("real")
def import_complex_real(site: Site, z: Complex) -> Value:
    return z.real


@_complex("imag")
def import_complex_imag(site: Site, z: Complex) -> Value:
    return z.imaginary


@_complex("abs")
def import_complex_abs(site: Site, z: Complex) -> Value:
    squares = [site.build(ops.mul, part, part) for part in (z.real, z.imaginary)]
    return site.build(ops.sqrt, site.build(ops.add, *squares))


@_complex("_conj", "conj", "conj_physical", "_conj_physical")
def import_complex_conj(site: Site, z: Complex) -> Complex:
    return Complex(z.real, site.build(ops.neg, z.imaginary))


@_complex("resolve_conj", "resolve_neg")
def import_complex_resolve_conj(site: Site, z: Complex) -> Complex:
    return z


@_complex("add.Tensor")
def import_complex_add(site: Site, x: Operand | Complex, y: Operand | Complex, alpha: float = 1) -> Complex | Value:
    return _sum(site, ops.add, parts(site, x), parts(site, y), alpha)


@_complex("sub.Tensor")
def import_complex_sub(site: Site, x: Operand | Complex, y: Operand | Complex, alpha: float = 1) -> Complex | Value:
    return _sum(site, ops.sub, parts(site, x), parts(site, y), alpha)


def _sum(site: Site, op: Any, a: Complex | Value, b: Complex | Value, alpha: float) -> Complex | Value:
    if alpha != 1:
        raise site.unsupported("a factor in the sum of complex numbers is not supported")
    zero = site.value(0.0, site.type.dtype)
    left, right = (v if isinstance(v, Complex) else Complex(v, zero) for v in (a, b))
    shape = site.type.shape
    real, imaginary = site.build(op, left.real, right.real), site.build(op, left.imaginary, right.imaginary)
    return Complex(site.expand(real, shape), site.expand(imaginary, shape))


@_complex("mul.Tensor", "mul.Scalar")
def import_complex_mul(site: Site, x: Operand | Complex | complex, y: Operand | Complex | complex) -> Complex | Value:
    return _product(site, parts(site, x), parts(site, y))


def _product(site: Site, a: Complex | Value, b: Complex | Value) -> Complex | Value:
    def times(x: Value, y: Value) -> Value:
        return site.build(ops.mul, x, y)

    if isinstance(a, Value):
        a, b = b, a
    if isinstance(a, Value):
        raise site.unsupported("a product of two real tensors that is complex")
    if isinstance(b, Value):
        return Complex(times(a.real, b), times(a.imaginary, b))
    real = site.build(ops.sub, times(a.real, b.real), times(a.imaginary, b.imaginary))
    return Complex(real, site.build(ops.add, times(a.real, b.imaginary), times(a.imaginary, b.real)))


@_complex("div.Tensor", "div.Scalar")
def import_complex_div(site: Site, x: Operand | Complex | complex, y: Operand | Complex | complex) -> Complex | Value:
    a, b = parts(site, x), parts(site, y)
    if isinstance(b, Complex):
        norm = site.build(ops.add, *(site.build(ops.mul, p, p) for p in (b.real, b.imaginary)))
        a, b = _product(site, a, Complex(b.real, site.build(ops.neg, b.imaginary))), norm
    if isinstance(a, Value):
        raise site.unsupported("a quotient of two real tensors that is complex")
    return Complex(site.build(ops.div, a.real, b), site.build(ops.div, a.imaginary, b))
