"""A stage for the threads of a GPU: as CUDA C, and as machine code in which a CPU goes through all threads."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.region.code import key, nodes, substitute
from graphwright.backends.tvm.region.kernel_code import C_FUNCTION, compiled
from graphwright.backends.tvm.tvm_library import codegen_build, llvm_target, tirx, tvm

BLOCK = 256
"""Threads of a block that share the iterations of a stage."""
DEVICE_KERNEL = 2
"""TVM's calling convention of what a driver launches."""
OLDEST = "sm_80"
"""TVM writes nothing that depends on an architecture; what compiles its C is told the right one."""

TYPES = """\
typedef signed char int8_t;
typedef unsigned char uint8_t, uchar;
typedef short int16_t;
typedef unsigned short uint16_t, ushort;
typedef int int32_t;
typedef unsigned int uint32_t, uint;
typedef long long int64_t;
typedef unsigned long long uint64_t;
"""
"""What code that TVM writes takes from headers. Its own beginning asks for those of the C++ library, which take NVRTC
two seconds, and for nothing else that such code needs."""
HEADERS = {"half": "cuda_fp16.h", "nv_bfloat16": "cuda_bf16.h", "CUDART_": "math_constants.h"}
"""By what of them stands in the code."""


def cuda_source(name: str, function: Any) -> str:
    """A stage `(item, pointers, sizes)` as a kernel `name(pointers, sizes)` in CUDA C, of blocks of `BLOCK` threads."""
    target = tvm.target.Target(
        {
            "kind": "cuda",
            "arch": OLDEST,
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 48 << 10,
            "thread_warp_size": 32,
        },
        host="llvm",
    )
    with target:
        source: str = codegen_build(thread_bound(name, function, target), target).inspect_source("cuda")
    code = source[source.index('extern "C"') :]
    return "".join(f"#include <{file}>\n" for name, file in HEADERS.items() if name in code) + TYPES + code


def thread_bound(name: str, function: Any, target: Any) -> Any:
    """A stage `(item, pointers, sizes)` as a module of a kernel `name(pointers, sizes)` for blocks of `BLOCK` threads,
    ready to be written for the target."""
    item, *parameters = function.params
    block, thread = (_index(kind) for kind in ("blockIdx.x", "threadIdx.x"))
    number = tirx.Cast("int64", block.var) * BLOCK + tirx.Cast("int64", thread.var)
    body = substitute(_own_memory(_statements(function.body)), {key(item): number})
    body = tirx.AttrStmt(thread, "thread_extent", tirx.IntImm("int32", BLOCK), body)
    body = tirx.AttrStmt(block, "thread_extent", tirx.Var("blocks", "int32"), body)
    attributes = tvm.ir.make_node(
        "ir.DictAttrs",
        target=target,
        global_symbol=name,
        calling_conv=DEVICE_KERNEL,
        **{"tirx.is_global_func": True},
    )
    kernel = tirx.PrimFunc(parameters, body, ret_type=None, attrs=attributes)
    steps = [
        tirx.transform.BindTarget(target),
        tirx.transform.StmtSimplify(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.BF16StorageLegalize(),
        tirx.transform.LowerIntrin(),
        tirx.transform.ConvertSSA(),
    ]
    with target:
        return tvm.transform.Sequential(steps)(tvm.IRModule({tvm.ir.GlobalVar(name): kernel}))


def object_code(name: str, function: Any, cpu: Cpu) -> bytes:
    """A stage `(item, pointers, sizes)` as a C function `name(blocks, pointers, sizes)` in an object file.

    It goes through the threads of so many blocks one after another.
    """
    item, *parameters = function.params
    blocks = tirx.Var("blocks", "int32")
    threads = tirx.Cast("int64", blocks) * BLOCK
    around: list[Any] = []
    body = function.body
    while isinstance(body, tirx.AttrStmt):
        around.append(body)
        body = body.body
    *statements, ending = body.seq
    loop = tirx.For(item, tirx.IntImm("int64", 0), threads, tirx.ForKind.SERIAL, tirx.SeqStmt(statements))
    body = tirx.SeqStmt([loop, ending])
    for each in reversed(around):
        body = tirx.AttrStmt(each.node, each.attr_key, each.value, body)
    target = llvm_target(cpu)
    attributes = tvm.ir.make_node("ir.DictAttrs", target=target, global_symbol=name, calling_conv=C_FUNCTION)
    made = tirx.PrimFunc([blocks, *parameters], body, ret_type=tvm.ir.PrimType("int32"), attrs=attributes)
    with TemporaryDirectory() as folder:
        path = Path(folder, "stage.o")
        compiled(tvm.IRModule({tvm.ir.GlobalVar(name): made}), target).write_to_file(str(path))
        return path.read_bytes()


def _index(kind: str) -> Any:
    name = kind.partition(".")[0]
    return tirx.IterVar(None, tirx.Var(name, "int32"), tirx.IterVar.ThreadIndex, kind)


def _statements(body: Any) -> Any:
    """What a stage's function does, without the result and the device that it gives and names on a CPU."""
    while isinstance(body, tirx.AttrStmt):
        body = body.body
    *statements, ending = body.seq
    assert isinstance(ending, tirx.Evaluate | tirx.Return), ending
    return tirx.SeqStmt(statements)


def _own_memory(body: Any) -> Any:
    """The code with all scratch in the registers or the local memory of a thread."""
    buffers = [each.buffer for each in nodes(body, tirx.AllocBuffer)]
    moved: dict[int, Any] = {}
    for buffer in buffers:
        if str(buffer.scope()) != "local":
            moved[key(buffer)] = tirx.decl_buffer(buffer.shape, buffer.dtype, buffer.name, scope="local")
    return substitute(body, moved) if moved else body
