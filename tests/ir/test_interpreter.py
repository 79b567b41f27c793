from __future__ import annotations

from typing import Any

import pytest
import torch

from graphwright.ir import Interpreter, StoredArray, UserError, parse_program, run
from graphwright.ir.graph import Graph
from graphwright.ir.interpreter import bind_symbols, cone
from tests.tensors import listed


def graph(inputs: str, *lines: str, outputs: str = "y=%y") -> Graph:
    text = 'program "p"\ngraph g(' + inputs + ") {\n" + "\n".join(lines) + f"\nreturn {outputs}\n}}"
    return parse_program(text).graphs["g"]


def test_symbols_are_read_off_the_inputs_in_any_order() -> None:
    g = graph("%a: f32[P+S], %b: f32[S], %c: f32[P, 2*S]", outputs="y=%a")
    inputs = {"a": torch.ones(5), "b": torch.ones(2), "c": torch.ones(3, 4)}
    assert bind_symbols(g, inputs) == {"S": 2, "P": 3}


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"a": torch.ones(2)}, r"graph 'g': input 'b' \(f32\[S, 4\]\) is missing"),
        ({"a": torch.ones(2), "b": torch.ones(2)}, r"input 'b' has shape \[2\], expected f32\[S, 4\]"),
        ({"a": torch.ones(2), "b": torch.ones(2, 5)}, r"input 'b' \(f32\[S, 4\]\): 4, was given as 5"),
        ({"a": torch.ones(2), "b": torch.ones(3, 4)}, r"input 'b' \(f32\[S, 4\]\): S, which is 2 here, was given as 3"),
        ({"a": torch.ones(2), "b": torch.ones(2, 4).double()}, r"input 'b' is float64, expected f32\[S, 4\]"),
        ({"a": torch.ones(2).long(), "b": torch.ones(2, 4)}, r"input 'a' is int64, expected f32\[S\]"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        run(graph("%a: f32[S], %b: f32[S, 4]", outputs="y=%a"), inputs)


def test_a_symbol_that_no_input_gives_is_named() -> None:
    with pytest.raises(UserError, match=r"input 'a' \(f32\[2\*S\]\): 2\*S, was given as 4"):
        run(graph("%a: f32[2*S]", outputs="y=%a"), {"a": torch.ones(4)})
    with pytest.raises(UserError, match="dimension T has no value: bind T"):
        run(graph("%a: f32[S]", "%y = iota() {size=T, dtype=i64} : i64[T]"), {"a": torch.ones(4)})


def test_a_slice_past_a_symbolic_length_is_found_when_run() -> None:
    g = graph("%x: f32[S]", "%y = slice(%x) {axis=0, start=-5} : f32[5]  at model.tail")
    assert listed(run(g, {"x": torch.arange(7.0)})["y"]) == [2, 3, 4, 5, 6]
    with pytest.raises(UserError, match=r"slice at model.tail gives \[3\], declared f32\[5\]"):
        run(g, {"x": torch.arange(3.0)})


def test_half_precision_accumulates_in_float32_and_rounds_each_result() -> None:
    g = graph("%x: bf16[4096]", "%y = sum(%x) {axes=[0]} : bf16[]")
    x = torch.full((4096,), 1.0078125, dtype=torch.bfloat16)
    y = run(g, {"x": x})["y"]
    # Summed in bfloat16 the total would stop growing at 256.
    assert y.dtype is torch.bfloat16
    assert y.item() == torch.tensor(4096 * 1.0078125).to(torch.bfloat16).item()


def test_rounding_between_ops_is_that_of_the_declared_types() -> None:
    lines = ("%0 = mul(%x, %x) : bf16[1]", "%y = sub(%0, %x) : bf16[1]")
    x = torch.tensor([1.0078125], dtype=torch.bfloat16)
    rounded = (x.float() * x.float()).to(torch.bfloat16)
    assert run(graph("%x: bf16[1]", *lines), {"x": x})["y"].item() == (rounded.float() - x.float()).item()


def test_float64_ignores_declared_float_types_and_only_those() -> None:
    g = graph(
        "%x: bf16[1], %n: i32[3]",
        "%0 = cast(%x) {dtype=f16} : f16[1]",
        "%1 = constant() {value=0.1, dtype=f16} : f16[]",
        "%y = mul(%0, %1) : f16[1]",
        "%z = cumsum(%n) {axis=0} : i32[3]",
        outputs="y=%y, z=%z",
    )
    result = Interpreter("float64").run(g, {"x": torch.tensor([1 / 3]), "n": torch.ones(3, dtype=torch.int32)})
    assert result["y"].dtype is torch.float64
    assert result["y"].item() == pytest.approx(torch.tensor(1 / 3).item() * 0.1, rel=1e-15)
    assert result["z"].dtype is torch.int32


def test_weights_are_evaluated_once_and_replaced_ones_again() -> None:
    program = parse_program(
        'program "p"\nweight @w : f32[1] = data([2.0]) : f32[1]\n'
        "graph g(%x: f32[1]) { %y = mul(%x, @w) : f32[1] return y=%y }"
    )
    g, interpreter, x = program.graphs["g"], Interpreter(), {"x": torch.ones(1)}
    assert interpreter.run(g, x)["y"].item() == 2
    program.weights["w"].expression = StoredArray.of(torch.tensor([3.0]))
    assert interpreter.run(g, x)["y"].item() == 3


def test_only_what_is_wanted_is_run() -> None:
    g = graph(
        "%x: f32[2], %i: i64[1]",
        "%0 = exp(%x) : f32[2]",
        "%1 = gather(%x, %i) {axis=0} : f32[1]",
        "%y = neg(%0) : f32[2]",
        outputs="y=%y, broken=%1",
    )
    ops = list(g)
    (value,) = Interpreter().run_values(g, {"x": torch.zeros(2), "i": torch.tensor([9])}, [g.outputs["y"]])
    assert listed(value) == [-1, -1]
    assert cone([g.outputs["y"]]) == [ops[0], ops[2]]
    assert cone([g.outputs["y"]], {ops[0].result}) == [ops[2]]


def test_a_cone_starts_from_known_values_in_its_middle() -> None:
    g = graph("%x: f32[S]", "%0 = exp(%x) : f32[S]", "%y = neg(%0) : f32[S]")
    first, _ = g
    (value,) = Interpreter().run_cone({first.result: torch.tensor([5.0, 6.0])}, [g.outputs["y"]], {"S": 2})
    assert listed(value) == [-5, -6]


def test_outputs_may_be_inputs_weights_and_repeated() -> None:
    program = parse_program(
        'program "p"\nweight @w : f32[1] = data([2.0]) : f32[1]\n'
        "graph g(%x: f32[1]) { %0 = neg(%x) : f32[1] return a=%x, b=@w, c=%0, d=%0 }"
    )
    outputs = run(program.graphs["g"], {"x": torch.ones(1)})
    assert {name: v.item() for name, v in outputs.items()} == {"a": 1, "b": 2, "c": -1, "d": -1}


def test_a_cache_goes_in_and_comes_out() -> None:
    g = graph(
        "%new: f16[B, 1, S, 2], %past: i64[B], %cache: state<contiguous f16[B, 1, C, 2]>",
        "%y = kv_append(%cache, %new, %past) : state<contiguous f16[B, 1, C, 2]>",
    )
    cache = torch.zeros(2, 1, 4, 2, dtype=torch.float16)
    inputs = {"new": torch.ones(2, 1, 1, 2, dtype=torch.float16), "past": torch.tensor([0, 3]), "cache": cache}
    y = run(g, inputs)["y"]
    assert y.dtype is torch.float16
    assert listed(y[:, 0, :, 0]) == [[1, 0, 0, 0], [0, 0, 0, 1]]
