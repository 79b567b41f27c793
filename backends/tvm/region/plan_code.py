"""A plan as C: a table of its stages, and the functions of a library that a runtime calls.

A step is hundreds of calls that differ in nothing but addresses. As data they compile in no time, and one loop runs
them all. Threads that run a step meet at a counter which every one raises and then watches: this costs much less than
to start a parallel region for each stage. What does not depend on a plan is C in files beside this one: `tensors.c`,
`threads.c`, `step.c`, and `profile.c` for those who ask where the time of a step goes.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from graphwright.backends.kernel_library import Settings
from graphwright.backends.plan import Buffer, Given, Plan, Stage, Stored, Temporary
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType
from graphwright.runtime.artifact.functions import STEP, WORKSPACE

_DLPACK_CODES = {
    dtype: code
    for code, dtypes in {
        0: (DType.I8, DType.I16, DType.I32, DType.I64),
        1: (DType.U8,),
        2: (DType.F16, DType.F32, DType.F64),
        4: (DType.BF16,),
        6: (DType.BOOL,),
    }.items()
    for dtype in dtypes
}
PROFILE = "graphwright_profile"
"""The symbol of what threads noted, in a library that is profiled."""
STREAMING = frozenset({"rounded_linear"})
"""Kernels whose iteration i reads of their weights rows i, i + extent, i + 2 * extent and so on, each from its begin to
its end. Threads that wait ask for the first of those in advance; a wrong row would only be of no use."""
MOST_STREAMS = 8
"""As many as `threads.c` has room for."""
_C_TYPES = {DType.I32: "int32_t", DType.I64: "int64_t"}


def runtime_code(patience: int) -> str:
    """What a step needs that is the same for all plans: `run_on_threads`, `fits`, and so on.

    A wait of more than `patience` looks at the counter is a long one: more than threads that all run wait for each
    other. Then it is asked whether a core was taken away, and after many more looks cores are given to others.
    """
    files = map(_file, ("tensors", "threads"))
    return "\n".join([f"#define ALIGNMENT {ALIGNMENT}", f"#define PATIENCE {patience}", *files])


def _file(name: str) -> str:
    """The C in the file of that name."""
    return Path(__file__).with_name(f"{name}.c").read_text(encoding="utf-8")


def plans_code(
    plans: Sequence[Plan], dimensions: Sequence[str], weight_bytes: int, settings: Settings, *, profiled: bool = False
) -> str:
    """The source of a library with two functions for each plan, as `runtime.artifact.functions` describes them.

    `dimensions` are those of all plans, in the order in which functions for workspaces take them. Steps refuse a
    weights file of another size than `weight_bytes`. The code of stages is elsewhere. If `profiled`, threads note when
    they come to each stage: see `profile.c`.
    """
    stages = {stage.function: stage for plan in plans for stage in plan.stages}
    most = max((len(each) for stage in stages.values() for each in (stage.accesses, stage.sizes)), default=1)
    lines = [runtime_code(int(settings["patience"]))]
    lines += [f"#define MOST {max(most, 1)}", f"#define AHEAD {settings['ahead']}"]
    if profiled:
        lines += [f"#define PROFILED_STAGES {max(len([*plan.stages]) for plan in plans)}", _file("profile")]
    lines.append(_file("step"))
    lines += [line for stage in stages.values() for line in _call(stage)]
    lines += [line for plan in plans for line in _Function(plan, dimensions, weight_bytes).lines()]
    return "\n".join(lines) + "\n"


def _call(stage: Stage) -> Iterator[str]:
    """The stage's function, which takes each pointer and size as a parameter, by way of arrays."""
    types = ["void *"] * len(stage.accesses) + [_C_TYPES[dtype] for _, dtype in stage.sizes]
    yield f"int32_t {stage.function}({', '.join(['int32_t', 'int32_t', *types])});"
    pointers = [f"at[{i}]" for i in range(len(stage.accesses))]
    sizes = [f"({_C_TYPES[dtype]})size[{i}]" for i, (_, dtype) in enumerate(stage.sizes)]
    yield f"static int32_t call_{stage.function}(int32_t part, int32_t parts, char *const *at, const int64_t *size) {{"
    yield f"    return {stage.function}({', '.join(['part', 'parts', *pointers, *sizes])});"
    yield "}"


