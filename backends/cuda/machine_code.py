"""What a cubin says of itself: registers, spills, occupancy, how it loads, which units multiply, what comes before the
wait for the kernel before it. This is what neither an emulator nor a test of values can see.

The figures of functions lie in the sections `.nv.info` of the ELF file; instructions are those that `nvdisasm` prints.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.toolchain import triton_tool
from graphwright.ir.errors import UnsupportedError

_REGISTER_COUNT, _FRAME_SIZE = 0x2F, 0x11
"""Attributes EIATTR_REGCOUNT and EIATTR_FRAME_SIZE, as `cuobjdump --dump-elf` names them."""
_SIZED = 4
"""The format of an attribute that has a size, EIFMT_SVAL."""
_WAIT = "ACQBULK"
"""The instruction of `griddepcontrol.wait`."""
_WIDTH = re.compile(r"\.(?:[US])?(8|16|32|64|128|256)(?=\.|$)")


@dataclass(frozen=True)
class Multiprocessor:
    """What a multiprocessor has for all its blocks: bytes of shared memory, warps, blocks."""

    shared_bytes: int
    warps: int
    blocks: int


_REGISTERS = 65536
_BLOCK_SHARED = 1024
"""Bytes of shared memory that a block takes besides its own, from compute capability 8.0 on."""
MULTIPROCESSORS = {
    number: Multiprocessor(kib << 10, warps, blocks)
    for number, (kib, warps, blocks) in {
        80: (164, 64, 32),
        86: (100, 48, 16),
        89: (100, 48, 24),
        90: (228, 64, 32),
        100: (228, 64, 32),
        103: (228, 64, 32),
        120: (100, 48, 24),
    }.items()
}
"""CUDA C++ Programming Guide, technical specifications per compute capability."""


@dataclass(frozen=True)
class MachineCode:
    """One function. Counts are of instructions as they stand in the code, not as they run."""

    registers: int
    """Of a thread."""
    stack_bytes: int
    """Of a thread: what registers do not hold. Kernels have no arrays of their own, so that it is what spills."""
    loads: Mapping[int, int]
    """Loads from global memory, by the bytes that a thread gets of one; 0: a box of a tensor, for all its threads."""
    products: Mapping[str, int]
    """Products of tiles by the unit's instruction: HMMA, HGMMA, IMMA, UTCHMMA, ..."""
    loads_before_wait: int | None
    """None where it waits for no kernel before it."""

    @property
    def widest_load(self) -> int:
        return max(self.loads, default=0)


def read_code(cubin: bytes, symbol: str) -> MachineCode:
    """What the function of that name is. Raises `UnsupportedError` for what is no cubin that has it."""
    sections = dict(_sections(cubin))
    if f".text.{symbol}" not in sections or ".nv.info" not in sections:
        raise UnsupportedError(f"this is no machine code of a function {symbol}")
    attributes = dict(_attributes(sections[".nv.info"]))
    return MachineCode(
        attributes.get(_REGISTER_COUNT, 0), attributes.get(_FRAME_SIZE, 0), *_instructions(_disassembled(cubin))
    )


def blocks_at_once(code: MachineCode, threads: int, shared: int, gpu: Gpu) -> int:
    """How many blocks of so many threads and bytes of shared memory a multiprocessor has room for."""
    room = MULTIPROCESSORS[gpu.number]
    warps = -(-threads // 32)
    # Registers are given to warps in units of 256, on four schedulers that share them.
    of_warp = -(-code.registers * 32 // 256) * 256
    by_registers = (_REGISTERS // of_warp // 4 * 4) // warps if of_warp else room.blocks
    by_shared = room.shared_bytes // (shared + _BLOCK_SHARED)
    return min(by_registers, by_shared, room.warps // warps, room.blocks)


def _instructions(names: list[str]) -> tuple[Mapping[int, int], Mapping[str, int], int | None]:
    loads, products = Counter[int](), Counter[str]()
    before: int | None = None
    for name in names:
        kind = name.partition(".")[0]
        if kind in ("LDG", "LDGSTS"):
            found = _WIDTH.findall(name)
            loads[int(found[-1]) // 8 if found else 4] += 1
        elif kind == "UTMALDG":
            loads[0] += 1
        elif kind.endswith("MMA"):
            products[kind] += 1
        elif kind == _WAIT and before is None:
            before = sum(loads.values())
    return dict(sorted(loads.items())), dict(sorted(products.items())), before


def _disassembled(cubin: bytes) -> list[str]:
    """The instructions with their modifiers, as `LDG.E.128`, in the order of their addresses."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        done = subprocess.run([triton_tool("nvdisasm"), "-c", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"nvdisasm does not read this code: {done.stderr.strip().splitlines()[-1]}")
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", done.stdout)


def _sections(elf: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the sections of a 64-bit ELF file; none of anything else."""
    if elf[:5] != b"\x7fELF\x02" or len(elf) < 64:
        return
    start, size, count, names = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HHH", elf, 58)
    if start + size * count > len(elf) or names >= count:
        return
    heads = [struct.unpack_from("<IIQQQQ", elf, start + size * i) for i in range(count)]
    offset, length = heads[names][4:6]
    texts = elf[offset : offset + length]
    for name, kind, _, _, offset, length in heads:
        # Sections of kind 8 have a size, but nothing in the file.
        yield texts[name:].partition(b"\0")[0].decode(), b"" if kind == 8 else elf[offset : offset + length]


def _attributes(info: bytes) -> Iterator[tuple[int, int]]:
    """Attributes of the module's one function that are a number: after the function's symbol."""
    at = 0
    while at + 4 <= len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == _SIZED:
            if size == 8:
                yield attribute, struct.unpack_from("<II", info, at)[1]
            at += size
