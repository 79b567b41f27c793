"""Rotary embedding, recognized by what it does: on basis vectors its 2x2 rotations and frequencies are read off.

The path from a projection to attention's q or k is linear in the data. Fed with the unit vectors, it gives the matrix
R(p) that multiplies a head at each position p. If every R(p) turns pairs of elements by p times a frequency and leaves
the others alone, the path is `rope` (Su et al. 2021, section 3.2.2), whatever slices and products spelt it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphwright.ir import Builder, DType, Graph, Interpreter, Op, Program, StoredArray, Value, ops
from graphwright.ir.convention import BATCH, SEQUENCE, context_window
from graphwright.ir.interpreter import cone
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.ir.traits import Trait
from graphwright.passes.base import GraphPass, register
from graphwright.passes.raising.probing import has_symbol, integers, positional_values, structure, tables

if TYPE_CHECKING:
    from torch import Tensor

PRODUCTS = frozenset({ops.mul, ops.div})
"""Linear in what depends on tokens where the other operand does not."""
LONGEST = 1 << 13
"""The longest sequence at which a path is evaluated; one that needs more is left as it is."""
PROBED = 1 << 20
"""Elements that are sent down a path at a time."""
POSITIONS = 131
"""How many positions are compared: an odd number past the usual small constants."""
EXACT = 1e-9
"""Rounding of a few double-precision products of numbers of size 1, with room; a wrong frequency is off by far more."""


@dataclass(frozen=True)
class Rotation:
    """What a probe found."""

    interleaved: bool
    scale: float
    frequencies: tuple[float, ...]
    rounding: float
    """How far a frequency was from the float32 number that stands for it."""
    order: tuple[int, ...] = ()
    """Where the elements that are turned come from, if the path also moves them: element i is order[i] of its input."""


@register
@dataclass(frozen=True)
class RaiseRotary(GraphPass):
    """The products and sums that rotate queries and keys become `rope`."""

    name: ClassVar[str] = "raise-rotary"
    findings: ClassVar[tuple[str, ...]] = (
        "rope",
        "raise-rotary",
    )

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        return _raise_in_graph(program, graph)


def _raise_in_graph(program: Program, graph: Graph) -> Outcome:
    outcome = Outcome()
    positional = positional_values(graph)
    order = {op: i for i, op in enumerate(graph)}
    answers: dict[object, Rotation | str] = {}
    weights: dict[tuple[object, ...], Value] = {}
    done: set[Value] = set()
    for op in list(graph):
        if op.definition is not ops.attention:
            continue
        for name in ("q", "k"):
            candidates = [op.required(name)]
            while candidates:
                rotated = candidates.pop()
                source = None if rotated in done else _source(rotated, positional, order)
                if source is None:
                    candidates += _parts(rotated)
                    continue
                done.add(rotated)
                key = structure(rotated, (source,), positional)
                if key not in answers:
                    answers[key] = _probe(program, rotated, source)
                answer = answers[key]
                if isinstance(answer, str):
                    outcome.miss("raise-rotary", op, 2, f"{name}: {answer}")
                    candidates += _parts(rotated)
                    continue
                new = _build(program, graph, rotated, source, answer, weights)
                graph.replace(rotated, new)
                done.add(new)
                outcome.hit("rope", rotated.owner)
    return outcome


def _parts(value: Value) -> list[Value]:
    """What a head is put together from along its elements, before it is repeated for other heads."""
    op = value.owner
    if op is None or value.type.rank != 4:
        return []
    if op.definition is ops.expand and op.inputs[0].type.rank == 4:
        return [op.inputs[0]]
    joined = op.definition is ops.concat and op.attributes["axis"] in (3, -1)
    return list(op.inputs) if joined else []


def _source(rotated: Value, positional: Callable[[Value], bool], order: dict[Op, int]) -> Value | None:
    """The nearest heads from which all that is rotated comes by linear ops, products with positions among them.

    If there are none, the nearest single value, for a near miss to name.
    """
    frontier: set[Value] = {rotated}
    seen_product = False
    single: Value | None = None
    while True:
        if seen_product and len(frontier) == 1:
            (value,) = frontier
            single = single or value
            if value.type.shape[-1] is rotated.type.shape[-1] and value.type.rank in (3, 4):
                return value
        latest = max(frontier, key=lambda v: order.get(v.owner, -1) if v.owner else -1)
        op = latest.owner
        if op is None or not _is_followed(op):
            return single
        data = [v for v in op.inputs if not positional(v)]
        if op.definition in PRODUCTS:
            if len(data) != 1 or (op.definition is ops.div and op.operands[0] is not data[0]):
                return single
            other = next(v for v in op.inputs if v is not data[0])
            seen_product |= has_symbol(other, SEQUENCE)
        elif len(data) != len(op.inputs):
            return single
        # every result of a split stands for its one operand
        frontier = {v for v in frontier if v.owner is not op} | set(data)


def _is_followed(op: Op) -> bool:
    """Whether an op may be part of a rotation; the one that repeats heads is not, as `_parts` looks behind it."""
    definition = op.definition
    in_place = definition.has(Trait.ELEMENTWISE) or definition.has(Trait.MOVES)
    linear = in_place and definition.has(Trait.LINEAR) and definition is not ops.expand
    return linear or definition in PRODUCTS


def _probe(program: Program, rotated: Value, source: Value) -> Rotation | str:
    """Evaluates the path from source to rotated on every unit vector at the first positions, then on one far beyond."""
    out, into = rotated.type, source.type
    size = out.shape[3].constant if out.rank == 4 else None
    if size is None or into.rank not in (3, 4) or into.shape[-1] is not out.shape[3]:
        return f"the path leads from {into} to {out}, not from head to head"
    token_axis = next((i for i, d in enumerate(into.shape) if SEQUENCE in d.symbols), -1)
    heads = into.shape[3 - token_axis].constant if token_axis in (1, 2) and into.rank == 4 else None
    heads = 1 if into.rank == 3 and token_axis == 1 and out.shape[1].constant == 1 else heads
    if heads is None or into.shape[0] is not out.shape[0] or SEQUENCE not in out.shape[2].symbols:
        return f"the path leads from {into} to {out}, whose axes are not understood"
    casts = [op.result.tensor.dtype for op in cone([rotated], {source: None}) if op.definition is ops.cast]
    narrow = next((d for d in casts if d.is_float and d.bits < rotated.tensor.dtype.bits), None)
    if narrow is not None:
        return f"it is rounded to {narrow} on the way"
    count = min(POSITIONS, _far(program, rotated, source))
    turned: list[Tensor] = []
    step = max(1, PROBED // (heads * count * size))
    for first in range(0, size, step):
        vectors = torch.eye(size, dtype=torch.float64)[first : first + step]
        rows = vectors.shape[0]
        shape = [rows, count, heads, size] if token_axis == 1 else [rows, heads, count, size]
        basis = vectors.reshape(rows, 1, 1, size).expand(shape)
        basis = basis[:, :, 0] if into.rank == 3 else basis
        result = Interpreter("float64").run_cone({source: basis}, [rotated], {BATCH: rows, SEQUENCE: count})[0]
        if not torch.equal(result, result[:, :1].expand_as(result)):
            return "heads are rotated differently"
        turned.append(result[:, 0].clone())
    found = classify(torch.cat(turned).permute(1, 2, 0))
    if isinstance(found, str):
        return found
    return _contradiction(program, rotated, source, found, token_axis, heads, size) or found


def _contradiction(
    program: Program, rotated: Value, source: Value, found: Rotation, token_axis: int, heads: int, size: int
) -> str | None:
    """What speaks against a rotation at positions past every switch and to the end of every table on the path."""
    length = _far(program, rotated, source)
    if length <= POSITIONS:
        length = max(1, length - 10)  # not the length of the first probe: a path may depend on it
    if length > LONGEST:
        return f"it needs {length} positions to show its behaviour, more than {LONGEST}"
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((1, heads, length, size), generator=generator, dtype=torch.float64)
    given = x.transpose(1, 2) if token_axis == 1 else x
    given = given[:, :, 0] if source.type.rank == 3 else given
    result = Interpreter("float64").run_cone({source: given}, [rotated], {BATCH: 1, SEQUENCE: length})[0]
    frequencies = torch.tensor(found.frequencies, dtype=torch.float64)
    attributes = {"interleaved": found.interleaved, "scale": found.scale}
    moved = x[..., list(found.order)] if found.order else x
    expected = ops.rope.evaluate([moved, torch.arange(length)[None], frequencies], attributes)
    error = float((result - expected).abs().max())
    if error > EXACT + 2 * length * found.rounding * abs(found.scale):
        return f"it turns otherwise at some of {length} positions (off by {error:.2g})"
    return None


def _far(program: Program, rotated: Value, source: Value) -> int:
    """A length past every integer that may switch something, and as long as every table; within the context."""
    path = cone([rotated], {source: None})
    switches = any(op.definition.has(Trait.SWITCHES) for op in path)
    numbers = [n + 13 for op in path for n in integers(op)] if switches else []
    lengths = tables(path)
    context = context_window(program)
    limits = [*lengths, *([] if context is None else [context])]
    return min([max([POSITIONS, *numbers, *lengths]), *limits])


def classify(matrices: Tensor) -> Rotation | str:
    """The rotation that matrices [positions, out, in] make at positions 0, 1, 2, …, or why they make none."""
    count, size, _ = matrices.shape
    order = matrices[0].abs().argmax(1)
    if not torch.equal(order.sort().values, torch.arange(size)):
        return "at position 0 it does more than move elements"
    matrices = matrices[:, :, order]
    live = (matrices.abs() > EXACT).any(0)
    paired = [i for i in range(size) if int(live[:, i].sum()) == 2]
    pairs = len(paired) // 2
    if not pairs or paired != list(range(2 * pairs)):
        return "the rotated elements are not the first ones of the head"
    halves = [(i, i + pairs) for i in range(pairs)]
    neighbours = [(2 * i, 2 * i + 1) for i in range(pairs)]
    for interleaved, layout in ((False, halves), (True, neighbours)):
        if not all(bool(live[b, a]) and bool(live[a, b]) for a, b in layout):
            continue
        one = matrices[1]
        scale = float(torch.hypot(one[0, 0], one[layout[0][1], 0]))
        turns = torch.stack([torch.atan2(one[b, a], one[a, a]) for a, b in layout])
        # the frequencies as the model holds them: float32
        frequencies = turns.float()
        expected = _matrices(frequencies.double(), layout, scale, count, size)
        error = float((matrices - expected).abs().max())
        if error > _bound(frequencies, turns, count):
            return f"positions do not turn by their frequencies (off by {error:.2g})"
        rounding = float((frequencies.double() - turns).abs().max())
        places = tuple(int(i) for i in order)
        moved = () if places == tuple(range(size)) else places
        return Rotation(interleaved, scale, tuple(float(f) for f in frequencies), rounding, moved)
    return "elements are paired neither by halves nor with their neighbours"


def _bound(frequencies: Tensor, turns: Tensor, count: int) -> float:
    """What rounding the frequencies to float32 may move the last position by, and the rounding of the probe."""
    return EXACT + 2 * count * float((frequencies.double() - turns).abs().max())


def _matrices(frequencies: Tensor, layout: list[tuple[int, int]], scale: float, count: int, size: int) -> Tensor:
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies
    matrices = torch.eye(size, dtype=torch.float64).repeat(count, 1, 1)
    a, b = (torch.tensor(side) for side in zip(*layout, strict=True))
    matrices[:, a, a] = matrices[:, b, b] = scale * angles.cos()
    matrices[:, b, a] = scale * angles.sin()
    matrices[:, a, b] = -scale * angles.sin()
    return matrices


def _build(
    program: Program,
    graph: Graph,
    rotated: Value,
    source: Value,
    rotation: Rotation,
    weights: dict[tuple[object, ...], Value],
) -> Value:
    assert rotated.owner is not None
    build = Builder(graph, rotated.owner, rotated.owner.location)

    def stored(name: str, numbers: tuple[float, ...], array: Tensor) -> Value:
        if (name, *numbers) not in weights:
            weights[name, *numbers] = graph.weight(program.add_weight(name, StoredArray.of(array)))
        return weights[name, *numbers]

    frequencies = torch.tensor(rotation.frequencies, dtype=torch.float32)
    x = source
    if source.type.rank == 3:
        x = build(ops.split_heads, x, heads=1)
    elif SEQUENCE in source.type.shape[1].symbols:
        x = build(ops.transpose, x, permutation=(0, 2, 1, 3))
    if rotation.order:
        x = build(ops.gather, x, stored("rope.order", rotation.order, torch.tensor(rotation.order)), axis=3)
    sequence = rotated.type.shape[2]
    positions = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I64), shape=(1, sequence))
    return build(
        ops.rope,
        x,
        positions,
        stored("rope.frequencies", rotation.frequencies, frequencies),
        interleaved=rotation.interleaved,
        scale=rotation.scale,
    )
