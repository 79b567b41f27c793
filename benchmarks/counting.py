"""An interpreter that counts: the bytes of the tensors that each op really reads and writes, weights, activations and
caches apart.

What an op picks is counted from the indices that it has got, not from its declaration's cost: rows of a table, places
of a ring, the experts that tokens have chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from graphwright.ir import DType, Interpreter, Op, QuantizedType, StateType, Value
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import QuantizedTensor

if TYPE_CHECKING:
    from torch import Tensor

Operands = Mapping[str, "Tensor"]
Elements = dict[str | int, int]
"""How many elements an op reads of the operands of these names, or writes of the results with these numbers."""


class CountingInterpreter(Interpreter):
    """`bits` has what the runs since it was made have read and written of `weight`, `activation` and `cache`."""

    def __init__(self) -> None:
        super().__init__("reference")
        self.bits: Counter[str] = Counter()

    @property
    def bytes(self) -> dict[str, int]:
        """`bits` in whole bytes."""
        return {part: -(-self.bits[part] // 8) for part in ("weight", "activation", "cache")}

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        results = super().run_op(op, operands, bindings)
        if op.definition.view or _is_literal(op):
            return results
        names = [o.name for o in op.definition.operands]
        given = {} if op.definition.variadic else {n: t for n, t in zip(names, operands, strict=True) if t is not None}
        moved = PICKS[op.name](op, given, results) if op.name in PICKS else {}
        for i, (value, tensor) in enumerate(zip(op.operands, operands, strict=True)):
            if value is not None and tensor is not None:
                elements = moved.get("*" if op.definition.variadic else names[i])
                self.bits[_part(value)] += _bits(value, tensor, elements)
        for i, (value, tensor) in enumerate(zip(op.results, results, strict=True)):
            self.bits[_part(value)] += _bits(value, tensor, moved.get(i))
        return results


def _part(value: Value) -> str:
    """Whose memory a value lies in: where what it is a view of comes from."""
    while value.owner is not None and value.owner.definition.view:
        value = value.owner.inputs[0]
    if value.weight is not None:
        return "weight"
    return "cache" if isinstance(value.type, StateType) else "activation"


def _bits(value: Value, tensor: Tensor | QuantizedTensor, elements: int | None) -> int:
    """Bits of so many elements, all if None; scales, zero points and minimums of quantized ones go with them."""
    if isinstance(tensor, QuantizedTensor):
        codes = tensor.codes.numel()
        groups = tensor.scales.numel() * tensor.type.scale_dtype.bits
        groups += 0 if tensor.zero_points is None else tensor.zero_points.numel() * tensor.type.element.bits
        groups += 0 if tensor.minimums is None else tensor.minimums.numel() * tensor.type.scale_dtype.bits
        share = codes if elements is None else elements
        whole = 0 if tensor.tensor_scale is None else tensor.tensor_scale.numel() * DType.F32.bits
        return share * tensor.type.element.bits + groups * share // codes + whole
    return (tensor.numel() if elements is None else elements) * _width(value, tensor)


def _width(value: Value, tensor: Tensor) -> int:
    """Bits of an element. torch holds elements of fewer than eight bits in wider ones."""
    assert not isinstance(value.type, QuantizedType), f"{value.type} is held by a plain tensor"
    return min(value.type.dtype.bits, tensor.element_size() * 8)


def _is_literal(op: Op) -> bool:
    """A constant of fixed shape is written in the program, not computed."""
    return op.name == "constant" and op.result.type.elements.constant is not None


def _rows(operand: str, index: str, axis: int | None = None) -> Callable[[Op, Operands, list[Tensor]], Elements]:
    """One entry of the operand's axis for each index; `axis` None is the op's attribute."""

    def count(op: Op, given: Operands, results: list[Tensor]) -> Elements:
        table = given[operand]
        along = op.attributes["axis"] if axis is None else axis
        assert isinstance(along, int)
        return {operand: given[index].numel() * (table.numel() // table.shape[along])}

    return count


def _result(operand: str) -> Callable[[Op, Operands, list[Tensor]], Elements]:
    """One element of the operand for each of the result."""
    return lambda op, given, results: {operand: results[0].numel()}


def _append(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """The places that hold a new token afterwards."""
    cache, past = given["cache"], given["past_length"]
    if "new_length" not in given:
        places = past.numel() * given["new"].shape[2]
    else:
        taken = given["new_length"].clamp(max=cache.shape[2])
        places = int(taken.sum())
    elements = places * cache.shape[1] * cache.shape[3]
    return {"cache": 0, "new": elements, 0: elements}


def _rotations(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    tokens = given["positions"].numel()
    return {name: tokens * given[name].shape[1] for name in ("cos", "sin")}


def _positions_of_masks(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """Who sees all keys looks at no positions."""
    return {"positions": 0} if op.attributes["mask"] == "full" else {}


def _attention_with_cache(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """Besides the whole cache, a row of the tables and a place of the cache for each new token."""
    batch, sequence, _ = given["query"].shape
    _, heads, _, size = given["past_key"].shape
    new = batch * sequence * heads * size
    tables = {name: batch * sequence * given[name].shape[1] for name in ("cos", "sin") if name in given}
    return {**tables, 1: new, 2: new}


def _packed_row(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """Of each row the columns of queries, keys and values; a place of each cache, and of one of scales, for each token
    that is kept."""
    batch, sequence, _ = given["packed"].shape
    kept = batch * sequence
    if "new_length" in given:
        kept = int(given["new_length"].clamp(max=given["key_cache"].shape[2]).sum())
    caches = {i: kept * cache.shape[1] * cache.shape[3] for i, cache in enumerate(results[1:], 1)}
    # A byte holds the codes of two columns.
    columns = sum(cache.shape[1] * cache.shape[3] * (2 if cache.dtype == torch.uint8 else 1) for cache in results[1:3])
    unread = {"key_cache": 0, "value_cache": 0, **({"value_scale": 0} if len(results) == 4 else {})}
    return {"packed": results[0].numel() + batch * sequence * columns, **unread, **caches}


def _attended_row(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """Besides the whole caches, of each row the columns of queries, keys and values; a place of each cache for each."""
    batch, sequence, _ = given["packed"].shape
    new = [batch * sequence * cache.shape[1] * cache.shape[3] for cache in results[1:]]
    queries = batch * sequence * op.attribute("heads", int) * results[1].shape[3]
    return {"packed": queries + sum(new[:2]), **dict(enumerate(new, 1))}


def _experts(chosen: Callable[[Operands], Tensor]) -> Callable[[Op, Operands, list[Tensor]], Elements]:
    """Of every stack of matrices those that some token has chosen."""

    def count(op: Op, given: Operands, results: list[Tensor]) -> Elements:
        experts = len(set(chosen(given).flatten().tolist()))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - untyped library
        stacks = ("gate_up", "down", "gate_up_bias", "down_bias")
        return {name: experts * given[name][0].numel() for name in stacks if name in given}

    return count


def _block_rows(op: Op, given: Operands, results: list[Tensor]) -> Elements:
    """A row of codes, of scales and of zero points for each index."""
    tables = (name for name in ("codes", "scales", "zero_points") if name in given)
    return {name: given["indices"].numel() * given[name].shape[1] for name in tables}


PICKS: dict[str, Callable[[Op, Operands, list[Tensor]], Elements]] = {
    "attention": _positions_of_masks,
    "cpu.attention": _positions_of_masks,
    "embedding": _rows("weight", "indices", 0),
    "quantized_embedding": _rows("weight", "indices", 0),
    "gather": _rows("x", "indices"),
    "gather_elements": _result("x"),
    "take_tokens": lambda op, given, results: {"x": given["positions"].numel() * given["x"].shape[2]},
    "slice": _result("x"),
    "kv_append": _append,
    "moe_experts": _experts(lambda given: given["indices"]),
    "cpu.gated_columns": lambda op, given, results: {"packed": 2 * results[0].numel()},
    "cpu.rotary_append": _packed_row,
    "cuda.append_attention": _attended_row,
    "cuda.attention": _positions_of_masks,
    "cuda.rotary_append": _packed_row,
    "onnx.rotary_embedding": _rotations,
    "onnx.gather_ring": lambda op, given, results: {"x": given["index"].numel() * given["x"].shape[3]},
    "ort.gather_block_quantized": _block_rows,
    "onnx.gather_blocks": _block_rows,
    "ort.group_query_attention": _attention_with_cache,
    "ort.chosen_experts": _experts(lambda given: torch.argmax(given["router"], -1)),
}
"""The ops that move less, or more, than their operands and results whole."""
