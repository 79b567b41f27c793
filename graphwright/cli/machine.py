"""`graphwright machine`: what prices are computed for."""

from typing import Annotated

import typer

from graphwright.cli.output import console, stage_display
from graphwright.errors import OptionError


def machine_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="h200, h100, a100, rtx4090, or local, which is this machine.")
    ] = "local",
    measure: Annotated[bool, typer.Option("--measure", help="Measure this machine anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a machine reaches: products, memory, launches. This one is measured once and remembered."""
    from graphwright.ir.machines import LOCAL, plain_name
    from graphwright.machines.machine import choose_machine, local_machine
    from graphwright.reporting.pricing import machine_row

    local = plain_name(name) == LOCAL
    if measure and not local:
        raise OptionError(f"{name} is not this machine and cannot be measured; leave --measure out")
    with stage_display() as show:
        machine = local_machine(anew=measure, on_stage=show) if local else choose_machine(name)
    out = console()
    if as_json:
        out.print(machine_row(machine).model_dump_json(indent=2), markup=False)
        return
    lines = [("machine", machine.name)]
    lines += [(str(dtype), _rate_text(rate)) for dtype, rate in machine.flops_per_second.items()]
    lines.append(("memory", f"{machine.bytes_per_second / 1e9:.4g} GB/s"))
    lines.append(("launch", f"{machine.launch_seconds * 1e6:.3g} us"))
    lines.append(("source", machine.source))
    for label, value in lines:
        out.print(f"{label:<10} {value}", markup=False)


def _rate_text(rate: float) -> str:
    return f"{rate / 1e12:.4g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.4g} GFLOP/s"