class _Function:
    """One plan's tables and functions."""

    def __init__(self, plan: Plan, dimensions: Sequence[str], weight_bytes: int) -> None:
        assert plan.slot_of is not None, "memory is planned before code is written"
        self.plan, self.dimensions, self.weight_bytes, self.slot_of = plan, dimensions, weight_bytes, plan.slot_of
        self.sizes: dict[Dim, int] = {}
        self.bases: dict[Buffer, int] = {each: i for i, each in enumerate(plan.parameters)}

    def lines(self) -> Iterator[str]:
        plan, name, count = self.plan, self.plan.name, len(self.plan.parameters)
        stages = [*plan.stages]
        streams, coming = streamed_weights(plan)
        entries = [
            f"{{call_{s.function}, {int(s.waits)}, {int(s.extent is not None)}, "
            f"{len(s.accesses)}, {len(s.sizes)}, {weights}}}"
            for s, weights in zip(stages, coming, strict=True)
        ]
        yield from _table("stage", f"stages_{name}", entries)
        yield from _table("streamed", f"streams_{name}", streams)
        yield from _table("place", f"places_{name}", (self._place(a.buffer) for s in stages for a in s.accesses))
        yield from _table("int16_t", f"sizes_{name}", (self._number(size) for s in stages for size, _ in s.sizes))
        yield from _table("kind", f"kinds_{name}", map(_kind, plan.parameters))
        shapes = (self._number(d) for each in plan.parameters for d in each.type.shape)
        yield from _table("int16_t", f"axes_{name}", shapes)
        yield f"int32_t {STEP}{name}(const tensor *given, int32_t threads) {{"
        yield from self._symbols()
        yield from self._definitions()
        yield f"    const int64_t known[] = {{{', '.join(map(_expression, self.sizes)) or '0'}}};"
        yield f"    if (!all_fit(given, kinds_{name}, {count}, axes_{name}, known) ||"
        yield f"        !bytes_fit(&given[{count}], {self.weight_bytes}, {self.weight_bytes}) ||"
        yield f"        !bytes_fit(&given[{count + 1}], {self._workspace()}, INT64_MAX))"
        yield "        return DOES_NOT_FIT;"
        starts = [f"given[{count + 1}].data"]
        for i, size in enumerate(plan.slots[:-1]):
            yield f"    char *const slot_{i + 1} = {starts[-1]} + aligned({_expression(size)});"
            starts.append(f"slot_{i + 1}")
        bases = [*(f"given[{i}].data" for i in range(count + 1)), *starts]
        yield f"    char *const bases[] = {{{', '.join(bases)}}};"
        yield "    int32_t failed = 0;"
        held = f"streams_{name}, bases, bases[{count}], known, &failed"
        yield f"    const step job = {{stages_{name}, stages_{name} + {len(stages)}, {held}}};"
        yield f"    const position begin = {{stages_{name}, places_{name}, sizes_{name}}};"
        yield "    BEGIN_PROFILE(threads);"
        yield "    run_on_threads(run_stages, &job, begin, threads);"
        yield "    END_PROFILE();"
        yield "    return failed ? FAILED : 0;"
        yield "}"
        yield f"int64_t {WORKSPACE}{name}(const int64_t *sizes) {{"
        yield from (f"    const int64_t {_variable(symbol)} = sizes[{i}];" for i, symbol in self._given_sizes())
        yield from self._definitions()
        yield f"    return {self._workspace()};"
        yield "}"

    def _number(self, size: Dim) -> str:
        return str(self.sizes.setdefault(size, len(self.sizes)))

    def _place(self, buffer: Buffer) -> str:
        weights = len(self.plan.parameters)
        if isinstance(buffer, Stored):
            return f"{{{buffer.offset}, {weights}}}"
        if isinstance(buffer, Temporary):
            return f"{{0, {weights + 1 + self.slot_of[buffer]}}}"
        return f"{{0, {self.bases[buffer]}}}"

    def _symbols(self) -> Iterator[str]:
        """Those of the graph, read off the tensors' shapes."""
        found: set[str] = set()
        for i, each in enumerate(self.plan.parameters):
            for axis, dim in enumerate(each.type.shape):
                if str(dim) in self.plan.graph.symbols and str(dim) not in found:
                    found.add(str(dim))
                    length = f"given[{i}].rank > {axis} ? given[{i}].shape[{axis}] : -1"
                    yield f"    const int64_t {_variable(str(dim))} = {length};"
        assert found == self.plan.graph.symbols, "every symbol is the length of an axis of an input"

    def _given_sizes(self) -> Iterator[tuple[int, str]]:
        return ((i, name) for i, name in enumerate(self.dimensions) if name in self.plan.graph.symbols)

    def _definitions(self) -> Iterator[str]:
        for name, definition in self.plan.definitions.items():
            function = {"floordiv": "floordiv", "min": "smaller", "max": "larger"}[definition.kind]
            first, second = (_expression(d) for d in (definition.first, definition.second))
            yield f"    const int64_t {_variable(name)} = {function}({first}, {second});"

    def _workspace(self) -> str:
        return " + ".join(f"aligned({_expression(size)})" for size in self.plan.slots) or "0"


def streamed_weights(plan: Plan) -> tuple[list[str], list[int]]:
    """The weights that stages stream, and for each stage that waits the number of those that are read next, else -1."""
    found: list[str] = []
    coming: list[int] = []
    for launch in reversed(plan.launches):
        for stage in reversed(launch.stages):
            weight = _streamed(stage) if launch.kernel in STREAMING else None
            if weight is not None:
                found.append(weight)
            coming.append(len(found) - 1 if stage.waits else -1)
    return found, coming[::-1]


def _streamed(stage: Stage) -> str | None:
    """The entry of the largest weight that a stage streams."""
    rows = None if stage.extent is None else stage.extent.constant
    buffers = [access.buffer for access in stage.accesses if isinstance(access.buffer, Stored)]
    if not rows or not buffers:
        return None
    weight = max(buffers, key=lambda each: each.bytes.evaluate({}))
    streams, rest = divmod(weight.type.shape[0].evaluate({}), rows)
    if rest or streams > MOST_STREAMS:
        return None
    return f"{{{weight.offset}, {weight.bytes.evaluate({}) // (rows * streams)}, {rows}, {streams}}}"


def _kind(given: Given) -> str:
    dtype = given.type.dtype
    return f"{{{_DLPACK_CODES[dtype]}, {dtype.bits}, {given.type.rank}}}"


def _table(type: str, name: str, entries: Iterable[str]) -> Iterator[str]:
    yield f"static const {type} {name}[] = {{"
    rows = [*entries]
    yield from (f"    {row}," for row in rows or ["0" if type == "int16_t" else "{0}"])
    yield "};"


def _expression(dim: Dim) -> str:
    """A size in C."""
    terms = ["*".join([f"INT64_C({coefficient})", *map(_variable, monomial)]) for monomial, coefficient in dim.terms]
    return " + ".join(terms) or "0"


def _variable(symbol: str) -> str:
    """The variable of a symbol, which may be a word of C's."""
    return f"dim_{symbol}"
