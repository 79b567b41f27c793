"""A plan as C: tables of its stages, and one loop over a table in which all threads take part.

A step is hundreds of calls that differ in nothing but addresses. As data they compile in no time, and one loop runs
them all. Threads that run a step meet at a counter which every one raises and then watches: this costs much less than
to start a parallel region of a thread pool for each stage, as long as all of them run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from graphwright.backends.plan import Buffer, Plan, Stage, Stored, Temporary
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType

HEAD = 4096
"""Bytes at the beginning of a workspace that hold the threads' counter; slots lie behind them."""

PATIENCE = 2_000
"""Looks at the counter before a thread gives its core to others: some ten microseconds, more than threads that all run
wait for each other, and little where one of them has no core."""

_C_TYPES = {DType.I32: "int32_t", DType.I64: "int64_t"}

_LOOP = f"""\
#include <sched.h>
#include <stdint.h>

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
        if (looks < {PATIENCE})
            give_way();
        else
            sched_yield();
    }}
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


def entry(name: str) -> str:
    """The symbol of the function that runs the plan of that name.

    Its parameters are the calling thread and the number of threads (32 bits), the plan's parameters, the weights file
    and the workspace (pointers), and the graph's symbols in alphabetical order (64 bits).
    """
    return f"graphwright_run_{name}"


def plans_code(plans: Sequence[Plan]) -> str:
    """The source of a library's plans; it calls their stages' code, which is elsewhere."""
    stages = {stage.function: stage for plan in plans for stage in plan.stages}
    calls = [line for stage in stages.values() for line in _call(stage)]
    most = max((len(each) for stage in stages.values() for each in (stage.accesses, stage.sizes)), default=1)
    return "\n".join([f"#define MOST {most}", _LOOP, *calls, *(line for plan in plans for line in _plan(plan))]) + "\n"


def _call(stage: Stage) -> Iterator[str]:
    """The stage's function, which takes each pointer and size as a parameter, by way of arrays."""
    types = ["void *"] * len(stage.accesses) + [_C_TYPES[dtype] for _, dtype in stage.sizes]
    yield f"int32_t {stage.function}({', '.join(['int32_t', 'int32_t', *types])});"
    pointers = [f"at[{i}]" for i in range(len(stage.accesses))]
    sizes = [f"({_C_TYPES[dtype]})size[{i}]" for i, (_, dtype) in enumerate(stage.sizes)]
    yield f"static void call_{stage.function}(int32_t part, int32_t parts, char *const *at, const int64_t *size) {{"
    yield f"    {stage.function}({', '.join(['part', 'parts', *pointers, *sizes])});"
    yield "}"


def _plan(plan: Plan) -> Iterator[str]:
    assert plan.slot_of is not None, "memory is planned before code is written"
    bases: dict[Buffer, int] = {each: i for i, each in enumerate(plan.parameters)}
    weights = len(bases)
    sizes: dict[Dim, int] = {}

    def place(buffer: Buffer) -> str:
        if isinstance(buffer, Stored):
            return f"{{{buffer.offset}, {weights}}}"
        if isinstance(buffer, Temporary):
            assert plan.slot_of is not None
            return f"{{0, {weights + 1 + plan.slot_of[buffer]}}}"
        return f"{{0, {bases[buffer]}}}"

    stages = [*plan.stages]
    entries = [
        f"{{call_{s.function}, {int(s.waits)}, {int(s.extent is not None)}, {len(s.accesses)}, {len(s.sizes)}}}"
        for s in stages
    ]
    places = [place(access.buffer) for stage in stages for access in stage.accesses]
    numbers = [str(sizes.setdefault(size, len(sizes))) for stage in stages for size, _ in stage.sizes]
    name, symbols = plan.name, sorted(plan.graph.symbols)
    yield from _table("stage", f"stages_{name}", entries)
    yield from _table("place", f"places_{name}", places)
    yield from _table("int16_t", f"sizes_{name}", numbers)
    given = [f"void *given_{i}" for i in range(len(plan.parameters))]
    dims = [f"int64_t {_variable(symbol)}" for symbol in symbols]
    parameters = ["int32_t part", "int32_t parts", *given, "void *weights", "void *workspace", *dims]
    yield f"int32_t {entry(name)}({', '.join(parameters)}) {{"
    for defined, definition in plan.definitions.items():
        function = {"floordiv": "floordiv", "min": "smaller", "max": "larger"}[definition.kind]
        first, second = (_expression(d) for d in (definition.first, definition.second))
        yield f"    const int64_t {_variable(defined)} = {function}({first}, {second});"
    starts = ["(char *)workspace + " + str(HEAD)]
    for i, size in enumerate(plan.slots[:-1]):
        yield f"    char *slot_{i + 1} = {starts[-1]} + aligned({_expression(size)});"
        starts.append(f"slot_{i + 1}")
    held = [*(f"given_{i}" for i in range(len(given))), "weights", *starts]
    yield f"    char *const bases[] = {{{', '.join(held)}}};"
    yield f"    const int64_t known[] = {{{', '.join(map(_expression, sizes)) or '0'}}};"
    yield f"    run(stages_{name}, {len(stages)}, places_{name}, sizes_{name}, part, parts, bases, known, workspace);"
    yield "    return 0;"
    yield "}"


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
