"""KV caches of f16: numbers are rounded as they are appended, and read as the type that the graph computes in."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, DType, Graph, Op, PassError, Program, StateType, Value, ops
from graphwright.ir.convention import step_graphs
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, has_prefill, register
from graphwright.passes.quantization.caches import Cache, Unfit, find_caches

RULE = "halve-cache"


@register
@dataclass(frozen=True)
class HalveCache(Pass):
    """Caches of keys and values in f32 hold f16, in prefill and decode alike: half the bytes, and nothing to calibrate.

    11 bits of a number are kept; one beyond 65504 becomes infinite. Attention sees the rounded numbers of the new
    tokens too, so it does not matter how a row was cut into steps.
    """

    name: ClassVar[str] = RULE
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    requires = (has_prefill,)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        for graph in step_graphs(program):
            for cache in find_caches(graph):
                if isinstance(cache, Unfit):
                    outcome.miss(RULE, cache.op, 1, cache.reason)
                elif cache.past.tensor.dtype is not DType.F32:
                    outcome.miss(RULE, cache.append, 1, f"'{cache.past.name}' holds {cache.past.tensor.dtype}, not f32")
                else:
                    _halve(graph, cache)
                    outcome.hit(RULE, cache.append)
            graph.erase_dead()
        if not outcome.hits[RULE]:
            reasons = [miss.reason for miss in outcome.near_misses] or ["it keeps none of f32"]
            raise PassError(f"program '{program.name}' has no cache that {self.name} could take: {reasons[0]}")
        return outcome


def _halve(graph: Graph, cache: Cache) -> None:
    past, append = cache.past, cache.append
    assert isinstance(past.type, StateType)
    dtype = past.type.dtype

    def before(*places: Op) -> Builder:
        return Builder(graph, next(op for op in graph if op in places), append.location)

    def wide(build: Builder, halves: Value) -> Value:
        return build(ops.cast, halves, dtype=dtype)

    new = before(append, *cache.joins)(ops.cast, cache.new, dtype=DType.F16)
    past.type = StateType(past.type.layout, past.type.tensor.with_dtype(DType.F16))
    lengths = append.operand("past_length"), append.operand("new_length")
    held = before(append)(ops.kv_append, past, new, *lengths)
    for join in cache.joins:
        build = before(join)
        joined = build(ops.concat, build(ops.kv_read, past), new, axis=2)
        graph.replace(join.result, wide(build, joined))
    if cache.reads:
        build = before(*cache.reads)
        cache.replace_reads(graph, wide(build, build(ops.kv_read, held)))
    graph.replace(append.result, held)
