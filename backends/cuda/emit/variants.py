"""What becomes machine code: a kernel with all that is fixed about it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

Constant = int | float | str | bool | None


@dataclass(frozen=True)
class Variant:
    """A kernel in Triton with its constants: one function of machine code. `parameters` are Triton's types, in
    order."""

    name: str
    body: str
    """`module:function`."""
    parameters: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Constant], ...]
    warps: int
    stages: int
    written: tuple[str, ...]
    """The pointers that the kernel may write through; the others it only reads."""

    @property
    def kernel(self) -> str:
        return self.body.partition(":")[2]

    @property
    def starts_early(self) -> bool:
        """Whether it waits itself for what it reads, so that it may be started before that is there."""
        return bool(dict(self.constants).get("PDL"))


@dataclass(frozen=True)
class TailVariant:
    """A stage that TVM wrote, a function called as it: names and types of parameters, threads of a block.

    The code is CUDA C, or for the emulator an object file of this machine's code: see `backends.tvm.threads.code`.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    threads: int
    code: bytes

    @property
    def kernel(self) -> str:
        return self.name

    @property
    def starts_early(self) -> bool:
        return False
