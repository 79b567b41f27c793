# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""What is asked of flat TensorIR."""

from __future__ import annotations

from graphwright.backends.tvm.region.code import accessed_buffers, key
from graphwright.backends.tvm.tvm_library import T


def test_memory_that_is_asked_for_is_not_written_and_an_address_that_is_handed_on_is() -> None:
    @T.prim_func(private=True, s_tir=True)
    def asking(x: T.Buffer((64,), "float32"), y: T.Buffer((64,), "float32"), z: T.Buffer((64,), "float32")):
        T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(x[3]), 0, 2, 1))
        T.evaluate(T.call_llvm_intrin("void", "llvm.assume", T.address_of(y[3])))
        z[0] = T.float32(0)

    names = {key(v): v.name for v in asking.params}
    reads, writes = accessed_buffers(asking.body)
    assert sorted(names[k] for k in writes) == ["y", "z"]
    assert "y" in {names[k] for k in reads}
