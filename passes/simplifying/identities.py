"""Rules that only tidy: what they remove or merge never changed a value."""

from graphwright.ir import Builder, Value, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import product
from graphwright.ir.rewriting import Match, Pattern, Refusal, Rule, attribute, number, rule


def _same_type(definition: OpDef) -> Rule:
    """An op of one operand whose result has its operand's type and value is that operand."""

    @rule(lambda x: definition(x), name=f"drop-{definition.name}")
    def drop(match: Match, build: Builder) -> Value | Refusal:
        return match["x"] if match["x"].type == match.root.result.type else Refusal("it changes the type")

    return drop


@rule(lambda x: ops.reshape(ops.reshape(x)))
def merge_reshapes(match: Match, build: Builder) -> Value | Refusal:
    return build(ops.reshape, match["x"], shape=match.root.attributes["shape"])


@rule(lambda x: ops.expand(ops.expand(x)))
def merge_expands(match: Match, build: Builder) -> Value | Refusal:
    return build(ops.expand, match["x"], shape=match.root.attributes["shape"])


@rule(lambda x: ops.transpose(ops.transpose(x, permutation=attribute("inner")), permutation=attribute("outer")))
def merge_transposes(match: Match, build: Builder) -> Value | Refusal:
    inner, outer = (match.attribute(n, tuple[int, ...]) for n in ("inner", "outer"))
    return build(ops.transpose, match["x"], permutation=tuple(inner[o] for o in outer))


def _transpose(x: Pattern) -> Pattern:
    return ops.transpose(x, permutation=attribute("permutation"))


@rule(_transpose)
def drop_transpose(match: Match, build: Builder) -> Value | Refusal:
    permutation = match.attribute("permutation", tuple[int, ...])
    if permutation == tuple(range(len(permutation))):
        return match["x"]
    return Refusal("it moves axes")


@rule(_transpose)
def transpose_of_ones_is_reshape(match: Match, build: Builder) -> Value | Refusal:
    """A transpose that moves only axes of length 1 is a reshape, and reshapes merge."""
    permutation, shape = match.attribute("permutation", tuple[int, ...]), match["x"].tensor.shape
    moved = [p for p in permutation if shape[p].constant != 1]
    if moved != sorted(moved):
        return Refusal("it moves axes longer than 1")
    return build(ops.reshape, match["x"], shape=match.root.result.tensor.shape)


@rule(_transpose)
def transpose_without_ones(match: Match, build: Builder) -> Value | Refusal:
    """Axes of length 1 take no part in a transpose: they are reshaped away before it and back after it."""
    permutation, shape = match.attribute("permutation", tuple[int, ...]), match["x"].tensor.shape
    kept = [i for i, d in enumerate(shape) if d.constant != 1]
    if len(kept) == len(shape):
        return Refusal("it has no axis of length 1")
    order = [p for p in permutation if p in kept]
    squeezed = build(ops.reshape, match["x"], shape=tuple(shape[i] for i in kept))
    moved = build(ops.transpose, squeezed, permutation=tuple(kept.index(p) for p in order))
    return build(ops.reshape, moved, shape=match.root.result.tensor.shape)


@rule(lambda x, y: ops.matmul(x, y))
def matmul_by_weight(match: Match, build: Builder) -> Value | Refusal:
    """A product with one matrix of weights for all rows is a projection."""
    y = match["y"]
    if y.weight is None or any(d.constant != 1 for d in y.type.shape[:-2]):
        return Refusal("the second operand is not a single matrix of weights")
    if y.type.rank > match["x"].type.rank:
        return Refusal("the weights have more axes than the rows")
    matrix = build(ops.reshape, y, shape=y.type.shape[-2:])
    return build(ops.linear, match["x"], build(ops.transpose, matrix, permutation=(1, 0)))


def _neutral(definition: OpDef, value: float) -> Rule:
    """`x op value` is x."""

    @rule(lambda x, c: definition(x, c), name=f"drop-{definition.name}-{value:g}")
    def drop(match: Match, build: Builder) -> Value | Refusal:
        x = match["x"]
        if match.number("c") != value and definition.commutative and match.number("x") == value:
            x = match["c"]
        elif match.number("c") != value:
            return Refusal(f"the operand is not {value:g}")
        return x if x.type == match.root.result.type else Refusal("it stretches the shape")

    return drop


