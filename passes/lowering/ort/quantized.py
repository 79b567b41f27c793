"""Products with quantized weights, and rows of quantized tables, become operators over packed codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.ort.block_layout import block_parts, regrouped
from graphwright.ir.dialects.ort.quantized import (
    dequantize_linear,
    gather_block_quantized,
    gather_blocks,
    matmul_integer,
    matmul_nbits,
    round_rows,
)
from graphwright.ir.graph import Op, Value
from graphwright.ir.rewriting import Refusal
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, Weight, WeightExpression
from graphwright.passes.base import register
from graphwright.passes.lowering.expert_floats import write_experts_as_floats
from graphwright.passes.lowering.ort.quantized_form import Form, integer_codes, multiplied_form, without_minimums
from graphwright.passes.lowering.ort.spelling import NARROW
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

PRODUCT, ROWS, EXPERTS = "quantized-product", "quantized-rows", "quantized-experts"


@dataclass
class _Made:
    """What was made for a graph: of weights the form that a product reads, of values their rounded rows, and the sums
    of their groups of some length."""

    forms: dict[Weight, Form] = field(default_factory=dict[Weight, Form])
    rounded: dict[Value, tuple[Value, Value]] = field(default_factory=dict[Value, tuple[Value, Value]])
    sums: dict[tuple[Value, int], Value] = field(default_factory=dict[tuple[Value, int], Value])


@register
@dataclass(frozen=True)
class QuantizedToOperators(TablePass):
    """Every linear over a stored quantized weight, and every embedding of one, becomes operators over packed codes.

    Experts are multiplied by the numbers of their codes, written as floats.
    """

    name: ClassVar[str] = "ort-quantized"
    findings: ClassVar[tuple[str, ...]] = (
        PRODUCT,
        ROWS,
        EXPERTS,
    )

    def lower(self, context: Context) -> None:
        # Embeddings last, so that they share what products read.
        made = _Made()
        for op in context.graph:
            if op.definition is ops.linear and isinstance(op.required("weight").type, QuantizedType):
                wide = _widened(context, op) if _must_widen(context, op) else op
                _replace(context, wide, _product(context, wide, made))
        for op in context.graph:
            if op.definition is ops.quantized_embedding:
                _replace(context, op, _rows(context, op, made))
            elif op.definition is ops.moe_experts:
                problem = write_experts_as_floats(context, op)
                if problem is not None:
                    context.near_miss(EXPERTS, op, problem)


def _must_widen(context: Context, op: Op) -> bool:
    """Whether a product in a narrow float has to be one in float32: where the operator is not for that type, or where
    scales are not of it, which would round them."""
    dtype, weight = op.result.tensor.dtype, op.required("weight").type
    assert isinstance(weight, QuantizedType)
    if dtype not in NARROW:
        return False
    rows = (row for row in context.target.rows if row.op is matmul_nbits)
    if not any(dtype in row.dtypes for row in rows):
        return True
    if weight.scale_dtype is dtype and weight.element.is_integer and not (weight.tensor_scale or weight.minimum):
        return False
    kind = "with a scale of the whole" if weight.tensor_scale else f"with scales of {weight.scale_dtype}"
    context.near_miss(PRODUCT, op, f"{kind} it is multiplied in f32, in which they are exact, not in {dtype}")
    return True


def _widened(context: Context, op: Op) -> Op:
    """The linear in float32, in which the numbers of a quantized weight are exact; its result is rounded."""
    build = Builder(context.graph, op, op.location)
    x, weight, bias = op.operands
    assert x is not None, "checked by the declaration"
    wide = build.op(
        ops.linear,
        build(ops.cast, x, dtype=DType.F32),
        weight,
        None if bias is None else build(ops.cast, bias, dtype=DType.F32),
    )
    context.graph.replace(op.result, build(ops.cast, wide.result, dtype=op.result.tensor.dtype))
    context.graph.erase_dead([op])
    return wide


def _replace(context: Context, op: Op, new: Value | Refusal) -> None:
    rule = ROWS if op.definition is ops.quantized_embedding else PRODUCT
    if isinstance(new, Refusal):
        context.near_miss(rule, op, new.reason)
        weight = op.required("weight").weight
        if weight is None:
            return
        new = _with_floats(context, op, weight)
    else:
        context.hit(rule, op)
    context.graph.replace(op.result, new)
    context.graph.erase_dead([op])


def _with_floats(context: Context, op: Op, weight: Weight) -> Value:
    """The op over the numbers that the codes stand for, stored as floats."""
    dtype = op.result.tensor.dtype
    expression = Applied.of(ops.dequantize, (weight.expression,), {"dtype": dtype})
    floats = context.graph.weight(context.program.add_weight(f"{weight.name}.{dtype}", expression))
    build = Builder(context.graph, op, op.location)
    if op.definition is ops.quantized_embedding:
        return build(ops.embedding, floats, op.required("indices"))
    return build(ops.linear, op.required("x"), floats, op.operand("bias"))


# -- products


def _product(context: Context, op: Op, made: _Made) -> Value | Refusal:
    """The product with codes, and with the minimums: each group's times the sum of what the group is multiplied by."""
    weight = op.required("weight")
    assert isinstance(weight.type, QuantizedType)
    product = _product_of_codes(context, op, made)
    if isinstance(product, Refusal) or not weight.type.minimum:
        return product
    assert weight.weight is not None, "the product refuses others"
    build = Builder(context.graph, op, op.location)
    sums = _group_sums(build, op.required("x"), weight.type, made)
    return build(ops.add, product, build(ops.linear, sums, _minimums(context, weight.weight)))


