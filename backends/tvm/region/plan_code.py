"""A plan as C: tables of its stages, and one loop over a table in which all threads take part.

A step is hundreds of calls that differ in nothing but addresses. As data they compile in no time, and one loop runs
them all. Threads that run a step meet at a counter which every one raises and then watches: this costs much less than
to start a parallel region of a thread pool for each stage, as long as all of them run.
"""

from collections.abc import Iterable, Iterator, Sequence

from graphwright.backends.kernel_library import Settings
from graphwright.backends.plan import Buffer, Given, Plan, Stage, Stored, Temporary
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType

HEAD = 4096
"""Bytes at the beginning of a workspace that hold the threads' counter; slots lie behind them."""

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
_C_TYPES = {DType.I32: "int32_t", DType.I64: "int64_t"}

_LOOP = f"""\
#include <sched.h>
#include <stdint.h>

/* DLPack's tensor. */
typedef struct {{
    char *data;
    struct {{ int32_t type, id; }} device;
    int32_t ndim;
    struct {{ uint8_t code, bits; uint16_t lanes; }} dtype;
    const int64_t *shape, *strides;
    uint64_t byte_offset;
}} tensor;
/* The type that a tensor of the caller's must have. */
typedef struct {{ int16_t code, bits, ndim; }} kind;
/* A kernel's code: the calling thread, the number of threads, pointers to buffers, sizes. */
typedef void code(int32_t part, int32_t parts, char *const *at, const int64_t *size);
/* Memory that a stage is given: so many bytes behind one of the step's bases. */
typedef struct {{ int64_t offset; int32_t base; }} place;
typedef struct {{ code *run; int16_t waits, shared, places, sizes; }} stage;

static int64_t floordiv(int64_t a, int64_t b) {{ return a / b - (a % b != 0 && (a < 0) != (b < 0)); }}
static int64_t smaller(int64_t a, int64_t b) {{ return a < b ? a : b; }}
static int64_t larger(int64_t a, int64_t b) {{ return a > b ? a : b; }}
static int64_t aligned(int64_t size) {{ return floordiv(size + {ALIGNMENT - 1}, {ALIGNMENT}) * {ALIGNMENT}; }}

static void give_way(void) {{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ __volatile__("pause" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#endif
}}

static void meet(int64_t *counter, int64_t parts) {{
    const int64_t ticket = __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
    const int64_t goal = (ticket / parts + 1) * parts;
    for (int64_t looks = 0; __atomic_load_n(counter, __ATOMIC_ACQUIRE) < goal; looks++) {{
        if (looks < PATIENCE)
            give_way();
        else
            sched_yield();
    }}
}}

/* Whether a tensor is dense, aligned and of a type and shape; `axes` number its lengths among those that are known. */
static int fits(const tensor *given, kind wanted, const int16_t *axes, const int64_t *known) {{
    if (given->device.type != 1 || given->dtype.code != wanted.code || given->dtype.bits != wanted.bits ||
        given->dtype.lanes != 1 || given->ndim != wanted.ndim || given->byte_offset != 0)
        return 0;
    int64_t count = 1;
    for (int axis = wanted.ndim - 1; axis >= 0; axis--) {{
        const int64_t length = given->shape[axis];
        if (length != known[axes[axis]] || (given->strides && length != 1 && given->strides[axis] != count))
            return 0;
        count *= length;
    }}
    return count == 0 || (uintptr_t)given->data % {ALIGNMENT} == 0;
}}

static int all_fit(const tensor *const *given, const kind *kinds, int count, const int16_t *axes,
                   const int64_t *known) {{
    for (int i = 0; i < count; axes += kinds[i++].ndim) {{
        if (!fits(given[i], kinds[i], axes, known))
            return 0;
    }}
    return 1;
}}

static int bytes_fit(const tensor *given, int64_t least, int64_t most) {{
    return given->ndim == 1 && given->dtype.bits == 8 && given->shape[0] >= least && given->shape[0] <= most &&
           (uintptr_t)given->data % {ALIGNMENT} == 0 && given->byte_offset == 0;
}}

static void run(const stage *stages, int64_t count, const place *places, const int16_t *numbers, int32_t part,
                int32_t parts, char *const *bases, const int64_t *known, int64_t *counter) {{
    char *at[MOST];
    int64_t size[MOST];
    for (const stage *next = stages; next != stages + count; next++) {{
        if (next->waits)
            meet(counter, parts);
        if (part == 0 || next->shared) {{
            for (int i = 0; i < next->places; i++)
                at[i] = bases[places[i].base] + places[i].offset;
            for (int i = 0; i < next->sizes; i++)
                size[i] = known[numbers[i]];
            next->run(part, parts, at, size);
        }}
        places += next->places;
        numbers += next->sizes;
    }}
}}
"""


def run_symbol(name: str) -> str:
    """The symbol of the function that runs the plan of that name.

    Its parameters are the calling thread and the number of threads (32 bits), and those of `fits_symbol`.
    """
    return f"graphwright_run_{name}"


def fits_symbol(name: str) -> str:
    """The symbol of the function that tells whether a plan can run on what it is given: 1 if so, else 0.

    Its parameters are pointers to DLPack's tensors: the plan's parameters, the weights file and the workspace.
    """
    return f"graphwright_fits_{name}"


