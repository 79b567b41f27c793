"""Every op that the tail runs on GPUs, its thread-bound code beside the op's reference; and the same code as cubins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphwright.backends.cuda.backend import CudaBackend, CudaOptions
from graphwright.backends.cuda.emit import TailVariant
from graphwright.backends.cuda.gpu import GPUS
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.ir import DType, Graph, Program, UnsupportedError, ops
from graphwright.ir.interpreter import apply_reference
from graphwright.passes import run_passes
from tests.backends.cuda.steps import Steps
from tests.backends.running import ROUNDOFF, SLACK
from tests.backends.tvm.emit.test_every_op import ALL, SIZES, TOKENS, graph, operand_names, real_part
from tests.ir.cases import Case

OFTEN = (
    *(ops.add, ops.where, ops.lt, ops.remainder, ops.erf, ops.softmax, ops.layer_norm, ops.mean, ops.any, ops.topk),
    *(ops.sort_order, ops.gather, ops.scatter_elements, ops.concat, ops.slice, ops.transpose, ops.matmul),
    *(ops.moe_experts, ops.kv_append, ops.cumsum, ops.running_sum),
)
"""Of these one case each runs with all tests, the others where everything is run."""


def _often() -> list[int]:
    """Places in `ALL`."""
    first = {case.op.name: index for index, case in reversed([*enumerate(ALL)])}
    return sorted(first[op.name] for op in OFTEN)


def _parameters() -> list[Any]:
    often = _often()
    return [
        pytest.param(index, id=str(case), marks=() if index in often else pytest.mark.emulated_full)
        for index, case in enumerate(ALL)
    ]


def lowered(each: Graph) -> list[Graph]:
    program = Program("test")
    program.add_graph(each)
    run_passes(program, CudaBackend().lowering(CudaOptions(), decoder=False)[1:])
    return list(program.graphs.values())


@pytest.mark.parametrize("index", _parameters())
def test_equals_the_reference(index: int) -> None:
    case = ALL[index]
    steps = Steps(lowered(graph(case, "forward")))
    op = case.build()
    for seed, sizes in enumerate(SIZES):
        operands = case.sample(sizes, torch.Generator().manual_seed(seed))
        inputs = {n: v for n, v in zip(operand_names(case), operands, strict=False) if v is not None}
        inputs |= {f"size_{symbol}": torch.zeros(n, dtype=torch.int64) for symbol, n in sizes.items()}
        wanted: list[Tensor] = apply_reference(case.op, operands, op.attributes, [v.type for v in op.results], sizes)
        found = steps.run("forward", inputs).values()
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if number == 0 and case.op in (*TOKENS, ops.running_sum):
                one, other = real_part(case, operands, one), real_part(case, operands, other)
            if not other.dtype.is_floating_point:
                assert torch.equal(one, other)
                continue
            # A narrow result may be rounded to the other side.
            unit = torch.finfo(other.dtype).eps if other.dtype.itemsize < 4 else SLACK * ROUNDOFF
            bound = unit * float(other.double().abs().max())
            assert float((one.double() - other.double()).abs().max()) <= bound, sizes


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.emulated_full)])
def test_is_machine_code_for_gpus(every: bool) -> None:
    """By NVRTC, without a toolkit; the oldest architecture that there is and one of those that are used most."""
    indices = [*range(len(ALL))] if every else _often()
    tasks: list[Task] = []
    for index in indices:
        graphs = lowered(graph(ALL[index], "forward"))
        for gpu in (GPUS["sm_80"], GPUS["sm_90"]):
            variants = plan_graphs(graphs, gpu).variants.values()
            tasks += [Task(variant, gpu) for variant in variants if isinstance(variant, TailVariant)]
    assert len(tasks) > len(indices)
    for task, image in zip(tasks, images_of(tasks), strict=True):
        assert image.code.startswith(b"\x7fELF")
        assert task.kernel.encode() in image.code
        assert (image.threads, image.shared, image.scratch_pointers) == (256, 0, 0)


def test_what_neither_takes_is_refused_by_op_and_place() -> None:
    g = graph(Case(ops.quantize_tensor, ("f32[B, 2, S, 8]", "f32[]"), {"to": DType.I4}), "forward")
    (op,) = g
    op.location = "layers.3"
    with pytest.raises(UnsupportedError, match=r"^quantize_tensor at layers.3: the TVM backend has no tensors of i4$"):
        Steps([g])
