"""Ring caches: attention under a window needs of the past only what its window still reaches.

A query sees itself and at most window - 1 tokens before it, so a ring of window - 1 places holds all of the past that
the next token needs. Several new tokens need more: the first of them sees what the last of them will overwrite. So
attention goes over the ring as it was before the new tokens, and those tokens themselves, each key with its position;
only then does the ring take them.
"""

from collections.abc import Iterable

from graphwright.ir import Builder, Dim, Op, StateType, Value, ops
from graphwright.ir.convention import PAST, PRESENT
from graphwright.ir.rewriting import Outcome
from graphwright.passes.kv_cache.cache_placement import cut_behind

WINDOWED = ("sliding", "chunked")


def choose_rings(
    attentions: Iterable[Op], cut: set[Value], context_length: int | None, outcome: Outcome
) -> dict[Value, int]:
    """The cached values that get a ring, with its capacity. Why others under a window have none goes to the outcome.

    Both keys and values of an attention have rings, or neither has; all attentions that read a ring share its window.
    """
    known = list(attentions)
    rings: dict[Op, int] = {}
    for op in known:
        if op.attributes["mask"] in WINDOWED:
            reason = _unfit(op, cut, context_length)
            if reason is None:
                window = op.attribute("window", int)
                rings[op] = max(window - 1, 1)
            else:
                outcome.miss("ring-cache", op, 1, reason)
    readers: dict[Value, list[Op]] = {}
    for op in known:
        for value in {*cut_behind(op.required("k"), cut), *cut_behind(op.required("v"), cut)}:
            readers.setdefault(value, []).append(op)
    settled = False
    while not settled:
        settled = True
        for sharers in readers.values():
            first = sharers[0]
            if all(o in rings and _mask(o) == _mask(first) for o in sharers):
                continue
            for op in filter(rings.__contains__, sharers):
                del rings[op]
                settled = False
                outcome.miss("ring-cache", op, 2, "its cache is read under another mask too")
    return {op.required(name): size for op, size in rings.items() for name in ("k", "v")}


def _mask(op: Op) -> tuple[object, ...]:
    return op.attributes["mask"], op.attributes["window"]


def _unfit(op: Op, cut: set[Value], context_length: int | None) -> str | None:
    """Why an attention under a window cannot have a ring, None if it can."""
    window = op.attribute("window", int)
    if context_length is not None and window > context_length:
        return f"its window of {window} holds the whole context of {context_length} tokens"
    if op.operand("bias") is not None:
        return "its bias is computed for the places of a contiguous cache"
    for name in ("k", "v"):
        if op.required(name) not in cut:
            return f"its {name} is computed again for the places of a contiguous cache"
    return None


class Rings:
    """Builds what attentions and caches share of their rings.

    `past_length` and `new_length` are i64 [B], `positions`, those of the new tokens, i64 [B, S].
    """

    def __init__(self, build: Builder, past_length: Value, new_length: Value, positions: Value) -> None:
        self.build = build
        self.past_length = past_length
        self.new_length = new_length
        self.positions = positions
        self._key_positions: dict[int, Value] = {}
        self._held: dict[str, Value] = {}

    def key_positions(self, capacity: int) -> Value:
        """Positions of what `held` gives: i64 [B, capacity + S].

        Padding stands behind every real query, which therefore does not see it.
        """
        if capacity not in self._key_positions:
            past = self.build(ops.ring_positions, self.past_length, capacity=capacity)
            self._key_positions[capacity] = self.build(ops.concat, past, self.positions, axis=1)
        return self._key_positions[capacity]

    def held(self, name: str, new: Value, capacity: int, presents: dict[str, Value]) -> Value:
        """The ring of that name before the new keys or values [B, heads, S, size], and these: all that queries see.

        Adds the input `past.name`, and to `presents` the ring with the new tokens in it.
        """
        if name not in self._held:
            batch, heads, _, size = new.type.shape
            past = self.build.graph.add_input(
                PAST + name, StateType("ring", new.tensor.with_shape(batch, heads, Dim.of(capacity), size))
            )
            self._held[name] = self.build(ops.concat, self.build(ops.kv_read, past), new, axis=2)
            presents[PRESENT + name] = self.build(ops.kv_append, past, new, self.past_length, self.new_length)
        return self._held[name]
