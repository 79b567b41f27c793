"""Machines by name, and this one, `local`, as measured: kept in the user's cache, by processor and number of cores."""

import datetime
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graphwright.ir import DType
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.cache_folder import cache_folder
from graphwright.ir.machines import LOCAL, Machine, machine, plain_name
from graphwright.runtime.cores import available_cores
from graphwright.runtime.files import SETTINGS, read_bytes

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Measured(BaseModel):
    """What one machine has reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processor: str
    cores: int
    flops_per_second: Rate = Field(description="of products in float32")
    bytes_per_second: Rate
    launch_seconds: Rate
    date: datetime.date


class _Cache(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    machines: tuple[Measured, ...] = ()


def choose_machine(name: str, on_stage: Callable[[str], object] | None = None) -> Machine:
    """The machine of that name; `local` is this one, measured if it is not known yet.

    Raises a user's error, with the nearest name and all, if there is none.
    """
    return local_machine(on_stage=on_stage) if plain_name(name) == LOCAL else machine(name)


def local_machine(*, anew: bool = False, on_stage: Callable[[str], object] | None = None) -> Machine:
    """This machine: as measured before, unless that is to be done `anew`, else measured, which takes some seconds.

    `on_stage` is called with the name of each measurement that begins. Raises UsageError where neither ONNX Runtime nor
    torch is installed. Element types other than float32 are taken to be as fast as that.
    """
    path, processor, cores = cache_file(), processor_name(), available_cores()
    known = _read(path)
    here = [m for m in known if (m.processor, m.cores) == (processor, cores)]
    if anew or not here:
        measured = measure(processor, cores, on_stage)
        _write(path, (*(m for m in known if m not in here), measured))
    else:
        (measured, *_) = here
    source = f"measured {measured.date.isoformat()} on {processor}, {cores} {'core' if cores == 1 else 'cores'}"
    rates = {DType.F32: measured.flops_per_second}
    return Machine(LOCAL, rates, measured.bytes_per_second, measured.launch_seconds, source)


def measure(processor: str, cores: int, on_stage: Callable[[str], object] | None = None) -> Measured:
    """Takes some seconds, and a GiB of memory. Raises UsageError."""
    from graphwright.machines.microbenchmarks import launch_seconds, product_rate, read_bandwidth

    measurements: dict[str, Callable[[], float]] = {
        "measure products": product_rate,
        "measure launches": launch_seconds,
        "measure memory": read_bandwidth,
    }
    found: list[float] = []
    for stage, run in measurements.items():
        if on_stage is not None:
            on_stage(stage)
        found.append(run())
    flops, launch, bandwidth = found
    return Measured(
        processor=processor,
        cores=cores,
        flops_per_second=flops,
        bytes_per_second=bandwidth,
        launch_seconds=launch,
        date=datetime.date.today(),
    )


def cache_file() -> Path:
    """Where measurements are kept."""
    return cache_folder() / "machine.json"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model as the system names it."""
    with suppress(OSError):
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _read(path: Path) -> tuple[Measured, ...]:
    """What the file has; nothing if it is missing, damaged, or of another format."""
    try:
        return _Cache.model_validate_json(read_bytes(path, SETTINGS)).machines
    except (OSError, ValidationError):
        return ()


def _write(path: Path, machines: tuple[Measured, ...]) -> None:
    # Where nothing can be kept, the next run measures again: no reason to fail this one.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _Cache(machines=machines).model_dump_json(indent=2)
        write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
