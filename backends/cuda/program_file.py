"""The plans and kernels of an architecture as the runtime reads them: numbers and names alone."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from graphwright.backends.cuda.emit import TailVariant
from graphwright.backends.cuda.images import Image
from graphwright.backends.cuda.lower import Planned
from graphwright.backends.cuda.seeded import Fill
from graphwright.backends.cuda.toolchain import NVRTC_CUDA, NVRTC_DRIVER, toolchain
from graphwright.backends.plan import Buffer, Given, Plan, Stage, Stored, Temporary
from graphwright.backends.program_specs import DIMENSION_NAMES
from graphwright.ir.dims import Dim


def target_entry(planned: Planned, images: Mapping[str, Image]) -> tuple[dict[str, Any], bytes]:
    """What `runtime.engines.cuda_program.Target` is read from, and the file of machine code that it tells of."""
    code = bytearray()
    kernels: dict[str, Any] = {}
    for name, variant in planned.variants.items():
        image = images[name]
        kernels[name] = {
            "offset": len(code),
            "bytes": len(image.code),
            "sha256": sha256(image.code).hexdigest(),
            "symbol": image.symbol,
            "threads": image.threads,
            "shared": image.shared,
            "starts_early": variant.starts_early,
            "parameters": ["pointer" if kind.startswith("*") else kind for _, kind in variant.parameters],
            "scratch_pointers": image.scratch_pointers,
        }
        code += image.code
    graphs = {name: _graph(plan) for name, plan in planned.plans.items()}
    fills = [_fill(fill, planned) for fill in planned.weights.fills]
    return {"compiled_by": _compiled_by(planned), "kernels": kernels, "fills": fills, "graphs": graphs}, bytes(code)


def _compiled_by(planned: Planned) -> dict[str, Any] | None:
    if planned.gpu.emulated:
        return None
    tools = toolchain()
    cuda, driver = tools.cuda, tools.driver
    if any(isinstance(variant, TailVariant) for variant in planned.variants.values()):
        cuda, driver = max(cuda, NVRTC_CUDA), max(driver, NVRTC_DRIVER)
    return {"triton": tools.triton, "ptxas": tools.ptxas, "cuda": cuda, "driver": driver}


def _fill(fill: Fill, planned: Planned) -> dict[str, Any]:
    programs = -(-fill.count // fill.block(planned.gpu))
    return {
        "kernel": fill.variant(planned.gpu).name,
        "programs": _size(Dim.of(programs)),
        "buffers": [{"stored": fill.offset}],
        "sizes": [_size(Dim.of(fill.count)), _size(Dim.of(fill.seed))],
    }


def _graph(plan: Plan) -> dict[str, Any]:
    return {
        "definitions": {
            name: {"kind": each.kind, "first": _size(each.first), "second": _size(each.second)}
            for name, each in plan.definitions.items()
        },
        "slots": [_size(size) for size in plan.slots],
        "launches": [_launch(stage, plan) for launch in plan.launches for stage in launch.stages],
    }


def _launch(stage: Stage, plan: Plan) -> dict[str, Any]:
    assert stage.extent is not None, "a GPU has no stage of one thread"
    return {
        "kernel": stage.function,
        "programs": _size(stage.extent),
        "buffers": [_place(access.buffer, plan) for access in stage.accesses],
        "sizes": [_size(size) for size, _ in stage.sizes],
    }


def _place(buffer: Buffer, plan: Plan) -> dict[str, Any]:
    match buffer:
        case Given():
            return {"given": buffer.graph_name}
        case Stored():
            return {"stored": buffer.offset}
        case Temporary():
            assert plan.slot_of is not None, "memory is planned"
            return {"slot": plan.slot_of[buffer]}
        case _:
            raise AssertionError(f"{buffer} is no memory")


def _size(size: Dim) -> list[list[Any]]:
    """A polynomial: of each term the factor, then its symbols, as the manifest calls them."""
    return [[factor, *(DIMENSION_NAMES.get(symbol, symbol) for symbol in symbols)] for symbols, factor in size.terms]
