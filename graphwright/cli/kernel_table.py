"""The machine code of an artifact for GPUs, as a table on the terminal."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from graphwright.cli.output import console
from graphwright.cli.pipeline_table import WIDE
from graphwright.errors import UsageError

if TYPE_CHECKING:
    from graphwright.backends.cuda.gpu import Gpu
    from graphwright.backends.cuda.machine_code import MachineCode
    from graphwright.runtime.artifact import Artifact
    from graphwright.runtime.engines.cuda_program import Kernel, Target

HEADS = ("registers", "spilt", "shared", "threads", "blocks", "loads", "products", "before wait")


def print_kernels(artifact: "Artifact") -> None:
    """Print for each architecture a row for each kernel. Raises UsageError for an artifact without machine code."""
    from graphwright.backends.cuda.gpu import GPUS
    from graphwright.runtime.engines.cuda_program import read_program

    program = artifact.manifest.program
    if program.backend != "cuda":
        raise UsageError(f"--kernels shows code for GPUs; {artifact.folder} is for the backend '{program.backend}'")
    targets = read_program(artifact.read_text(program.file), str(artifact.folder / program.file)).targets
    real = {name: target for name, target in targets.items() if name in GPUS}
    if not real:
        raise UsageError(f"{artifact.folder} is for the emulator alone: compile it with --target cuda:sm_90")
    out = console()
    if not out.is_terminal:
        out.width = WIDE
    for name, target in real.items():
        by = target.compiled_by
        tools = f" by ptxas {by.ptxas}, for drivers from {by.driver} on" if by is not None else ""
        out.print(f"{name}: {len(target.kernels)} kernels{tools}", markup=False)
        out.print(_table(target, artifact.path(f"{name}.kernels").read_bytes(), GPUS[name]), soft_wrap=False)
    out.print(
        "spilt: bytes of a thread; blocks: at once on a multiprocessor; loads: instructions by bytes", markup=False
    )


def _table(target: "Target", code: bytes, gpu: "Gpu") -> Table:
    from graphwright.backends.cuda.machine_code import read_code

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel", overflow="fold")
    for head in HEADS:
        table.add_column(head, justify="right")
    for name, kernel in sorted(target.kernels.items()):
        found = read_code(code[kernel.offset : kernel.offset + kernel.bytes], kernel.symbol)
        table.add_row(name, *_cells(found, kernel, gpu))
    return table


def _cells(code: "MachineCode", kernel: "Kernel", gpu: "Gpu") -> list[str]:
    from graphwright.backends.cuda.machine_code import blocks_at_once

    loads = [f"{count}x{width} B" if width else f"{count} boxes" for width, count in code.loads.items()]
    return [
        str(code.registers),
        str(code.stack_bytes),
        str(kernel.shared),
        str(kernel.threads),
        str(blocks_at_once(code, kernel.threads, kernel.shared, gpu)),
        ", ".join(loads),
        ", ".join(f"{count} {name}" for name, count in code.products.items()),
        "" if code.loads_before_wait is None else str(code.loads_before_wait),
    ]
