"""KV caches of codes: rounded as they are appended, and read by way of their scales."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import Builder, Dim, DType, Graph, Op, PassError, Program, StateType, TensorType, Value, Weight, ops
from graphwright.ir.convention import PAST, PRESENT, step_graphs
from graphwright.ir.ops.codes import SMALLEST_SCALE
from graphwright.ir.rewriting import Outcome
from graphwright.ir.rounding import Grid
from graphwright.ir.weights import StoredArray
from graphwright.passes.base import Pass, has_prefill, register
from graphwright.passes.calibration import calibration_tokens
from graphwright.passes.quantization.cache_scales import Share, fit_scales
from graphwright.passes.quantization.caches import Cache, Unfit, find_caches

RULE = "quantize-cache"
SCALE = DType.F32


@register
@dataclass(frozen=True)
class QuantizeCache(Pass):
    """Caches of keys and values hold signed codes of so many bits, in prefill and decode alike.

    A scale is one number for the whole cache (tensor) or one for each channel of each head (channel), fit to the
    `tokens`, a .npy file of int64 [rows, length]; or one for each token of each head (token), by its largest magnitude,
    kept in a cache of its own. Keys have channels that are large in every token, values do not (Liu et al. 2024, KIVI).
    Attention sees the codes of the new tokens too, so it does not matter how a row was cut into steps.
    """

    name: ClassVar[str] = "quantize-cache"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    requires = (has_prefill,)
    bits: Literal[8, 4] = 8
    keys: Literal["tensor", "channel"] = "channel"
    values: Literal["tensor", "channel", "token"] = "channel"
    tokens: str = ""

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        found = {graph: self._fit(graph, outcome) for graph in step_graphs(program)}
        if not any(found.values()):
            reasons = [miss.reason for miss in outcome.near_misses] or ["it keeps none of floats"]
            raise PassError(f"program '{program.name}' has no cache that {self.name} could take: {reasons[0]}")
        tokens = calibration_tokens(program, self.tokens)
        shares: dict[str, Share] = {
            str(cache.past.name): share
            for caches in found.values()
            for cache in caches
            if (share := self._share(cache)) != "token"
        }
        codes = DType(f"i{self.bits}")
        scales = {
            name: program.add_weight(f"cache.{name.removeprefix(PAST)}.scale", StoredArray.of(scale))
            for name, scale in fit_scales(program, tokens, shares, codes).items()
        }
        for graph, caches in found.items():
            for cache in caches:
                _Rewrite(graph, cache, codes, scales.get(str(cache.past.name))).run()
                outcome.hit(RULE, cache.append)
            graph.erase_dead()
        return outcome

    def _fit(self, graph: Graph, outcome: Outcome) -> list[Cache]:
        fit: list[Cache] = []
        for cache in find_caches(graph):
            if isinstance(cache, Unfit):
                outcome.miss(RULE, cache.op, 1, cache.reason)
            else:
                fit.append(cache)
        return fit

    def _share(self, cache: Cache) -> Literal["tensor", "channel", "token"]:
        return self.keys if cache.role == "keys" else self.values


class _Rewrite:
    """One cache of one graph, with the scale that was fit to it; without one, each token gets its own."""

    def __init__(self, graph: Graph, cache: Cache, codes: DType, scale: Weight | None) -> None:
        self.graph, self.cache = graph, cache
        self.codes, self.fitted = codes, scale
        assert isinstance(cache.past.type, StateType)
        self.type = cache.past.type
        self.location = cache.append.location

    def run(self) -> None:
        graph, cache = self.graph, self.cache
        build = self._before(cache.append, *cache.joins)
        scale = self._token_scale(build) if self.fitted is None else graph.weight(self.fitted)
        new = build(ops.quantize_tensor, cache.new, scale, to=self.codes)
        cache.past.type = StateType(self.type.layout, self.type.tensor.with_dtype(self.codes))
        append = self._append(cache.past, new)
        scales: tuple[Value, Value] | None = None
        if self.fitted is None:
            batch, heads, capacity, _ = self.type.shape
            shape = TensorType(SCALE, (batch, heads, capacity, Dim.of(1)))
            past = graph.add_input(f"{cache.past.name}_scale", StateType(self.type.layout, shape))
            scales = past, self._append(past, scale)
            graph.outputs[f"{PRESENT}{cache.name}_scale"] = scales[1]
        for join in cache.joins:
            build = self._before(join)
            codes = build(ops.concat, build(ops.kv_read, cache.past), new, axis=2)
            over = scale if scales is None else build(ops.concat, build(ops.kv_read, scales[0]), scale, axis=2)
            graph.replace(join.result, self._floats(build, codes, over))
        if cache.reads:
            build = self._before(*cache.reads)
            over = scale if scales is None else build(ops.kv_read, scales[1])
            cache.replace_reads(graph, self._floats(build, build(ops.kv_read, append), over))
        graph.replace(cache.append.result, append)

    def _before(self, *ops: Op) -> Builder:
        """A builder at the first of these ops."""
        first = next(op for op in self.graph if op in ops)
        return Builder(self.graph, first, self.location)

    def _append(self, past: Value, new: Value) -> Value:
        append = self.cache.append
        lengths = append.operand("past_length"), append.operand("new_length")
        return self._before(append)(ops.kv_append, past, new, *lengths)

    def _token_scale(self, build: Builder) -> Value:
        """So that the largest number of each token and head fits: f32 [batch, heads, sequence, 1]."""
        largest = build(ops.amax, build(ops.abs, self.cache.new), axes=(3,), keepdims=True)
        if largest.tensor.dtype is not SCALE:
            largest = build(ops.cast, largest, dtype=SCALE)
        return build(ops.maximum, build(ops.mul, largest, 1 / Grid(self.codes).most), SMALLEST_SCALE)

    def _floats(self, build: Builder, codes: Value, scale: Value) -> Value:
        return build(ops.dequantize_tensor, codes, scale, dtype=self.type.dtype)
