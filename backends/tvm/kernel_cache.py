"""Compiled kernels, kept between compiles: to write and compile one takes a second, and models share most of them.

A kernel's name states its content: how it was made, for which CPU, by which versions. An entry is two files, the record
of its stages and their machine code.
"""

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from graphwright import ir
from graphwright.backends.tvm.cpu import Cpu
from graphwright.ir.cache_folder import Cache, source_digest

RECORD, CODE = ".json", ".o"
"""Ends of file names: the record of a kernel's stages, their machine code."""
KERNELS = Cache("kernels", most_bytes=256 << 20)
"""A kernel has some 10 KiB."""


def content_name(label: str, made: str, cpu: Cpu) -> str:
    """A name for a kernel that was made so: a word of C's, of which equal kernels alone have the same."""
    content = f"{made}\n{_origin(cpu)}"
    return f"{label}_{sha256(content.encode()).hexdigest()[:16]}"


@cache
def _origin(cpu: Cpu) -> str:
    """What a kernel's code depends on beside how it was made: the CPU, versions, and our own source."""
    source = source_digest(Path(__file__).parent, *map(Path, ir.__path__))
    machine = cpu.name, sorted(cpu.features), cpu.attributes, cpu.triple
    return repr((*machine, version("apache-tvm"), version("apache-tvm-ffi"), source))
