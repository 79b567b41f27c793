"""The steps of legalization, in order: fusions first, then what fits nowhere is decomposed."""

from __future__ import annotations

from graphwright.backends.onnx.legalize.decompose import decompose
from graphwright.backends.onnx.legalize.experts import experts_to_operator
from graphwright.backends.onnx.legalize.group_query_attention import fuse_group_query_attention
from graphwright.backends.onnx.legalize.linear import linear_to_matmul
from graphwright.backends.onnx.legalize.masked_attention import attention_to_masked
from graphwright.backends.onnx.legalize.packed_caches import pack_caches
from graphwright.backends.onnx.legalize.padding import keep_padding_finite
from graphwright.backends.onnx.legalize.quantized import quantized_to_operators
from graphwright.backends.onnx.legalize.recurrence import recurrences_to_kernels
from graphwright.backends.onnx.legalize.ring_caches import rings_to_gathers
from graphwright.backends.onnx.legalize.rotary import rope_to_rotary_embedding
from graphwright.backends.onnx.legalize.skip_norm import fuse_skip_norms
from graphwright.backends.onnx.legalize.step import Context, Step
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.targets import Target
from graphwright.ir.verifier import verify_graph

STEPS: tuple[Step, ...] = (
    quantized_to_operators,
    linear_to_matmul,
    recurrences_to_kernels,
    pack_caches,  # before attention, which takes packed caches
    fuse_group_query_attention,
    rope_to_rotary_embedding,
    attention_to_masked,
    fuse_skip_norms,
    rings_to_gathers,
    keep_padding_finite,
    decompose,
    # After narrow floats have been widened.
    experts_to_operator,
)


def legalize(program: Program, graph: Graph, target: Target) -> Outcome:
    """Rewrites the graph in place; new weights go to the program. Returns hits and near misses.

    Raises `UnsupportedError`, naming op and module path, if something is left that the target does not take.
    """
    context = Context(program, graph, target)
    for step in STEPS:
        step(context)
        graph.erase_dead()
    for op in graph:
        problem = target.refusal(op)
        if problem is not None:
            where = f" at {op.location}" if op.location else ""
            raise UnsupportedError(f"{op.name}{where}: {problem}, and there is no way to express it otherwise")
    verify_graph(graph)
    return context.outcome
