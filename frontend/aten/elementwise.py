"""Arithmetic, comparisons, logic, casts and choice."""

from graphwright.frontend.aten.registry import Imported, aten, same
from graphwright.frontend.aten.rounding import truncated_quotient
from graphwright.frontend.aten.site import Operand, Site
from graphwright.ir import DType, Value, ops
from graphwright.ir.declare import OpDef

BINARY = {
    "mul": ops.mul,
    "pow": ops.pow,
    "remainder": ops.remainder,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
}
COMPARISONS = {"eq": ops.eq, "ne": ops.ne, "lt": ops.lt, "le": ops.le, "gt": ops.gt, "ge": ops.ge}
UNARY = {
    "exp": ops.exp,
    "log": ops.log,
    "log1p": ops.log1p,
    "sqrt": ops.sqrt,
    "rsqrt": ops.rsqrt,
    "reciprocal": ops.reciprocal,
    "sin": ops.sin,
    "cos": ops.cos,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "erf": ops.erf,
    "floor": ops.floor,
    "neg": ops.neg,
    "abs": ops.abs,
}
LOGIC = {
    "and": ops.logical_and,
    "or": ops.logical_or,
    "xor": ops.ne,
}
OVERLOADS = ("Tensor", "Scalar", "Tensor_Tensor", "Tensor_Scalar")


def _register_binary(name: str, definition: OpDef) -> None:
    overloads = ("default",) if name in ("maximum", "minimum") else OVERLOADS

    @aten(*(f"{name}.{overload}" for overload in overloads))
    def import_binary(site: Site, x: Operand, y: Operand) -> Imported:
        return site.binary(definition, x, y, site.type.dtype)


def _register_comparison(name: str, definition: OpDef) -> None:
    @aten(f"{name}.Tensor", f"{name}.Scalar")
    def import_comparison(site: Site, x: Operand, y: Operand) -> Imported:
        dtype = site.common_dtype(x, y)
        return site.build(definition, site.value(x, dtype), site.value(y, dtype))


def _register_unary(name: str, definition: OpDef) -> None:
    @aten(name)
    def import_unary(site: Site, x: Value) -> Imported:
        return site.build(definition, site.cast(x, site.type.dtype))


def _register_logic(name: str, definition: OpDef) -> None:
    @aten(f"logical_{name}", f"bitwise_{name}.Tensor", f"bitwise_{name}.Scalar", f"__{name}__.Tensor")
    def import_logic(site: Site, x: Operand, y: Operand) -> Imported:
        if site.type.dtype is not DType.BOOL:
            raise site.unsupported(f"bitwise logic of {site.type.dtype} is not in the IR, only of bool")
        return site.build(definition, site.value(x, DType.BOOL), site.value(y, DType.BOOL))


for _name, _definition in BINARY.items():
    _register_binary(_name, _definition)
for _name, _definition in COMPARISONS.items():
    _register_comparison(_name, _definition)
for _name, _definition in UNARY.items():
    _register_unary(_name, _definition)
for _name, _definition in LOGIC.items():
    _register_logic(_name, _definition)


@aten("logical_not", "bitwise_not")
def import_logical_not(site: Site, x: Value) -> Imported:
    if site.type.dtype is not DType.BOOL:
        raise site.unsupported(f"bitwise logic of {site.type.dtype} is not in the IR, only of bool")
    return site.build(ops.logical_not, site.cast(x, DType.BOOL))


@aten("add.Tensor", "add.Scalar")
def import_add(site: Site, x: Operand, y: Operand, alpha: float = 1) -> Imported:
    return site.binary(ops.add, x, _scaled(site, y, alpha), site.type.dtype)


@aten("sub.Tensor", "sub.Scalar")
def import_sub(site: Site, x: Operand, y: Operand, alpha: float = 1) -> Imported:
    return site.binary(ops.sub, x, _scaled(site, y, alpha), site.type.dtype)


