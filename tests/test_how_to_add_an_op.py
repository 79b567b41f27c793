"""A complete op, added by the parts that docs/how-to-add/op.md lists: each is needed, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import graphwright
from graphwright.backends.kernel_library import Kernel, KernelLibrary
from graphwright.backends.onnx.emit import EMISSIONS, Emitter
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.emit import kernel_module
from graphwright.backends.tvm.emit.elementwise import FUNCTIONS
from graphwright.backends.tvm.library import loops
from graphwright.backends.tvm.library.choices import STEP
from graphwright.backends.tvm.library.kernels import KERNELS
from graphwright.backends.tvm.tvm_library import tirx
from graphwright.frontend.aten.registry import IMPORTERS
from graphwright.frontend.aten.site import Site
from graphwright.ir import DType, Op, Program, TensorType, UnsupportedError, Value, ops
from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import REGISTRY, op
from graphwright.ir.dialects.ort.capabilities import CONTRIB, STANDARD
from graphwright.ir.dialects.ort.dialects import TARGETS
from graphwright.ir.ops.rules import aligned_right, broadcast, require_float, same_dtype
from graphwright.ir.targets import Capability, Target
from graphwright.ir.traits import Trait
from tests.ir import test_every_op, test_traits
from tests.ir.cases import Case

ROOT = Path(__file__).parents[1]
MODULE = kernel_module.__dict__
X, Y = torch.tensor([[3.0, -5.0, 0.0], [0.0, 8.0, 1e-3]]), torch.tensor([[4.0, 12.0, 0.0], [-2.0, 15.0, 1.0]])


class Hypot(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.hypot(x, y)


def declare() -> None:
    @op("hypot", Trait.ELEMENTWISE, commutative=True)
    def hypot(x: TensorType, y: TensorType) -> TensorType:
        """The length of the hypotenuse: sqrt(x * x + y * y)."""
        require_float("x", x)
        same_dtype(x, y)
        return TensorType(x.dtype, broadcast(x.shape, y.shape))

    @hypot.reference
    def hypot_reference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.hypot(x, y)

    @hypot.cost
    def hypot_cost(applied: Op) -> Cost:
        return default_cost(applied, applied.result.type.elements * 4)

    hypot.axes(aligned_right)


def add_case() -> None:
    case = Case(REGISTRY["hypot"], ("f32[B, S, 4]", "f32[S, 1]"))
    test_every_op.test_an_axis_that_flows_is_touched_at_one_index_only(case)
    test_every_op.test_cost_is_positive_and_free_only_for_views_and_literals(case)
    test_traits.test_elementwise_ops_treat_every_place_alike(case)


def add_importer() -> None:
    def import_hypot(site: Site, x: Value, y: Value) -> Value:
        return site.binary(REGISTRY["hypot"], x, y, site.type.dtype)

    IMPORTERS["aten.hypot.default"] = import_hypot


def add_row() -> None:
    row = Capability(REGISTRY["hypot"], frozenset({DType.F32}))
    TARGETS["ort"] = Target("ort", (*STANDARD, *CONTRIB, row))


def add_onnx_emission() -> None:
    def emit_hypot(e: Emitter, applied: Op) -> None:
        x, y = e.operands(applied)
        e.results(applied, "Sqrt", e.node("Add", e.node("Mul", x, x), e.node("Mul", y, y)))

    EMISSIONS[REGISTRY["hypot"]] = emit_hypot


def declare_kernel() -> None:
    kernel = Kernel(REGISTRY["hypot"], frozenset({DType.F32}), name="hypot", body=loops.KERNELS[0].body)

    def library_for(cpu: Cpu) -> KernelLibrary:
        return KernelLibrary("cpu", cpu, (*KERNELS, kernel), STEP)

    MODULE["library_for"] = library_for


def add_kernel_body() -> None:
    def hypot(x: Any, y: Any) -> Any:
        return tirx.sqrt(x * x + y * y)

    FUNCTIONS[REGISTRY["hypot"]] = hypot


PARTS: dict[str, Callable[[], None]] = {
    "ir/ops/elementwise.py": declare,
    "tests/ir/cases.py": add_case,
    "frontend/aten/elementwise.py": add_importer,
    "ir/dialects/ort/capabilities.py": add_row,
    "backends/onnx/emit/elementwise.py": add_onnx_emission,
    "backends/tvm/library/loops.py": declare_kernel,
    "backends/tvm/emit/elementwise.py": add_kernel_body,
}


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    registries: list[dict[Any, Any]] = [REGISTRY, IMPORTERS, TARGETS, EMISSIONS, MODULE, FUNCTIONS]
    before = [dict(each) for each in registries]
    yield
    for registry, content in zip(registries, before, strict=True):
        registry.update(content)
        for added in registry.keys() - content.keys():
            del registry[added]


def capture() -> Program:
    return graphwright.trace(Hypot(), example_inputs={"x": X, "y": Y})


def run(program: Program, backend: str) -> torch.Tensor:
    (result,) = graphwright.compile_function(program.clone(), backend=backend, threads=1)(x=X, y=Y).values()
    return torch.as_tensor(result)


def test_every_part_is_needed_and_no_other() -> None:
    assert "hypot" not in dir(ops)
    parts = iter(PARTS.values())
    next(parts)()
    next(parts)()
    with pytest.raises(UnsupportedError, match=r"aten\.hypot\.default: there is no importer"):
        capture()
    next(parts)()
    program = capture()
    with pytest.raises(UnsupportedError, match="ort has no hypot"):
        run(program, "onnx")
    next(parts)()
    with pytest.raises(UnsupportedError, match="it has no ONNX emission"):
        run(program, "onnx")
    next(parts)()
    with pytest.raises(UnsupportedError, match="no hypot"):
        run(program, "tvm")
    next(parts)()
    with pytest.raises(KeyError, match="hypot"):
        run(program, "tvm")
    next(parts)()
    assert not list(parts)
    for backend in ("onnx", "tvm"):
        # sqrt(x * x + y * y) rounds four times, each by half a unit in the last place at most
        torch.testing.assert_close(run(program, backend), torch.hypot(X, Y), rtol=4 * 2.0**-24, atol=0)


def test_the_page_lists_these_files_and_the_map_their_number() -> None:
    page = (ROOT / "docs/how-to-add/op.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\S+)`", page, re.M) == list(PARTS)
    assert all((ROOT / file).is_file() for file in PARTS)
    number = {6: "six", 7: "seven", 8: "eight"}[len(PARTS)]
    assert f"[an op](how-to-add/op.md) | {number} files" in (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
