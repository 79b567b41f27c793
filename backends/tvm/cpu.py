"""The CPU that kernels are written for: its name for LLVM, and the features that choose between instructions."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cpu:
    """`name` is LLVM's name (`mcpu`), `features` are as in /proc/cpuinfo.

    `attributes` are LLVM's (`mattr`), for what the name does not say. `triple` is LLVM's name of the kind of machine,
    where it is another than this one.
    """

    name: str
    features: frozenset[str] = frozenset()
    attributes: tuple[str, ...] = ()
    triple: str = ""

    @property
    def float_lanes(self) -> int:
        """float32 numbers in a vector register."""
        if "avx512f" in self.features:
            return 16
        return 8 if "avx2" in self.features else 4

    @property
    def has_avx2(self) -> bool:
        return {"avx2", "fma"} <= self.features

    @property
    def has_vnni(self) -> bool:
        """Whether one instruction multiplies and adds four bytes a lane, in registers of 512 bits (AVX-512 VNNI)."""
        return {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"} <= self.features

    @property
    def has_wide_bytes(self) -> bool:
        """Whether registers of 512 bits are multiplied byte by byte (AVX-512 BW)."""
        return {"avx512f", "avx512bw"} <= self.features

    @property
    def has_arm_products(self) -> bool:
        """Whether one instruction multiplies and adds four signed bytes a lane, in registers of 128 bits (`sdot`)."""
        return "asimddp" in self.features

    @property
    def has_bf16(self) -> bool:
        """Whether one instruction adds products of pairs of bfloat16 numbers to float32 (AVX-512 BF16)."""
        return {"avx512f", "avx512bw", "avx512vl", "avx512_bf16"} <= self.features

    @property
    def required(self) -> tuple[str, ...]:
        """The features that code for this CPU may use, which a manifest states."""
        return tuple(sorted(self.features & USED))


LEVEL_3 = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
"""What x86-64-v3 has beyond the levels below."""
LEVEL_4 = LEVEL_3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
VECTOR_EXTENSIONS = frozenset(
    {
        *("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_bitalg", "avx512_vpopcntdq", "avx512ifma"),
        *("avx512vbmi", "avx512_vbmi2", "avx_vnni", "gfni", "vaes", "vpclmulqdq"),
    }
)
ARM = frozenset({"asimd", "asimddp"})
USED = LEVEL_4 | VECTOR_EXTENSIONS | ARM
"""Features that kernels, or LLVM by the CPU's name, make use of and that a machine may lack."""

GENERIC = Cpu("generic")
AVX2 = Cpu("haswell", frozenset({"avx2", "fma", "f16c"}))


def host_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """This machine's."""
    from graphwright.backends.tvm.tvm_library import tvm

    name: str = tvm.get_global_func("target.llvm_get_system_cpu")()
    return Cpu(name, frozenset(_flags(cpuinfo.read_text().splitlines()) if cpuinfo.exists() else ()))


def _flags(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if line.startswith(("flags", "Features")):
            return line.partition(":")[2].split()
    return ()