@rule(lambda x: ops.pow(x, 2.0))
def square_is_product(match: Match, build: Builder) -> Value | Refusal:
    return build(ops.mul, match["x"], match["x"])


@rule(lambda x: ops.reciprocal(ops.sqrt(x)), lambda x: ops.pow(x, -0.5), lambda x: 1.0 / ops.sqrt(x))
def one_over_root(match: Match, build: Builder) -> Value | Refusal:
    return build(ops.rsqrt, match["x"])


@rule(lambda y, x: y / ops.sqrt(x))
def divide_by_root(match: Match, build: Builder) -> Value | Refusal:
    if match["y"].owner is not None and match.number("y") is not None:
        return Refusal("a constant over a root is rsqrt")
    return build(ops.mul, match["y"], build(ops.rsqrt, match["x"]))


@rule(lambda x: ops.reshape(x), lambda x: ops.expand(x), lambda x: ops.slice(x))
def shape_of_constant(match: Match, build: Builder) -> Value | Refusal:
    """A constant has the same value everywhere, so changing its shape gives a constant."""
    filled = number(match["x"])
    if filled is None:
        return Refusal("not a constant")
    result = match.root.result.tensor
    return build.constant(filled, result.dtype, *result.shape)


EXACT_INTEGERS, NARROWEST = 1 << 8, 16
"""Integers up to this one are exact in float types of this many bits or more."""


@rule(lambda x: ops.cast(x))
def cast_of_constant(match: Match, build: Builder) -> Value | Refusal:
    filled = number(match["x"])
    result = match.root.result.tensor
    if filled is None:
        return Refusal("not a constant")
    small = isinstance(filled, int) and abs(filled) <= EXACT_INTEGERS and result.dtype.bits >= NARROWEST
    if result.dtype.is_float and (small or match["x"].tensor.dtype.bits <= result.dtype.bits):
        return build.constant(float(filled), result.dtype, *result.shape)
    return Refusal("the cast may round")


@rule(lambda x: ops.cumsum(x, axis=attribute("axis")))
def sum_of_constant(match: Match, build: Builder) -> Value | Refusal:
    """Running sums of an integer constant count up: positions out of a mask of ones."""
    filled, result = match.number("x"), match.root.result.tensor
    axis = match.attribute("axis", int) % result.rank
    if filled is None or not result.dtype.is_integer:
        return Refusal("not an integer constant")
    size = result.shape[axis]
    count = build(ops.mul, build(ops.add, build(ops.iota, size=size, dtype=result.dtype), 1), int(filled))
    line = build(ops.reshape, count, shape=tuple(size if i == axis else 1 for i in range(result.rank)))
    return build(ops.expand, line, shape=result.shape)


def _norm_then_transpose(definition: OpDef) -> Rule:
    """A norm over the last axis does not care in which order the others stand: transposes go in front of it."""

    def pattern(x: Pattern, weight: Pattern, bias: Pattern | None = None) -> Pattern:
        operands = (x, weight) if definition is ops.rms_norm else (x, weight, bias)
        return ops.transpose(definition(*operands, epsilon=attribute("epsilon")), permutation=attribute("permutation"))

    @rule(pattern, name=f"transpose-before-{definition.name.replace('_', '-')}")
    def swap(match: Match, build: Builder) -> Value | Refusal:
        permutation = match.attribute("permutation", tuple[int, ...])
        if permutation[-1] != len(permutation) - 1:
            return Refusal("the normalized axis moves")
        moved = build(ops.transpose, match["x"], permutation=permutation)
        operands = [match["weight"]] if definition is ops.rms_norm else [match["weight"], match.get("bias")]
        return build(definition, moved, *operands, epsilon=match.attributes["epsilon"])

    return swap


