"""The CPUs that code can be asked for by name, so that it runs elsewhere: levels of x86-64 and what they lack."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.backends.tvm.cpu import ARM, LEVEL_3, LEVEL_4, Cpu, host_cpu
from graphwright.ir.errors import UserError

NATIVE = "native"
"""The machine that compiles."""

WIDE = ("-prefer-256-bit",)
"""LLVM takes vectors of 512 bits for slow, by the name of the level, where it is free to choose."""

LEVELS = {
    "v3": Cpu("x86-64-v3", LEVEL_3),
    "v4": Cpu("x86-64-v4", LEVEL_4, WIDE),
    "v4+vnni": Cpu("x86-64-v4", LEVEL_4 | {"avx512_vnni"}, (*WIDE, "+avx512vnni")),
    "v4+vnni+bf16": Cpu("x86-64-v4", LEVEL_4 | {"avx512_vnni", "avx512_bf16"}, (*WIDE, "+avx512vnni", "+avx512bf16")),
}
UNTUNED = {
    "aarch64+dotprod": Cpu("generic", ARM, ("+neon", "+dotprod"), "aarch64-linux-gnu"),
}
"""Right, and measured by nobody yet."""


@dataclass(frozen=True)
class CpuTarget:
    """A CPU to compile for, under the name by which it is asked for."""

    name: str
    cpu: Cpu

    @property
    def untuned(self) -> bool:
        """Whether nobody has measured the code on such a machine."""
        return self.name in UNTUNED


def target_names(text: str) -> list[str]:
    """The names in a text that joins them by commas, each once. Raises `UserError` for one that is not known."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known_names():
            raise UserError(f"there is no CPU '{name}' to compile for: there is {', '.join(known_names())}")
    return names


def known_names() -> tuple[str, ...]:
    return (NATIVE, *LEVELS, *UNTUNED)


def triple_of(name: str) -> str:
    """The triple of a known name, as `Cpu` has it. This loads nothing."""
    return "" if name == NATIVE else {**LEVELS, **UNTUNED}[name].triple


def find_target(name: str) -> CpuTarget:
    """The target of a name that is known. For `native`, this loads TVM."""
    return CpuTarget(name, host_cpu() if name == NATIVE else {**LEVELS, **UNTUNED}[name])