def plans_code(plans: Sequence[Plan], weight_bytes: int, settings: Settings) -> str:
    """The source of a library's plans, which refuse a weights file of another size than `weight_bytes`.

    The code of stages is elsewhere. Threads look `patience` times at the counter before they give their cores to
    others: more than threads that all run wait for each other, and little where one of them has no core.
    """
    stages = {stage.function: stage for plan in plans for stage in plan.stages}
    calls = [line for stage in stages.values() for line in _call(stage)]
    most = max((len(each) for stage in stages.values() for each in (stage.accesses, stage.sizes)), default=1)
    functions = [line for plan in plans for line in _Function(plan, weight_bytes).lines()]
    return (
        "\n".join([f"#define MOST {most}", f"#define PATIENCE {settings['patience']}", _LOOP, *calls, *functions])
        + "\n"
    )


def _call(stage: Stage) -> Iterator[str]:
    """The stage's function, which takes each pointer and size as a parameter, by way of arrays."""
    types = ["void *"] * len(stage.accesses) + [_C_TYPES[dtype] for _, dtype in stage.sizes]
    yield f"int32_t {stage.function}({', '.join(['int32_t', 'int32_t', *types])});"
    pointers = [f"at[{i}]" for i in range(len(stage.accesses))]
    sizes = [f"({_C_TYPES[dtype]})size[{i}]" for i, (_, dtype) in enumerate(stage.sizes)]
    yield f"static void call_{stage.function}(int32_t part, int32_t parts, char *const *at, const int64_t *size) {{"
    yield f"    {stage.function}({', '.join(['part', 'parts', *pointers, *sizes])});"
    yield "}"


class _Function:
    """One plan's tables and functions."""

    def __init__(self, plan: Plan, weight_bytes: int) -> None:
        assert plan.slot_of is not None, "memory is planned before code is written"
        self.plan, self.weight_bytes, self.slot_of = plan, weight_bytes, plan.slot_of
        self.sizes: dict[Dim, int] = {}
        self.bases: dict[Buffer, int] = {each: i for i, each in enumerate(plan.parameters)}

    def lines(self) -> Iterator[str]:
        plan, name, count = self.plan, self.plan.name, len(self.plan.parameters)
        stages = [*plan.stages]
        entries = [
            f"{{call_{s.function}, {int(s.waits)}, {int(s.extent is not None)}, {len(s.accesses)}, {len(s.sizes)}}}"
            for s in stages
        ]
        yield from _table("stage", f"stages_{name}", entries)
        yield from _table("place", f"places_{name}", (self._place(a.buffer) for s in stages for a in s.accesses))
        yield from _table("int16_t", f"sizes_{name}", (self._number(size) for s in stages for size, _ in s.sizes))
        yield from _table("kind", f"kinds_{name}", map(_kind, plan.parameters))
        shapes = (self._number(d) for each in plan.parameters for d in each.type.shape)
        yield from _table("int16_t", f"axes_{name}", shapes)
        given = ", ".join(f"const tensor *t{i}" for i in range(count + 2))
        yield f"int32_t {fits_symbol(name)}({given}) {{"
        yield from self._known()
        yield f"    const tensor *const given[] = {{{', '.join(f't{i}' for i in range(count)) or '0'}}};"
        yield f"    return all_fit(given, kinds_{name}, {count}, axes_{name}, known) &&"
        yield f"           bytes_fit(t{count}, {self.weight_bytes}, {self.weight_bytes}) &&"
        yield f"           bytes_fit(t{count + 1}, {self._workspace()}, INT64_MAX);"
        yield "}"
        yield f"int32_t {run_symbol(name)}(int32_t part, int32_t parts, {given}) {{"
        yield from self._known()
        starts = [f"t{count + 1}->data + {HEAD}"]
        for i, size in enumerate(plan.slots[:-1]):
            yield f"    char *const slot_{i + 1} = {starts[-1]} + aligned({_expression(size)});"
            starts.append(f"slot_{i + 1}")
        held = [*(f"t{i}->data" for i in range(count + 1)), *starts]
        yield f"    char *const bases[] = {{{', '.join(held)}}};"
        arguments = f"stages_{name}, {len(stages)}, places_{name}, sizes_{name}, part, parts, bases, known"
        yield f"    run({arguments}, (int64_t *)t{count + 1}->data);"
        yield "    return 0;"
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

    def _known(self) -> Iterator[str]:
        """Symbols as they are read off the tensors' shapes, definitions, and all sizes that tables number."""
        found: set[str] = set()
        for i, each in enumerate(self.plan.parameters):
            for axis, dim in enumerate(each.type.shape):
                if str(dim) in self.plan.graph.symbols and str(dim) not in found:
                    found.add(str(dim))
                    yield f"    const int64_t {_variable(str(dim))} = t{i}->ndim > {axis} ? t{i}->shape[{axis}] : -1;"
        assert found == self.plan.graph.symbols, "every symbol is the length of an axis of an input"
        for name, definition in self.plan.definitions.items():
            function = {"floordiv": "floordiv", "min": "smaller", "max": "larger"}[definition.kind]
            first, second = (_expression(d) for d in (definition.first, definition.second))
            yield f"    const int64_t {_variable(name)} = {function}({first}, {second});"
        yield f"    const int64_t known[] = {{{', '.join(map(_expression, self.sizes)) or '0'}}};"

    def _workspace(self) -> str:
        return " + ".join([str(HEAD), *(f"aligned({_expression(size)})" for size in self.plan.slots)])


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
