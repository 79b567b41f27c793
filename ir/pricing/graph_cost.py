"""The cost of a graph: those of its ops, alike ones counted, and the bytes told apart by what they hold."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graphwright.ir.cost import ZERO, Cost, Size
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Op
from graphwright.ir.pricing.buffers import Buffers, Part
from graphwright.ir.types import DType, TensorType

PARTS: tuple[Part, ...] = ("weight", "activation", "cache")


MOST_KNOWN = 4096


@dataclass(frozen=True)
class OpCost:
    """What one op costs, in the graph's symbols; sums are written as tuples."""

    op: str
    dtype: DType
    """The element type that it computes in."""
    flops: Dim
    moved: tuple[tuple[Size, ...], tuple[Size, ...], tuple[Size, ...]]
    """Bits read and written of weights, of activations, of caches."""
    launches: int


@dataclass(frozen=True)
class Work:
    """What `count` alike ops cost together, in numbers."""

    op: str
    dtype: DType
    count: int
    flops: int
    weight_bits: int
    activation_bits: int
    cache_bits: int
    launches: int

    @property
    def bits(self) -> int:
        return self.weight_bits + self.activation_bits + self.cache_bits


@dataclass(frozen=True)
class GraphCost:
    """How many ops of a graph cost what, as if each value made one trip to memory for each op that reads it."""

    ops: Counter[OpCost]

    @property
    def flops(self) -> Dim:
        return sum((cost.flops * count for cost, count in self.ops.items()), ZERO)

    @property
    def launches(self) -> int:
        return sum(cost.launches * count for cost, count in self.ops.items())

    @property
    def symbols(self) -> frozenset[str]:
        """What must be bound for numbers."""
        sizes = {size for cost in self.ops for size in (cost.flops, *(s for part in cost.moved for s in part))}
        return frozenset(symbol for size in sizes for symbol in size.symbols)

    def at(self, bindings: Mapping[str, int]) -> list[Work]:
        """In numbers. Raises `UserError` where a symbol is not bound."""
        known: dict[Size, int] = {}

        def number(size: Size) -> int:
            found = known.get(size)
            if found is None:
                found = known[size] = size.evaluate(bindings)
            return found

        def work(cost: OpCost, count: int) -> Work:
            weight, activation, cache = (sum(map(number, part)) * count for part in cost.moved)
            flops, launches = number(cost.flops) * count, cost.launches * count
            return Work(cost.op, cost.dtype, count, flops, weight, activation, cache, launches)

        return [work(cost, count) for cost, count in self.ops.items()]


_KNOWN: dict[object, OpCost] = {}
"""What ops cost as they declare it, by all that the cost depends on."""


def declared_cost(op: Op) -> Cost:
    """What the op's definition says that it costs."""
    return op.definition.price(op)


def graph_cost(
    graph: Graph, buffers: Buffers | None = None, prices: Mapping[Op, Callable[[Op], Cost]] = MappingProxyType({})
) -> GraphCost:
    """The cost of every op of a graph but the views, which are free: what `prices` says of it, else its declared cost.

    A price is asked once for ops that are alike: of the same types, attributes and kinds of operands.
    """
    buffers = buffers or Buffers(graph)
    # A model repeats its layers, and costs are asked after every pass, so most ops are like one before: of the same
    # types, attributes and parts.
    known = {} if prices else _KNOWN
    if len(known) > MOST_KNOWN:
        known.clear()
    ops: Counter[OpCost] = Counter()
    for op in graph:
        if op.definition.view:
            continue
        price = prices.get(op, declared_cost)
        parts: tuple[Part, ...] = tuple([buffers.part(v) for v in (*op.inputs, *op.results)])
        types = tuple(None if v is None else v.type for v in op.operands)
        key = price, op.definition, types, parts, tuple(op.attributes.values())
        cost = known.get(key)
        if cost is None:
            cost = known[key] = _op_cost(op, parts, price(op))
        if cost.launches:
            ops[cost] += 1
    return GraphCost(ops)


def _op_cost(op: Op, parts: tuple[Part, ...], cost: Cost) -> OpCost:
    sizes: dict[Part, list[Size]] = {part: [] for part in PARTS}
    for part, size in zip(parts, (*cost.reads, *cost.writes), strict=True):
        if size is not ZERO:
            sizes[part].append(size)
    weight, activation, cache = (tuple(sizes[part]) for part in PARTS)
    return OpCost(op.name, _dtype(op), cost.flops, (weight, activation, cache), cost.launches)


def _dtype(op: Op) -> DType:
    """That of the first operand that is floating point, else of the result."""
    types = [v.type for v in (*op.inputs, *op.results) if isinstance(v.type, TensorType)]
    return next((t.dtype for t in types if t.dtype.is_float), types[-1].dtype if types else DType.F32)
