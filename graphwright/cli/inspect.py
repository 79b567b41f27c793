"""`graphwright inspect`: what is in an artifact or a program."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli.arguments import MACHINE_NAMES
from graphwright.cli.output import console, count_text, counted, size_text, stage_display, write_text
from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphwright.ir import Program
    from graphwright.runtime import Manifest
    from graphwright.runtime.artifact import Artifact
    from graphwright.runtime.artifact import Program as ProgramInfo


def inspect_command(
    path: Annotated[Path, typer.Argument(metavar="ARTIFACT|FILE.gw", help="A compiled artifact or a program.")],
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print only the launch plans: memory, launches, stages and waits."),
    ] = False,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            metavar="MACHINE",
            help=f"With --plan: print its cost on {MACHINE_NAMES}.",
        ),
    ] = None,
    kernels: Annotated[
        bool,
        typer.Option("--kernels", help="Print only the machine code for GPUs: registers, spills, loads, products."),
    ] = False,
) -> None:
    """Show the model, its cache, its files, its ops, and what prefill and decode cost."""
    from graphwright.ir import read_program

    if price is not None and not plan:
        raise OptionError("--price prices launch plans: give --plan with it")
    if kernels and plan:
        raise OptionError("--plan and --kernels each print one thing only: give one of them")
    if path.suffix == ".gw" and path.is_file():
        if plan or kernels:
            option = "--plan" if plan else "--kernels"
            raise OptionError(f"{option} is for artifacts; {path} is a program, which says what is computed, not how")
        _print(_program_lines(read_program(path)))
        return
    from graphwright.runtime import open_artifact
    from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, claims_artifact

    if path.is_dir() and not claims_artifact(path) and (path / "config.json").is_file():
        raise UsageError(f"{path} is a checkpoint; trace or compile it first, then inspect the result")
    artifact = open_artifact(path)
    if kernels:
        from graphwright.cli.kernel_table import print_kernels

        print_kernels(artifact)
        return
    if plan:
        if not artifact.has(PLAN_FILE):
            raise UsageError(
                f"{path} has no {PLAN_FILE}: {artifact.manifest.program.backend} plans its launches itself"
            )
        if price is None:
            write_text(artifact.read_text(PLAN_FILE))
        else:
            _print_prices(artifact, price)
        return
    _print(_manifest_lines(artifact.manifest))
    if artifact.has(LOWERED_FILE):
        _print(_program_lines(read_program(artifact.path(LOWERED_FILE))))


def _print_prices(artifact: "Artifact", price: str) -> None:
    from graphwright.backends.plan import parse_plans
    from graphwright.backends.registry import BACKENDS
    from graphwright.cli.plan_table import print_plan_prices
    from graphwright.ir import read_program
    from graphwright.machines.machine import choose_machine
    from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE

    with stage_display() as on_stage:
        machine = choose_machine(price, on_stage)
    program = read_program(artifact.path(LOWERED_FILE))
    plans = parse_plans(artifact.read_text(PLAN_FILE), program, str(artifact.folder / PLAN_FILE))
    backend = BACKENDS.get(artifact.manifest.program.backend)
    print_plan_prices(plans, program, machine, None if backend is None else backend.library())


def _print(lines: "Iterable[str]") -> None:
    out = console()
    for line in lines:
        # A name with a line end in it must not look like a line of ours.
        out.print(line.replace("\n", "\\n"), markup=False)


def _manifest_lines(manifest: "Manifest") -> list[str]:
    from graphwright.runtime import KVCache

    model, program = manifest.model, manifest.program
    size = sum(entry.size for entry in manifest.files.values())
    lines = [
        f"artifact   {model.name}, format {manifest.format_version}, written by {manifest.producer}",
        f"model      {model.architecture}, {count_text(model.parameters)} parameters",
        f"program    {program.kind} for {program.backend} ({program.dialect}), {program.file}",
    ]
    if program.target:
        lines += [f"cpu        {_version_line(version)}" for version in program.versions]
    if program.kind == "decoder":
        empty, token, full = (KVCache.bytes_for(manifest, 1, n) for n in (0, 1, model.context_length or 0))
        lines.append(f"context    {model.context_length} tokens, vocabulary {model.vocabulary_size}")
        lines.append(f"cache      {size_text(token - empty)} a token, {size_text(full)} for the whole context")
    if program.encoder is not None:
        name, spec = program.encoder.context
        shape = ", ".join(map(str, spec.shape))
        lines.append(f"encoder    {program.encoder.file}, of {name}: {spec.dtype} [{shape}]")
    lines.append(f"files      {size_text(size)}")
    lines += [f"           {name}, {size_text(entry.size)}" for name, entry in manifest.files.items()]
    return lines


def _version_line(version: "ProgramInfo") -> str:
    """The CPU that a version of the program is for, and what a machine must have to run it."""
    untuned = ", untuned: nobody has measured it" if version.untuned else ""
    return f"{version.target}, {version.file}, needs {' '.join(version.cpu_features) or 'nothing'}{untuned}"


def _program_lines(program: "Program") -> list[str]:
    from graphwright.reporting.pricing import price_program, weight_bytes
    from graphwright.reporting.workload import choose_workload

    weights = f"{counted(len(program.weights), 'weight')}, {size_text(weight_bytes(program))}"
    lines = [f"graphs     of {program.name}: {weights}"]
    for name, graph in program.graphs.items():
        counts = ", ".join(f"{count} {op}" for op, count in Counter(op.name for op in graph).most_common())
        lines.append(f"           {name}, {counted(len(graph), 'op')}: {counts}")
    workload = choose_workload(program)
    sizes = {
        "prefill": f"prefill of {workload.prefill_length} tokens",
        "decode": f"decode at {workload.decode_context} tokens",
        "forward": f"{workload.prefill_length} tokens",
    }
    for phase, price in price_program(program, workload, None).items():
        moved = size_text(price.weight_bytes + price.activation_bytes + price.cache_bytes)
        flops, launches = count_text(price.flops), price.launches
        lines.append(f"cost       {sizes[phase]}: {flops} FLOPs, {moved} moved, {launches} launches")
    return lines
