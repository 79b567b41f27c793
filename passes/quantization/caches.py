"""The KV caches of a graph: what is appended to each, who reads it, and whether it holds keys or values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from graphwright.ir import Graph, Op, StateType, Value, ops
from graphwright.ir.convention import PAST

Role = Literal["keys", "values"]
_ROLES: dict[str, Role] = {"k": "keys", "v": "values"}


@dataclass(frozen=True)
class Cache:
    """A cache of floats that the graph appends to.

    `reads` are the `kv_read`s and attentions of what it holds afterwards; `joins` those that put what a ring held
    before together with the new tokens.
    """

    past: Value
    append: Op
    role: Role
    reads: tuple[Op, ...]
    joins: tuple[Op, ...]

    @property
    def name(self) -> str:
        """`0.key` of the input `past.0.key`."""
        return str(self.past.name).removeprefix(PAST)

    @property
    def new(self) -> Value:
        return self.append.required("new")

    def replace_reads(self, graph: Graph, numbers: Value) -> None:
        """Whoever reads what the cache holds afterwards gets these numbers."""
        for op, i in list(self.append.result.uses):
            if op.definition is ops.kv_read:
                graph.replace(op.result, numbers)
            else:
                graph.set_operand(op, i, numbers)


@dataclass(frozen=True)
class Unfit:
    """A state that cannot hold codes: an op that uses it, and why."""

    op: Op
    reason: str


def find_caches(graph: Graph) -> Iterator[Cache | Unfit]:
    """Every state of floats that goes into the graph, in order."""
    for value in graph.inputs:
        if isinstance(value.type, StateType) and value.type.dtype.is_float and value.users:
            yield _cache(value, value.type)


def _cache(past: Value, type: StateType) -> Cache | Unfit:
    if type.layout == "recurrent":
        return Unfit(
            past.users[0], f"'{past.name}' is a recurrent state, where each token would add an error to the last"
        )
    appends = [op for op in past.users if op.definition is ops.kv_append]
    if len(appends) != 1:
        return Unfit(past.users[0], f"{len(appends)} ops append to '{past.name}'")
    append = appends[0]
    before = [op for op in past.users if op is not append]
    joins = [user for read in before for user in read.results[0].users]
    if any(not _joins(user, append.required("new")) for user in joins):
        return Unfit(append, f"'{past.name}' is read by itself before the new tokens are in it")
    reads = append.result.users
    roles = _roles([append.result, *(op.result for op in joins)])
    if len(roles) != 1:
        reason = "no attention reads it" if not roles else "keys and values both are made from it"
        return Unfit(append, f"'{past.name}' stays as it is: {reason}")
    return Cache(past, append, roles.pop(), tuple(reads), tuple(joins))


def _joins(op: Op, new: Value) -> bool:
    return op.definition is ops.concat and op.attributes["axis"] == 2 and len(op.inputs) == 2 and op.inputs[1] is new


def _roles(values: list[Value]) -> set[Role]:
    """What attentions make of these values, be it directly or by way of other ops."""
    found: set[Role] = set()
    seen = set(values)
    pending = list(values)
    while pending:
        value = pending.pop()
        for op, i in value.uses:
            if op.definition is ops.attention:
                if (role := _ROLES.get(op.definition.operands[i].name)) is not None:
                    found.add(role)
                continue
            fresh = [r for r in op.results if r not in seen]
            seen.update(fresh)
            pending += fresh
    return found