def _part_of_linear(x: Pattern, weight: Pattern, bias: Pattern | None = None) -> Pattern:
    whole = ops.linear(x, weight, bias)
    return ops.slice(whole, axis=attribute("axis"), start=attribute("start"), stop=attribute("stop"), step=1)


@rule(_part_of_linear)
def slice_of_linear(match: Match, build: Builder) -> Value | Refusal:
    """Part of a projection's outputs is a projection by part of its weight: fused projections come apart."""
    root = match.root
    if match.attribute("axis", int) != root.result.type.rank - 1:
        return Refusal("it slices another axis than the features")
    if match["weight"].weight is None:
        return Refusal("the matrix is not a weight")
    bounds = {"axis": 0, "start": match.attributes["start"], "stop": match.attributes["stop"]}
    weight = build(ops.slice, match["weight"], **bounds)
    bias = match.get("bias")
    return build(ops.linear, match["x"], weight, None if bias is None else build(ops.slice, bias, **bounds))


@rule(lambda x, weight, bias: ops.linear(x, weight) + bias)
def add_bias(match: Match, build: Builder) -> Value | Refusal:
    bias = match["bias"]
    if bias.weight is None or bias.type.shape != match.root.result.type.shape[-1:]:
        return Refusal("what is added is not a bias")
    return build(ops.linear, match["x"], match["weight"], bias)


def _flattened_linear(x: Pattern, weight: Pattern, bias: Pattern | None = None) -> Pattern:
    return ops.reshape(ops.linear(ops.reshape(x), weight, bias))


@rule(_flattened_linear)
def linear_on_all_axes(match: Match, build: Builder) -> Value | Refusal:
    """A projection of flattened rows (`view`, `addmm`, `view`) is a projection of the rows where they stand."""
    result = match.root.result.tensor
    linear = match.root.inputs[0].owner
    assert linear is not None
    features = linear.result.tensor.shape[-1]
    cut = next((i for i in range(result.rank) if product(result.shape[i:]) is features), 0)
    if not cut or linear.result.tensor.shape[:-1] == result.shape[:cut]:
        return Refusal("the rows stay as they are")
    rows = build(ops.reshape, match["x"], shape=(*result.shape[:cut], linear.required("x").tensor.shape[-1]))
    projected = build(ops.linear, rows, match["weight"], match.get("bias"))
    return projected if projected.type == result else build(ops.reshape, projected, shape=result.shape)


@rule(lambda x, y: ops.reshape(ops.matmul(x, y)))
def product_on_all_axes(match: Match, build: Builder) -> Value | Refusal:
    """A product whose leading axes were folded into one and come apart after it is a product over those axes."""
    x, y, result = match["x"], match["y"], match.root.result.tensor
    inner = match.root.inputs[0].tensor
    if not x.type.rank == y.type.rank == 3 or x.type.shape[0] is not y.type.shape[0]:
        return Refusal("the operands are not folded alike")
    if result.rank < 4 or result.shape[-2:] != inner.shape[-2:]:
        return Refusal("the matrices are reshaped, not only the axes before them")
    leading = result.shape[:-2]
    operands = [build(ops.reshape, v, shape=(*leading, *v.type.shape[-2:])) for v in (x, y)]
    return build(ops.matmul, *operands)


IDENTITIES: tuple[Rule, ...] = (
    _same_type(ops.reshape),
    _same_type(ops.expand),
    _same_type(ops.cast),
    _same_type(ops.slice),
    merge_reshapes,
    merge_expands,
    merge_transposes,
    drop_transpose,
    transpose_of_ones_is_reshape,
    transpose_without_ones,
    matmul_by_weight,
    shape_of_constant,
    cast_of_constant,
    sum_of_constant,
    _neutral(ops.mul, 1.0),
    _neutral(ops.div, 1.0),
    _neutral(ops.add, 0.0),
    _neutral(ops.sub, 0.0),
    square_is_product,
    one_over_root,
    divide_by_root,
    _norm_then_transpose(ops.rms_norm),
    _norm_then_transpose(ops.layer_norm),
    slice_of_linear,
    add_bias,
    linear_on_all_axes,
    product_on_all_axes,
)
