"""The code of a step in pieces, each a function of its own: LLVM takes more than twice as long over twice the code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphwright.backends.tvm.region.barrier import CODE, PRAGMA
from graphwright.backends.tvm.region.code import free_variables, key
from graphwright.backends.tvm.tvm_library import tirx, tvm

LENGTH = 40
"""Statements of a segment."""
ANY = 1 << 40
"""The size of a buffer of bytes that nothing looks at."""


class Memory:
    """A buffer of the step's parameters, as segments know it: by a pointer, and, of bytes, by addresses behind that."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self.pointer = tirx.Var(f"{buffer.name}_data", tvm.ir.PointerType(buffer.ty.dtype))
        self._bytes = tirx.decl_buffer([ANY], "uint8", f"{buffer.name}_bytes")

    def declaration(self) -> Any:
        """What a segment begins with that takes addresses."""
        return tirx.DeclBuffer(self._bytes, data=self.pointer)

    def address(self, offset: Any) -> Any:
        index = tirx.IntImm("int64", offset) if isinstance(offset, int) else offset
        return tirx.address_of(tirx.BufferLoad(self._bytes, [index]))


def cut(statements: Sequence[Any]) -> list[list[Any]]:
    return [list(statements[first : first + LENGTH]) for first in range(0, len(statements), LENGTH)]


def segment_function(statements: Sequence[Any], addressed: Sequence[Memory]) -> Any:
    """The statements as a function of the variables that they use; `addressed` are the memories of bytes."""
    body = tirx.SeqStmt([*(memory.declaration() for memory in addressed), *statements])
    parameters = free_variables(body)
    body = tirx.SeqStmt([body, tirx.Return(tirx.IntImm("int32", 0))])
    body = tirx.AttrStmt(tirx.IntImm("int32", 0), PRAGMA, tvm.ir.StringImm(CODE), body)
    return tirx.PrimFunc(parameters, body, ret_type=tvm.ir.PrimType("int32"))


def call_segment(name: str, function: Any, memories: Sequence[Memory]) -> Any:
    """The statement that calls a segment from the step."""
    given = {key(memory.pointer): memory.buffer.data for memory in memories}
    arguments = [given.get(key(parameter), parameter) for parameter in function.params]
    return tirx.Evaluate(tirx.call_extern("int32", name, *arguments))
