"""How functions run that TVM made of operators, for which there is no kernel of ours."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.emit.emitter import KERNEL
from graphwright.backends.tvm.region.code import as_constant
from graphwright.backends.tvm.tvm_library import s_tir, tirx, tvm

SERIAL = 16_384
"""Numbers up to which a result is computed by one thread: less work than meeting the others costs is not divided."""


def schedule_tail(module: Any) -> Any:
    """The module, its functions but for kernels with their loops parallel where that pays."""
    functions: dict[Any, Any] = {}
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and KERNEL in function.attrs):
            functions[name] = _scheduled(function)
        else:
            functions[name] = function
    return tvm.IRModule(functions)


def _scheduled(function: Any) -> Any:
    schedule = s_tir.Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        loops = schedule.get_loops(block)
        kinds = [variable.iter_type for variable in schedule.get(block).iter_vars]
        outer: list[Any] = []
        for loop, kind in zip(loops, kinds, strict=False):
            if kind != tirx.IterVar.DataPar:
                break
            outer.append(loop)
        extents = [as_constant(schedule.get(loop).extent) for loop in loops]
        work = 1
        for extent in extents:
            work = None if work is None or extent is None else work * extent
        if outer and (work is None or work > SERIAL):
            schedule.parallel(schedule.fuse(*outer))
    return schedule.mod["main"]
