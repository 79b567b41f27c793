"""Kernels as flat code: blocks gone, buffers of one dimension, vectors spelt out, parallel loops left."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.tvm_library import s_tir, tirx, tvm


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
