"""Which output of a language model holds its logits, told by shapes and by the table that the token ids index."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.export import ExportedProgram

from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.traced_graph import Node, is_operator, operator_name, result_nodes, traced_value
from graphwright.ir import Dim, TensorType, UnsupportedError, UserError
from graphwright.ir.convention import BATCH, LOGITS, SEQUENCE
from graphwright.ir.dims import product

B, S = Dim.of(BATCH), Dim.of(SEQUENCE)


SAY_WHICH = "say which: --logits NAME, in Python logits=NAME"

# fmt: off
_KEEPS_IDS = frozenset((
    "view", "reshape", "_unsafe_view", "flatten", "unsqueeze", "squeeze", "expand", "transpose", "t", "permute",
    "movedim", "contiguous", "clone", "alias", "detach", "to", "_to_copy", "type_as", "int", "long", "slice",
    "select", "narrow", "cat", "stack", "pad", "constant_pad_nd", "clamp", "clamp_min", "clamp_max", "where",
    "masked_fill", "remainder", "fmod", "add", "sub", "abs", "maximum", "minimum", "roll", "chunk", "split", "unbind",
    "getitem", "lift_fresh_copy",
))
# fmt: on
"""Operators whose integer results are still token ids: moved, cast, shifted by special tokens, kept in range."""


@dataclass(frozen=True)
class Candidate:
    """An output that may be the logits: its place among the outputs, and its type."""

    place: int
    type: TensorType

    @property
    def columns(self) -> tuple[int, ...]:
        """The axes that have a constant length of more than one: the vocabulary, where there is one alone."""
        return tuple(i for i, d in enumerate(self.type.shape) if d.constant not in (None, 1))

    @property
    def over(self) -> tuple[Dim, ...]:
        """The other axes, without those of one element."""
        return tuple(d for d in self.type.shape if d.constant is None)

    @property
    def vocabulary(self) -> int | None:
        """The length of the axis that holds a number for each token of the vocabulary; None if no axis can."""
        return self.type.shape[self.columns[0]].constant if len(self.columns) == 1 else None

    @property
    def is_row_a_token(self) -> bool:
        """[B, S, V] in any order of its axes, batch and sequence folded or not."""
        return self.vocabulary is not None and len(self.over) <= 2 and product(self.over) is B * S

    @property
    def is_last_token(self) -> bool:
        """[B, V], axes of one element aside."""
        return self.vocabulary is not None and self.over == (B,)


@dataclass(frozen=True)
class Choice:
    """The places of the outputs that are the logits: one, or chunks along the tokens. None of them: no language model.

    `problem` says why it is not plain that they are, or that it is not a language model.
    """

    places: tuple[int, ...] = ()
    problem: str | None = None


class NoLogits(UnsupportedError):
    """A module of the token ids of one sequence returns nothing that is surely logits."""


def choose_logits(
    exported: ExportedProgram, dimensions: Dimensions, names: Sequence[str], asked: str | None, ids: str
) -> Choice:
    """The outputs of a module of token ids alone (its input `ids`) that are its logits.

    They are what the user asked for by name; or else the output whose last axis is as long as the table that the ids
    index has rows, with a row a token; or else the last token's; of several that which is named `logits`. The only
    output with a row a token is, if no table is found; if one is, and its rows are more, it may be hidden states.
    Raises `UserError` for a name that does not exist or cannot be.

    A module of the ids [S] of one sequence is judged by what it returns for each row of a batch. Integers of one axis
    are also other things than tokens: raises `NoLogits` where neither table nor name tells that these are.
    """
    results = result_nodes(exported)
    lead = (B,) if is_one_sequence(exported, ids) else ()
    types = {name: _type(dimensions, node, lead) for name, node in zip(names, results, strict=True)}
    found = {n: Candidate(i, t) for i, (n, t) in enumerate(types.items()) if t is not None and t.dtype.is_float}
    if asked is not None:
        return _asked(asked, types, found)
    rows = table_rows(exported, ids)
    for every in (True, False):
        fitting = {n: c for n, c in found.items() if (c.is_row_a_token if every else c.is_last_token)}
        matching = {name: c for name, c in fitting.items() if c.vocabulary in rows}
        distinct = {results[c.place]: name for name, c in reversed(matching.items())}
        if LOGITS in fitting:
            return Choice((fitting[LOGITS].place,))
        if len(distinct) == 1:
            return Choice((matching[next(iter(distinct.values()))].place,))
        if len(distinct) > 1:
            listed = listing({name: types[name] for name in matching})
            return Choice(problem=f"several of its outputs may be the logits ({listed}): {SAY_WHICH}")
        chunks = _chunks(names, found, rows)
        if chunks:
            return Choice(chunks)
    if lead:
        sizes = " or ".join(map(str, sorted(rows))) or "as many numbers as there are tokens"
        raise NoLogits(
            f"of a sequence of token ids [S] it returns {listing(types)}: none has a row a token of {sizes}, as logits "
            f"have; {SAY_WHICH}"
        )
    if not any(c.is_row_a_token for c in found.values()):
        return Choice()
    only = next(iter(found.values())) if len(types) == 1 else None
    if not rows:
        return Choice() if only is None else Choice((only.place,))
    sizes = " or ".join(map(str, sorted(rows)))
    listed = listing(types)
    problem = (
        f"none of its outputs has a row a token of {sizes} numbers, as many as the table of token ids has "
        f"rows (it returns {listed}): {SAY_WHICH}"
    )
    # an only output keeps the form of logits, which it is if someone says so
    narrow = only is not None and (only.vocabulary or 0) < max(rows)
    return Choice((only.place,) if only is not None and narrow else (), problem)


def _asked(asked: str, types: Mapping[str, TensorType | None], found: Mapping[str, Candidate]) -> Choice:
    if asked not in types:
        raise UserError(f"there is no output '{asked}' to take for the logits: the module returns {listing(types)}")
    chosen = found.get(asked)
    if chosen is None or not (chosen.is_row_a_token or chosen.is_last_token):
        raise UserError(
            f"output '{asked}' ({types[asked] or 'a type that the IR lacks'}) cannot be the logits: they are floats "
            f"with an axis for the batch, one for the tokens and one for the vocabulary; the module returns "
            f"{listing(types)}"
        )
    return Choice((chosen.place,))


def listing(types: Mapping[str, object]) -> str:
    """Outputs with their types, in a line."""
    shown = [f"{name}: {type or 'of another type'}" for name, type in types.items()]
    return ", ".join(shown[:12]) + (f", and {len(shown) - 12} more" if len(shown) > 12 else "")


def _type(dimensions: Dimensions, node: Node, lead: tuple[Dim, ...]) -> TensorType | None:
    fake = traced_value(node)
    try:
        type = dimensions.type(fake) if isinstance(fake, torch.Tensor) and not fake.is_complex() else None
    except UnsupportedError:
        return None
    return None if type is None else type.with_shape(*lead, *type.shape)


def is_one_sequence(exported: ExportedProgram, ids: str) -> bool:
    """Whether the token ids that a traced module takes have no batch: one axis."""
    return any(n.op == "placeholder" and n.name == ids and traced_value(n).dim() == 1 for n in exported.graph.nodes)


def _chunks(names: Sequence[str], found: Mapping[str, Candidate], rows: Collection[int]) -> tuple[int, ...]:
    """The outputs of one list that are the logits piece by piece: [B, s, V] each, the s together S."""
    lists: dict[str, list[str]] = {}
    for name in names:
        head, _, last = name.rpartition(".")
        if last.isdigit():
            lists.setdefault(head, []).append(name)
    fitting: list[tuple[int, ...]] = []
    for members in lists.values():
        parts = [found.get(name) for name in members]
        shapes = [part.type.shape for part in parts if part is not None]
        if len(shapes) != len(members) or any(len(s) != 3 or s[0] is not B for s in shapes):
            continue
        columns = {s[2] for s in shapes}
        if len(columns) == 1 and columns.pop().constant in rows and sum((s[1] for s in shapes), Dim.of(0)) is S:
            fitting.append(tuple(part.place for part in parts if part is not None))
    return fitting[0] if len(fitting) == 1 else ()


def table_rows(exported: ExportedProgram, ids: str) -> set[int]:
    """The numbers of rows of the tables that the token ids index, by looking up or as one-hot vectors."""
    derived: set[Node] = {node for node in exported.graph.nodes if node.op == "placeholder" and node.name == ids}
    rows: set[int] = set()
    for node in exported.graph.nodes:
        if node.op != "call_function" or not any(n in derived for n in node.all_input_nodes):
            continue
        name = operator_name(node).removeprefix("aten.").partition(".")[0]
        length = _indexed(name, node, derived) if is_operator(node) else None
        if length is not None:
            rows.add(length)
        elif name in _KEEPS_IDS and _is_integer(traced_value(node)):
            derived.add(node)
    return rows


def _indexed(name: str, node: Node, derived: set[Node]) -> int | None:
    """The length of the axis that an operator picks from by token ids; None if it does not."""
    arguments: Any = node.args
    if name == "embedding":
        return _constant(traced_value(arguments[0]).shape[0]) if arguments[1] in derived else None
    if name == "index" and arguments[0] not in derived:
        axis = next((i for i, index in enumerate(arguments[1]) if index in derived), None)
        return None if axis is None else _constant(traced_value(arguments[0]).shape[axis])
    if name in ("index_select", "gather") and arguments[2] in derived:
        return _constant(traced_value(arguments[0]).shape[arguments[1]])
    shape: Any = getattr(traced_value(node), "shape", ())
    if name == "one_hot" or (name == "eq" and len(shape) == 3):
        return _constant(shape[-1])
    if name in ("scatter", "scatter_") and arguments[2] in derived:
        return _constant(shape[arguments[1]])
    return None


def _constant(size: int | torch.SymInt) -> int | None:
    return size if isinstance(size, int) and size > 1 else None


def _is_integer(value: Any) -> bool:
    parts = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else [value]
    first = parts[0] if parts else None
    return isinstance(first, torch.Tensor) and not first.is_floating_point() and first.dtype is not torch.bool