def _minimums(context: Context, weight: Weight) -> Value:
    """The minimums f32 [n, groups] of a weight."""
    minimums = Applied.of(ops.quantized_minimums, (weight.expression,), {})
    expression = Applied.of(ops.cast, (minimums,), {"dtype": DType.F32})
    return context.graph.weight(context.program.add_weight(f"{weight.name}.minimums", expression))


def _group_sums(build: Builder, x: Value, type: QuantizedType, made: _Made) -> Value:
    """The sums [..., groups] of x over the groups of a weight; found once for all products that read them."""
    inner = x.type.shape[-1].evaluate({})
    group = type.group or inner
    if (x, group) not in made.sums:
        axis, whole = x.type.rank - 1, inner // group * group
        parts: list[Value] = []
        if whole:
            rows = x if whole == inner else build(ops.slice, x, axis=axis, stop=whole)
            cut = build(ops.reshape, rows, shape=(*x.type.shape[:-1], whole // group, group))
            parts.append(build(ops.sum, cut, axes=(axis + 1,)))
        if whole < inner:
            rest = build(ops.slice, x, axis=axis, start=whole)
            parts.append(build(ops.sum, rest, axes=(axis,), keepdims=True))
        made.sums[x, group] = parts[0] if len(parts) == 1 else build(ops.concat, *parts, axis=axis)
    return made.sums[x, group]


def _product_of_codes(context: Context, op: Op, made: _Made) -> Value | Refusal:
    x, weight = op.required("x"), op.required("weight")
    assert isinstance(weight.type, QuantizedType)
    if weight.weight is None:
        return Refusal("its weight is computed in the graph")
    if x.tensor.dtype not in (DType.F32, weight.type.scale_dtype):
        return Refusal(f"operators of packed weights take f32, x is {x.tensor.dtype}; its weight is stored as that")
    if x.type.rank < 2:
        return Refusal("x is a vector")
    rounds = context.target.accepts(round_rows) or not context.target.accepts(matmul_nbits)
    before = x.defined_by(ops.fake_quantize) if rounds else None
    if before is not None and before.attributes["to"] is DType.I8 and before.operand("scale") is None:
        group = before.attribute("group", int)
        if group == 0 and weight.type.group is None:
            return _integer_product(context, op, before.required("x"), weight.weight, made)
        if context.target.accepts(matmul_nbits):
            form = multiplied_form(weight.type, group, two_bits=True)
            if isinstance(form, Form):
                return _block_product(context, op, before.required("x"), weight.weight, form, made, rounded=True)
            context.near_miss(PRODUCT, op, form.reason)
    # Kernels for eight bits are fast where none rounds.
    form = multiplied_form(weight.type, None, two_bits=False, halves=context.target.accepts(round_rows))
    if isinstance(form, Refusal):
        return Refusal(f"{form.reason}; its weight is stored as {x.tensor.dtype}")
    return _block_product(context, op, x, weight.weight, form, made, rounded=False)


def _block_product(
    context: Context, op: Op, x: Value, weight: Weight, form: Form, made: _Made, *, rounded: bool
) -> Value | Refusal:
    build = Builder(context.graph, op, op.location)
    total, bias = None, op.operand("bias")
    for suffix, expression in form.expressions(weight.expression):
        name = f"{weight.name}{suffix}"
        if context.target.accepts(matmul_nbits):
            codes, scales, zero_points = _stored_parts(context, name, expression, x.tensor.dtype)
            attributes = {"bits": _bits(expression), "block": form.block, "rounded": rounded}
            own = bias if total is None else None
            new = build.op(matmul_nbits, x, codes, scales, zero_points, own, **attributes)
            problem = context.target.refusal(new)
            if problem is not None:
                context.graph.erase(new)
                return Refusal(f"{problem}; its weight is stored as {x.tensor.dtype}")
            product = new.result
        else:
            product = build(ops.matmul, x, _dequantized(context, build, name, expression))
        total = product if total is None else build(ops.add, total, product)
    assert total is not None, "a form has one part at least"
    made.forms.setdefault(weight, form)
    if bias is not None and not context.target.accepts(matmul_nbits):
        total = build(ops.add, total, bias)
    return total


def _bits(expression: WeightExpression) -> int:
    type = expression.type
    assert isinstance(type, QuantizedType)
    return type.element.bits


def _stored_parts(
    context: Context, name: str, expression: WeightExpression, dtype: DType = DType.F32
) -> list[Value | None]:
    """Codes, scales of that type and zero points as weights of the program."""
    labels = ("codes", "scales", "zero_points")
    codes, scales, zero_points = block_parts(expression)
    if not isinstance(scales.type, QuantizedType) and scales.type.dtype is not dtype:
        labels = ("codes", f"scales.{dtype}", "zero_points")
        scales = Applied.of(ops.cast, (scales,), {"dtype": dtype})
    return [
        None if part is None else context.graph.weight(context.program.add_weight(f"{name}.{label}", part))
        for label, part in zip(labels, (codes, scales, zero_points), strict=True)
    ]


def _dequantized(context: Context, build: Builder, name: str, expression: WeightExpression) -> Value:
    """The weight [k, n] by blocked DequantizeLinear; ONNX Runtime makes a product of packed codes of it and MatMul."""
    type = expression.type
    assert isinstance(type, QuantizedType)
    assert type.group is not None

    def stored(part: str, definition: str) -> Value:
        source = Applied.of(getattr(ops, definition), (expression,), {})
        transposed = Applied.of(ops.transpose, (source,), {"permutation": (1, 0)})
        return context.graph.weight(context.program.add_weight(f"{name}.{part}", transposed))

    codes, scales = stored("codes", "quantized_codes"), stored("scales", "quantized_scales")
    zero_points = None if type.symmetric else stored("zero_points", "quantized_zero_points")
    return build(dequantize_linear, codes, scales, zero_points, block=type.group)


def _integer_product(context: Context, op: Op, x: Value, weight: Weight, made: _Made) -> Value | Refusal:
    """Rows of x rounded once for all products that read them."""
    assert isinstance(weight.type, QuantizedType)
    element = integer_codes(weight.type.element, narrowest=8)
    if isinstance(element, Refusal):
        return Refusal(f"{element.reason}; its weight is stored as {x.tensor.dtype}")
    build = Builder(context.graph, op, op.location)
    if x not in made.rounded:
        codes, scales = build.op(round_rows, x).results
        made.rounded[x] = codes, scales
    same = Applied.of(regrouped, (without_minimums(weight.expression),), {"to": element, "group": 0})
    codes, scales, zero_points = (
        None if part is None else context.graph.weight(context.program.add_weight(f"{weight.name}.{label}", part))
        for label, part in zip(("codes", "scales", "zero_points"), _columns(same), strict=True)
    )
    result = build(matmul_integer, *made.rounded[x], codes, scales, zero_points)
    bias = op.operand("bias")
    return result if bias is None else build(ops.add, result, bias)


def _columns(weight: Applied) -> tuple[WeightExpression, WeightExpression, WeightExpression | None]:
    """Codes u8 [k, n], scales f32 [n] and zero points u8 [n] of an 8-bit weight with one scale a row."""
    type = weight.type
    assert isinstance(type, QuantizedType)
    rows, inner = type.shape

    def flat(part: str) -> WeightExpression:
        return Applied.of(ops.reshape, (Applied.of(getattr(ops, part), (weight,), {}),), {"shape": (rows,)})

    whole = Applied.of(regrouped, (weight,), {"to": type.element, "group": inner.evaluate({})})
    bytes = Applied.of(ops.reshape, (block_parts(whole)[0],), {"shape": (rows, inner)})
    codes = Applied.of(ops.transpose, (bytes,), {"permutation": (1, 0)})
    return codes, flat("quantized_scales"), None if type.symmetric else flat("quantized_zero_points")


# -- rows


def _rows(context: Context, op: Op, made: _Made) -> Value | Refusal:
    """Rows of a table, out of the very codes that a product reads where one reads the table too."""
    table, indices = op.required("weight"), op.required("indices")
    assert isinstance(table.type, QuantizedType)
    if table.weight is None:
        return Refusal("its table is computed in the graph")
    form = made.forms.get(table.weight)
    if form is None or not context.target.accepts(gather_block_quantized):
        found = multiplied_form(table.type, None, two_bits=False)
        if isinstance(found, Refusal):
            return Refusal(f"{found.reason}; its table is stored as {op.result.tensor.dtype}")
        form = Form(found.element, found.block)
    build = Builder(context.graph, op, op.location)
    gather = gather_block_quantized if context.target.accepts(gather_block_quantized) else gather_blocks
    total = None
    for suffix, expression in form.expressions(table.weight.expression):
        codes = block_parts(expression)[0]
        rows, blocks, bytes = (d.evaluate({}) for d in codes.type.shape)
        flat = Applied.of(ops.reshape, (codes,), {"shape": (rows, blocks * bytes)})
        name = f"{table.weight.name}{suffix}"
        _, scale_values, zero_values = _stored_parts(context, name, expression)
        flat_codes = context.graph.weight(context.program.add_weight(f"{name}.rows", flat))
        attributes = {"bits": _bits(expression), "block": form.block}
        picked = build(gather, flat_codes, indices, scale_values, zero_values, **attributes)
        total = picked if total is None else build(ops.add, total, picked)
    assert total is not None, "a form has one part at least"
    if total.type.shape != op.result.type.shape:
        total = build(ops.slice, total, axis=indices.type.rank, stop=table.type.shape[1])
    if table.type.minimum:
        total = build(ops.add, total, _spread_minimums(context, build, table, indices))
    return total if total.type == op.result.type else build(ops.cast, total, dtype=op.result.tensor.dtype)


def _spread_minimums(context: Context, build: Builder, table: Value, indices: Value) -> Value:
    """The minimums of the chosen rows, each as often as its group is long, or once where there is one a row."""
    type, weight = table.type, table.weight
    assert isinstance(type, QuantizedType)
    assert weight is not None
    rows = build(ops.embedding, _minimums(context, weight), indices)
    if type.group is None:
        return rows
    shape, groups = indices.type.shape, rows.type.shape[-1]
    each = build(ops.reshape, rows, shape=(*shape, groups, 1))
    spread = build(
        ops.reshape, build(ops.expand, each, shape=(*shape, groups, type.group)), shape=(*shape, groups * type.group)
    )
    return build(ops.slice, spread, axis=len(shape), stop=type.shape[1])
