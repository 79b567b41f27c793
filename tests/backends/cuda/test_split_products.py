"""Products of few rows whose inner size is split over programs: when that is chosen, and plans of such products."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graphwright.backends.cuda.gpu import EMULATED, GPUS
from graphwright.backends.cuda.library import library_for
from graphwright.backends.kernel_library import Problem
from graphwright.ir import Builder, Graph, Program, UserError, ops, tensor
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, StoredArray
from tests.backends.cuda.steps import Steps

HUNGRY = replace(EMULATED, multiprocessors=64, bytes_per_second=1e3)
"""An emulated GPU on which nothing is gained by few programs."""


def splits(architecture: str, rows: int, columns: int, inner: int, *, codes: bool = False, gated: bool = False) -> int:
    library = library_for(GPUS[architecture])
    floats = tensor("bf16", columns, inner)
    weight = QuantizedType(DType.U4, floats.shape, 128, DType.F16) if codes else floats
    problem = Problem(library.device, (tensor("bf16", rows, inner), weight), {"gated": gated})
    return library.settings(library.kernel("coded_linear" if codes else "linear"), problem)["splits"]


@pytest.mark.parametrize(
    ("architecture", "rows", "columns", "inner", "codes", "wanted"),
    [
        # 1024 and 512 tiles of 4 KiB are on their way on 132 multiprocessors, which hold 2.7 MB on theirs.
        ("sm_90", 1, 4096, 4096, False, 1),
        ("sm_90", 1, 2048, 8192, False, 2),
        # 2.5 us by all programs there are: less would be gained than the last one takes to add up.
        ("sm_90", 1, 2048, 2048, False, 1),
        # 128 tiles, 8 KiB each.
        ("sm_90", 16, 2048, 8192, False, 4),
        ("sm_90", 2, 2048, 8192, False, 4),
        ("sm_90", 17, 2048, 8192, False, 1),
        ("sm_89", 16, 2048, 8192, False, 1),
        ("sm_90", 1, 4096, 14336, True, 2),
        ("sm_90", 1, 128256, 4096, True, 1),
    ],
)
def test_what_takes_least_time(
    architecture: str, rows: int, columns: int, inner: int, codes: bool, wanted: int
) -> None:
    assert splits(architecture, rows, columns, inner, codes=codes) == wanted


def test_what_is_not_split() -> None:
    assert splits("sm_90", 16, 2048, 8192, gated=True) == 1
    library = library_for(GPUS["sm_90"])
    for rows, attributes, message in (
        (16, {"gated": True}, "at most 16 rows without a gate"),
        (17, {}, "at most 16 rows without a gate"),
    ):
        problem = Problem(library.device, (tensor("bf16", rows, 512), tensor("bf16", 64, 512)), attributes)
        with pytest.raises(UserError, match=message):
            library.settings(library.kernel("linear"), problem, {"splits": 2})
    wide = Problem(library.device, (tensor("bf16", 2, 512), tensor("bf16", 4100, 512)))
    with pytest.raises(UserError, match="of more than 4096 columns there are tiles enough"):
        library.settings(library.kernel("linear"), wide, {"splits": 2})


@pytest.mark.parametrize("rows", [1, 3])
def test_products_of_a_step_share_counters(rows: int) -> None:
    """Floats behind a norm, then codes with a residual. Counters are cleared once; results are the reference's."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    x = graph.add_input("x", tensor("f32", rows, 2100))
    first, gain = StoredArray.of(numbers(2048, 2100) / 2100**0.5), StoredArray.of(numbers(2100))
    second = Applied.of(
        ops.round_to_nearest, (StoredArray.of(numbers(40, 2048) / 2048**0.5),),
        {"to": DType.I4, "group": 32, "scale": DType.F32, "tensor_scale": False, "minimum": False},
    )  # fmt: skip
    residual = graph.add_input("residual", tensor("f32", rows, 40))
    weights = {
        name: graph.weight(program.add_weight(name, each))
        for name, each in {"first": first, "gain": gain, "second": second}.items()
    }
    build = Builder(graph)
    middle = build(fused_linear, x, weights["first"], None, weights["gain"], None, epsilon=1e-5)
    graph.outputs = {"y": build(fused_linear, middle, weights["second"], None, None, residual)}
    steps = Steps([graph], HUNGRY)
    launches = steps.planned.plans["forward"].launches
    assert [[stage.function.rpartition("_")[0] for stage in launch.stages] for launch in launches] == [
        ["clear_counters", "one_row" if rows == 1 else "few_rows"],
        ["one_row_of_codes" if rows == 1 else "rows_of_codes"],
    ]
    assert all(dict(launch.settings)["splits"] > 1 for launch in launches)
    given = {"x": numbers(rows, 2100), "residual": numbers(rows, 40)}
    wide = [given["x"].double(), first.evaluate().double(), None, gain.evaluate().double(), None]
    hidden = fused_linear.evaluate(wide, {"epsilon": 1e-5, "gated": False, "kind": "silu"})
    matrix = ops.dequantize.evaluate([second.evaluate()], {"dtype": DType.F64}).double()
    want = hidden @ matrix.T + given["residual"].double()
    for _ in range(2):
        found = steps.run("forward", given)["y"].double()
        assert ((found - want).abs() <= 64 * 2.0**-24 * (1 + want.abs())).all()
