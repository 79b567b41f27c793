from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.ir import Program, StoredArray, UserError, parse_program, print_program, read_program, run, verify
from graphwright.ir.attributes import Attribute, attribute_text, same
from graphwright.ir.types import DType
from graphwright.ir.weights import StoredFile, sources
from tests.ir.strategies import ATTRIBUTES, FLOATS, NAMES, programs

EXAMPLE = """program "tiny llama" {context_length=128, bos_token_ids=[1, 2], rope_theta=10000.0, tied=true}

weight @model.embed : bf16[32, 8] = file("model.safetensors", "model.embed") : bf16[32, 8]
weight @"odd name" : f32[2, 2] = transpose(data([1.0, -0.0, inf, nan]) : f32[2, 2]) {permutation=[1, 0]}
weight @frequencies : f32[2] = data([1.0, 0.125]) : f32[2]

graph prefill(%ids: i64[B, S], %past_length: i64[B], %past.0.key: state<contiguous bf16[B, 2, C, 4]>) {
  %0 = embedding(@model.embed, %ids) : bf16[B, S, 8]  at model.embed
  %1 = split_heads(%0) {heads=2} : bf16[B, 2, S, 4]  at model.layers.0.attn
  %2, %3 = split(%1) {axis=3, sizes=[1, 3]} : bf16[B, 2, S, 1], bf16[B, 2, S, 3]  at "weird place"
  %4 = iota() {size=S, dtype=i64} : i64[S]
  %5 = reshape(%4) {shape=[1, S]} : i64[1, S]
  %6 = rope(%1, %5, @frequencies) {interleaved=false} : bf16[B, 2, S, 4]
  %7 = kv_append(%past.0.key, %6, %past_length) : state<contiguous bf16[B, 2, C, 4]>
  %8 = attention(%6, %7, %7, %5, key_length=%past_length) {scale=0.5, mask="causal"} : bf16[B, 2, S, 4]
  %9 = constant() {value=-inf, dtype=f32} : f32[]
  return logits=%8, present.0.key=%7, "odd output"=%9
}

graph empty() {
  return
}
"""


def test_the_example_is_printed_as_it_is_written() -> None:
    program = parse_program(EXAMPLE)
    verify(program)
    assert print_program(program) == EXAMPLE


@settings(max_examples=150, deadline=None)
@given(programs())
def test_printing_and_parsing_are_inverse(program: Program) -> None:
    text = print_program(program)
    again = parse_program(text)
    assert print_program(again) == text
    assert list(again.graphs) == list(program.graphs)
    assert list(again.weights) == list(program.weights)
    for name, graph in program.graphs.items():
        copy = again.graphs[name]
        assert [v.name for v in copy.inputs] == [v.name for v in graph.inputs]
        assert list(copy.outputs) == list(graph.outputs)
        for op, other in zip(graph, copy, strict=True):
            assert op.definition is other.definition
            assert op.location == other.location
            assert all(same(op.attributes[key], other.attributes[key]) for key in op.attributes)
            assert [v.type for v in op.results] == [v.type for v in other.results]
    for name, weight in program.weights.items():
        if isinstance(weight.expression, StoredArray):
            array, copy = weight.expression.array, again.weights[name].evaluate()
            assert torch.equal(array.nan_to_num(7.0), copy.nan_to_num(7.0))
            assert torch.equal(array.signbit() & ~array.isnan(), copy.signbit() & ~copy.isnan())


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 2**31))
def test_a_parsed_program_computes_the_same(program: Program, seed: int) -> None:
    if any(isinstance(s, StoredFile) for w in program.weights.values() for s in sources(w.expression)):
        return
    again = parse_program(print_program(program))
    generator = torch.Generator().manual_seed(seed)
    for name, graph in program.graphs.items():
        inputs = {v.name or "": torch.randn(2, 3, 4, generator=generator) for v in graph.inputs}
        for left, right in zip(run(graph, inputs).values(), run(again.graphs[name], inputs).values(), strict=True):
            assert torch.equal(left.nan_to_num(7.0), right.nan_to_num(7.0))


@given(ATTRIBUTES)
def test_attributes_survive(value: Attribute) -> None:
    program = Program("p")
    program.metadata["key"] = value
    again = parse_program(print_program(program)).metadata["key"]
    assert attribute_text(again) == attribute_text(value)
    assert same(again, value)


@given(FLOATS)
def test_floats_keep_every_bit(value: float) -> None:
    program = Program("p")
    program.metadata["key"] = value
    again = parse_program(print_program(program)).metadata["key"]
    assert isinstance(again, float)
    assert again.hex() == value.hex()


@given(NAMES)
def test_any_name_can_be_printed(name: str) -> None:
    program = Program(name)
    program.metadata[name] = name
    assert parse_program(print_program(program)).metadata == {name: name}


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.F4E2M1], ids=str)
def test_arrays_of_every_element_type(dtype: DType) -> None:
    numbers = {True: "[0.5, 1.0, 2.0]", False: "[true, false, true]" if dtype is DType.BOOL else "[0, 1, 1]"}
    text = f'program "p"\n\nweight @w : {dtype}[3] = data({numbers[dtype.is_float]}) : {dtype}[3]\n'
    assert print_program(parse_program(text)) == text


def test_comments_and_layout_are_free() -> None:
    program = parse_program(
        """// a model
        program "p"   graph g(%x:f32[S],) { // inputs
            %anything = exp(%x):f32[S] %"or that"=neg(%anything,):f32[S]
            return y=%"or that", }"""
    )
    assert [op.name for op in program.graphs["g"]] == ["exp", "neg"]


def test_an_input_named_like_a_result_keeps_its_name() -> None:
    program = parse_program('program "p" graph g(%0: f32[S], %1: f32[S]) { %y = add(%0, %1) : f32[S] return y=%y }')
    text = print_program(program)
    assert '%2 = add(%"0", %"1") : f32[S]' in text
    assert print_program(parse_program(text)) == text


def test_files_name_their_weights_relative_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "m.gw").write_text('program "p"\nweight @w : f32[2] = file("w.safetensors", "w") : f32[2]\n')
    (expression,) = (w.expression for w in read_program(tmp_path / "m.gw").weights.values())
    assert isinstance(expression, StoredFile)
    assert expression.path == str(tmp_path / "w.safetensors")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.gw: cannot be read \(No such file or directory\)"):
        read_program(tmp_path / "missing.gw")
    (tmp_path / "binary.gw").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.gw: not a text file"):
        read_program(tmp_path / "binary.gw")


@pytest.mark.parametrize(
    "text", ["1.5, -2e+30, inf, nan, -inf, 0.0, 1e-05, 3.25", "1.5, " * 9 + "2, 3.0", "1.5,2.5, " * 9]
)
def test_a_long_list_of_numbers_is_a_list_of_numbers(text: str) -> None:
    """Read at once where it is spelt as the printer does, else number by number."""
    read = parse_program(f'program "p" {{a=[{text}], b=[0.5]}}').metadata
    expected = tuple(
        float(part) if "." in part or part.strip("-")[0] in "in" or "e" in part else int(part)
        for part in text.replace(" ", "").strip(",").split(",")
    )
    assert repr(read["a"]) == repr(expected)
    assert read["b"] == (0.5,)