@aten("rsub.Tensor", "rsub.Scalar")
def import_rsub(site: Site, x: Operand, y: Operand, alpha: float = 1) -> Imported:
    return site.binary(ops.sub, y, _scaled(site, x, alpha), site.type.dtype)


def _scaled(site: Site, x: Operand, alpha: float) -> Operand:
    return x if alpha == 1 else site.binary(ops.mul, x, alpha, site.type.dtype)


@aten("div.Tensor", "div.Scalar")
def import_div_tensor(site: Site, x: Operand, y: Operand) -> Imported:
    return site.binary(ops.div, x, y, site.type.dtype)


@aten("div.Tensor_mode", "div.Scalar_mode")
def import_div_tensor_mode(site: Site, x: Operand, y: Operand, rounding_mode: str | None = None) -> Imported:
    if rounding_mode == "trunc":
        return truncated_quotient(site, x, y)
    return _floored(site, x, y) if rounding_mode else site.binary(ops.div, x, y, site.type.dtype)


@aten("floor_divide", "floor_divide.Scalar")
def import_floor_divide(site: Site, x: Operand, y: Operand) -> Imported:
    return _floored(site, x, y)


def _floored(site: Site, x: Operand, y: Operand) -> Value:
    quotient = site.binary(ops.div, x, y, site.type.dtype)
    return site.build(ops.floor, quotient) if site.type.dtype.is_float else quotient


@aten("square")
def import_square(site: Site, x: Value) -> Imported:
    return site.build(ops.mul, x, x)


@aten("clamp", "clamp.Tensor")
def import_clamp(site: Site, x: Value, min: Operand | None = None, max: Operand | None = None) -> Imported:
    return _clamp(site, x, min, max)


@aten("hardtanh")
def import_hardtanh(site: Site, x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Imported:
    return _clamp(site, x, min_val, max_val)


def _clamp(site: Site, x: Value, least: Operand | None, most: Operand | None) -> Value:
    dtype = site.type.dtype
    if least is not None:
        x = site.binary(ops.maximum, x, least, dtype)
    return site.cast(x, dtype) if most is None else site.binary(ops.minimum, x, most, dtype)


@aten("clamp_min", "clamp_min.Tensor")
def import_clamp_min(site: Site, x: Value, min: Operand) -> Imported:
    return site.binary(ops.maximum, x, min, site.type.dtype)


@aten("clamp_max", "clamp_max.Tensor")
def import_clamp_max(site: Site, x: Value, max: Operand) -> Imported:
    return site.binary(ops.minimum, x, max, site.type.dtype)


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def import_where(site: Site, condition: Value, x: Operand, y: Operand) -> Imported:
    return _choose(site, condition, x, y)


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def import_masked_fill(site: Site, x: Value, mask: Value, value: Operand) -> Imported:
    return _choose(site, mask, value, x)


def _choose(site: Site, condition: Value, x: Operand, y: Operand) -> Value:
    dtype = site.type.dtype
    return site.build(ops.where, site.cast(condition, DType.BOOL), site.value(x, dtype), site.value(y, dtype))


@aten("addcmul")
def import_addcmul(site: Site, x: Value, a: Value, b: Value, value: float = 1) -> Imported:
    dtype = site.type.dtype
    return site.binary(ops.add, x, _scaled(site, site.binary(ops.mul, a, b, dtype), value), dtype)


@aten("to.dtype", "to.device", "to.dtype_layout", "to.other", "_to_copy", "type_as")
def import_to(site: Site, x: Value, *_: object, dtype: object = None) -> Imported:
    return site.cast(x, site.type.dtype)


@aten("copy")
def import_copy(site: Site, x: Value, source: Value, non_blocking: bool = False) -> Imported:
    return site.expand(site.cast(source, site.type.dtype), site.type.shape)


aten("alias", "detach", "clone", "contiguous", "lift_fresh_copy", "lift_fresh", "lift")(same)
