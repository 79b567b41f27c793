"""Products with weights take in the norm before them, and the gated unit and the residual sum behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.dims import product
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.targets import Target
from graphwright.ir.types import QuantizedType
from graphwright.ir.weights import Applied
from graphwright.passes.base import handed_in, register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass, splits_rows
from graphwright.passes.lowering.expert_floats import write_experts_as_floats

RULE = fused_linear.name
NORM = f"{RULE}: norm before"
GATED = f"{RULE}: gated unit behind"
RESIDUAL = f"{RULE}: residual behind"
FLOATS = f"{RULE}: codes written as floats"
ROWS = f"{RULE}: rows of codes"


@register
@dataclass(frozen=True)
class FuseLinears(KernelPass):
    """`linear` becomes `cuda.linear`, and takes in `rms_norm` of what it reads, `glu` of its halves and a residual.

    Codes that no kernel reads are written as floats of the type that the product computes in. The norm is computed
    again by every block of threads: only graphs of at most `most_rows` rows take it in.
    """

    target: Target = field(metadata=handed_in("cuda"))
    name: ClassVar[str] = "cuda-linears"
    findings: ClassVar[tuple[str, ...]] = (RULE, NORM, GATED, RESIDUAL, FLOATS, ROWS)
    most_rows: int = 16

    def lower(self, context: Context) -> None:
        for op in context.graph:
            if op.definition is ops.linear:
                self._fuse(context, op)
            elif op.definition is ops.quantized_embedding:
                _rows_of_floats(context, op)
            elif op.definition is ops.moe_experts:
                problem = write_experts_as_floats(context, op)
                if problem is not None:
                    context.near_miss(FLOATS, op, problem)

    def _fuse(self, context: Context, op: Op, unread: str | None = None) -> None:
        """Replaces a product. `unread` says why its weight is floats in place of the codes that it was."""
        graph = context.graph
        norm, no_norm = _norm_before(op, graph, self.most_rows)
        gated, no_gate = _gated_behind(op, graph)
        last = op if gated is None else gated
        total, no_total = _residual_behind(last, graph)
        x, weight, bias = op.operands
        attributes: dict[str, Attribute] = {}
        if norm is not None:
            attributes["epsilon"] = norm.attributes["epsilon"]
        if gated is not None:
            attributes |= {"gated": True, "kind": gated.attributes["kind"]}
        residual = None
        if total is not None:
            residual = next(v for v in total.inputs if v is not last.result)
            last = total
        new = Builder(graph, last, op.location).op(
            fused_linear,
            x if norm is None else norm.required("x"),
            weight,
            bias,
            None if norm is None else norm.required("weight"),
            residual,
            **attributes,
        )
        problem = context.target.refusal(new)
        floats = None if problem is None else _floats(context, op)
        if floats is not None:
            graph.erase(new)
            graph.set_operand(op, 1, floats)
            self._fuse(context, op, problem)
            return
        if not context.takes(RULE, op, new):
            return
        graph.replace(last.result, new.result)
        graph.erase_dead([last])
        context.spelt(RULE, new)
        if unread is not None:
            context.near_miss(FLOATS, new, unread)
        for rule, part, reason in ((NORM, norm, no_norm), (GATED, gated, no_gate), (RESIDUAL, total, no_total)):
            if part is not None:
                context.hit(rule, new)
            elif reason:
                context.near_miss(rule, new, reason)


def _rows_of_floats(context: Context, op: Op) -> None:
    """Rows of a table of codes that no kernel reads, of its numbers."""
    problem = context.target.refusal(op)
    floats = None if problem is None else _floats(context, op)
    if problem is not None and floats is not None:
        context.near_miss(ROWS, op, problem)
        rows = Builder(context.graph, op, op.location)(ops.embedding, floats, op.required("indices"))
        context.graph.replace(op.result, rows)
        context.graph.erase_dead([op])


def _floats(context: Context, op: Op) -> Value | None:
    """The numbers of stored codes, in the type of the result; None if the op reads none."""
    weight = op.required("weight")
    if weight.weight is None or not isinstance(weight.type, QuantizedType):
        return None
    dtype = op.result.tensor.dtype
    floats = Applied.of(ops.dequantize, (weight.weight.expression,), {"dtype": dtype})
    return context.graph.weight(context.program.add_weight(f"{weight.weight.name}.{dtype}", floats))


def _norm_before(op: Op, graph: Graph, most_rows: int) -> tuple[Op | None, str]:
    """The norm that the product reads, if it can be computed inside; else why not, if there is one."""
    norm = op.required("x").defined_by(ops.rms_norm)
    if norm is None:
        return None, ""
    other = next((user for user in norm.result.users if user.definition is not ops.linear), None)
    if other is not None or graph.is_output(norm.result):
        return None, f"{'an output' if other is None else other.name} reads the norm too"
    rows = product(norm.result.type.shape[:-1])
    count = rows.constant
    if count is None or count > most_rows:
        return None, f"{rows} rows: each block of threads would compute the norm again"
    return norm, ""


def _gated_behind(op: Op, graph: Graph) -> tuple[Op | None, str]:
    """The gated unit of the first half of the product's columns and the second; else why there is none."""
    split = _only_user(op.result, graph)
    if split is None or split.definition is not ops.split or not splits_rows(split) or len(split.results) != 2:
        return None, ""
    gate, up = split.results
    unit = next((user for user in gate.users if user.definition is ops.glu), None)
    if unit is None or up not in unit.inputs:
        return None, ""
    if tuple(unit.inputs) != (gate, up):
        return None, "the gate is the second half of the columns"
    if _only_user(gate, graph) is not unit or _only_user(up, graph) is not unit:
        return None, "what the gate lets through is read by others too"
    return unit, ""


def _residual_behind(last: Op, graph: Graph) -> tuple[Op | None, str]:
    """The sum of the result and another value of its type; else why there is none."""
    total = _only_user(last.result, graph)
    if total is None or total.definition is not ops.add:
        return None, ""
    others = [v for v in total.inputs if v is not last.result]
    if len(others) != 1 or others[0].weight is not None:
        return None, ""
    if others[0].type != last.result.type:
        return None, f"it is added to {others[0].type}"
    return total, ""


def _only_user(value: Value, graph: Graph) -> Op | None:
    """The op that reads the value, if nothing else does."""
    users = value.users
    return users[0] if len(users) == 1 and not graph.is_output(value) else None
