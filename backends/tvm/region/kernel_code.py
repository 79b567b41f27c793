"""A kernel as code: from a function in TensorIR to a record of its stages and their machine code."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphwright.backends.element_types import DTYPES
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.region.code import is_buffer, key
from graphwright.backends.tvm.region.kernel_record import Axes, BufferUse, KernelRecord, StageRecord
from graphwright.backends.tvm.region.stages import Kernel, Stage, split_kernel
from graphwright.backends.tvm.sizes import Sizes
from graphwright.backends.tvm.tvm_library import codegen_build, llvm_target, s_tir, tirx, tvm
from graphwright.ir.dims import Dim
from graphwright.ir.types import TensorType

C_FUNCTION = 3
"""A calling convention other than TVM's own ones: the function takes its parameters as C does, and is seen outside."""


@dataclass(frozen=True)
class KernelCode:
    """A kernel's record, and its stages as functions that are not compiled yet."""

    record: KernelRecord
    functions: dict[str, Any]
    cpu: Cpu

    def compile(self) -> bytes:
        """The stages as an object file."""
        target = llvm_target(self.cpu)
        functions = {
            tvm.ir.GlobalVar(name): function.with_attr("calling_conv", C_FUNCTION)
            .with_attr("global_symbol", name)
            .with_attr("target", target)
            for name, function in self.functions.items()
        }
        with TemporaryDirectory() as folder:
            path = Path(folder, "kernel.o")
            compiled(tvm.IRModule(functions), target).write_to_file(str(path))
            return path.read_bytes()


def kernel_code(name: str, function: Any, cpu: Cpu, *, by_item: bool = False) -> KernelCode:
    """A kernel's stages: see `split_kernel`."""
    module = tvm.IRModule({tvm.ir.GlobalVar(name): function})
    (flat,) = flatten(module, llvm_target(cpu)).functions.values()
    kernel = split_kernel(name, flat, by_item=by_item)
    return KernelCode(_recorded(kernel), {stage.name: stage.function for stage in kernel.stages}, cpu)


def _recorded(kernel: Kernel) -> KernelRecord:
    variables: dict[int, Dim] = {}

    def variable(each: Any) -> str:
        # Names that kernels give to variables need not differ.
        return str(variables.setdefault(key(each), Dim.of(f"v{len(variables)}")))

    def axes(buffer: Any) -> Axes:
        return tuple(variable(size) if isinstance(size, tvm.ir.Var) else None for size in buffer.shape)

    parameters = tuple(axes(each) if is_buffer(each) else variable(each) for each in kernel.parameters)
    sizes = Sizes()
    scratch = tuple(
        TensorType(DTYPES[str(b.ty.dtype)], tuple(sizes.dimension(size, variables) for size in b.shape))
        for b in kernel.scratch
    )
    buffers = [each for each in (*kernel.parameters, *kernel.scratch) if is_buffer(each)]
    numbers = {key(buffer): number for number, buffer in enumerate(buffers)}

    def stage(each: Stage) -> StageRecord:
        return StageRecord(
            each.name,
            None if each.extent is None else sizes.dimension(each.extent, variables),
            each.arms,
            tuple(BufferUse(numbers[k], k in each.reads, k in each.writes) for k in map(key, each.buffers)),
            tuple((variable(v), DTYPES[str(v.ty.dtype)]) for v in each.sizes),
        )

    stages = tuple(map(stage, kernel.stages))
    return KernelRecord(parameters, scratch, sizes.definitions, stages)


def compiled(module: Any, target: Any) -> Any:
    """A module of flat functions as machine code."""
    target = target.with_host(target)
    steps = [
        tirx.transform.BindTarget(target),
        tirx.transform.StmtSimplify(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
        tirx.transform.LowerTVMBuiltin(),
        tirx.transform.LowerIntrin(),
        tirx.transform.ConvertSSA(),  # a kernel's inlined functions may bind one variable in several places
    ]
    with target:
        lowered = tvm.transform.Sequential(steps)(module)
    return codegen_build(lowered, target)


def flatten(module: Any, target: Any) -> Any:
    """The module with every PrimFunc lowered as far as is possible before functions get their calling convention."""
    steps = [
        tirx.transform.BindTarget(target),
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.AnnotateIrregularLoop(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.BF16ComputeLegalize(),
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        tirx.transform.VectorizeLoop(),
        tirx.transform.UnrollLoop(),
        s_tir.transform.RenormalizeSplitPattern(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        # A kernel's inlined functions may bind one variable in several places, which one stage may have.
        tirx.transform.ConvertSSA(),
    ]
    with target:
        return tvm.transform.Sequential(steps)(module)
