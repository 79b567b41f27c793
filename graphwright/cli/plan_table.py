"""What the plans of an artifact cost, as tables on the terminal."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from graphwright.cli.output import console, count_text, counted, seconds_text, size_text
from graphwright.cli.pipeline_table import WIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphwright.backends.kernel_library import KernelLibrary
    from graphwright.backends.plan import Plan
    from graphwright.backends.plan.price import OpPrice, PlanPrice
    from graphwright.ir import Program
    from graphwright.ir.machines import Machine


def print_plan_prices(
    plans: "Sequence[Plan]", program: "Program", machine: "Machine", library: "KernelLibrary | None"
) -> None:
    """Print for each phase a row for each op that its plans launch, then their sums and what the figures are of."""
    from graphwright.backends.plan.price import plan_price
    from graphwright.reporting.pricing import phases
    from graphwright.reporting.workload import choose_workload

    out = console()
    if not out.is_terminal:
        out.width = WIDE
    by_name = {plan.name: plan for plan in plans}
    workload = choose_workload(program)
    for phase, runs in phases(program, workload).items():
        for run in runs:
            price = plan_price(by_name[run.graph.name], run.bindings, machine, library)
            sizes = ", ".join(f"{symbol} = {run.bindings[symbol]}" for symbol in sorted(run.graph.symbols))
            out.print(f"{phase}: graph {run.graph.name}{' of ' + sizes if sizes else ''}", markup=False)
            out.print(_table(price), soft_wrap=False)
            out.print(_sums(price), markup=False)
    out.print(f"times: roofline of {machine.name} ({machine.source})", markup=False)


def _table(price: "PlanPrice") -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("op")
    for name in ("launches", "stages", "waits", "FLOPs", "bytes", "scratch", "time"):
        table.add_column(name, justify="right")
    table.add_column("limit")
    for each in price.ops:
        table.add_row(*_cells(each))
    return table


def _cells(each: "OpPrice") -> list[str]:
    return [
        each.op,
        str(each.launches),
        str(each.stages),
        str(each.waits),
        count_text(each.flops),
        size_text(each.bytes),
        size_text(each.scratch_bytes) if each.scratch_bytes else "",
        seconds_text(each.seconds or 0.0),
        each.limit or "",
    ]


def _sums(price: "PlanPrice") -> str:
    launches, stages = counted(price.launches, "launch", "launches"), counted(price.stages, "stage")
    done = f"{launches}, {stages}, {counted(price.waits, 'wait')}"
    times = f"{seconds_text(price.seconds or 0.0)}, of which waits {seconds_text(price.wait_seconds or 0.0)}"
    return f"together: {done}; workspace {size_text(price.workspace_bytes)}; {times}"
