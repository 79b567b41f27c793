"""All kernels of this backend, as the library of a CPU."""

from functools import cache

from graphwright.backends.kernel_library import KernelLibrary
from graphwright.backends.tvm.cpu import GENERIC, Cpu
from graphwright.backends.tvm.library import attention, loops, products, rows
from graphwright.backends.tvm.library.choices import STEP

KERNELS = (*products.KERNELS, *attention.KERNELS, *rows.KERNELS, *loops.KERNELS)


@cache
def library_for(cpu: Cpu) -> KernelLibrary:
    """The kernels for a CPU. All CPUs have kernels for the same ops, with other defaults of choices."""
    return KernelLibrary("cpu", cpu, KERNELS, STEP)


LIBRARY = library_for(GENERIC)
CPU = LIBRARY.target
"""What lowering passes ask, whatever the CPU."""
