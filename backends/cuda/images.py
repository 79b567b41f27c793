"""Machine code for variants of kernels: cubins by Triton, and for the emulator what it interprets."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from graphwright.backends.cuda.emit import TailVariant, Variant
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.nvrtc import cubin_of
from graphwright.ir.errors import UnsupportedError

EMULATED_MAGIC = b"\x7fEMULATED\n"
"""What stands before the description of a kernel in place of machine code."""


@dataclass(frozen=True)
class Image:
    """A module for the driver with one function. `shared` are bytes of a block's shared memory."""

    code: bytes
    symbol: str
    threads: int
    shared: int
    scratch_pointers: int
    """How many pointers the function takes behind its own parameters, for memory that it does not use."""


def described(variant: Variant | TailVariant) -> Image:
    """What the emulator takes in place of machine code: of a stage that TVM wrote, an object file of this machine's."""
    if isinstance(variant, TailVariant):
        facts = {
            "symbol": variant.name,
            "object": b64encode(variant.code).decode(),
            "parameters": variant.parameters,
            "threads": variant.threads,
        }
        return Image(EMULATED_MAGIC + json.dumps(facts).encode() + b"\0", variant.name, variant.threads, 0, 0)
    facts = {
        "symbol": variant.name,
        "body": variant.body,
        "parameters": variant.parameters,
        "constants": dict(variant.constants),
        "threads": 32 * variant.warps,
        "written": variant.written,
    }
    return Image(EMULATED_MAGIC + json.dumps(facts).encode() + b"\0", variant.name, 32 * variant.warps, 0, 0)


def compiled(variant: Variant | TailVariant, gpu: Gpu) -> Image:
    """The module of a variant for an architecture. Raises `UnsupportedError` where it needs what a block has not."""
    if isinstance(variant, TailVariant):
        return Image(cubin_of(variant.code, variant.name, gpu.number), variant.name, variant.threads, 0, 0)
    # Triton has no types that a checker could read.
    triton, targets = cast(Any, import_module("triton")), cast(Any, import_module("triton.backends.compiler"))

    module, _, name = variant.body.partition(":")
    function: Any = getattr(import_module(module), name)
    kinds, constants = dict(variant.parameters), dict(variant.constants)
    order = [parameter for parameter in function.arg_names if parameter in kinds]
    assert order == [parameter for parameter, _ in variant.parameters], f"{name} takes {order}"
    assert {*function.arg_names} == {*kinds, *constants}, f"{name} takes {function.arg_names}"
    signature = {parameter: kinds.get(parameter, "constexpr") for parameter in function.arg_names}
    # Every buffer begins at a multiple of 256 bytes, or of a page of the weights file.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, parameter in enumerate(function.arg_names)
        if kinds.get(parameter, "").startswith("*")
    }
    options: dict[str, Any] = {
        "num_warps": variant.warps,
        "num_stages": variant.stages,
        "enable_fp_fusion": True,
    }
    if gpu.starts_early:
        options["launch_pdl"] = True
    source = triton.compiler.ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=targets.GPUTarget("cuda", gpu.number, 32), options=options)
    facts = made.metadata
    if facts.shared > gpu.shared_bytes:
        raise UnsupportedError(f"{name} needs {facts.shared} bytes of shared memory, {gpu.name} has {gpu.shared_bytes}")
    assert facts.global_scratch_size == 0, f"{name} needs memory of its own"
    return Image(made.asm["cubin"], facts.name, 32 * facts.num_warps, facts.shared, 2)
