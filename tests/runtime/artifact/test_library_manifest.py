"""What the manifest says of a library of compiled functions, and every way in which that can be wrong."""

from typing import Any

import pytest
from pydantic import ValidationError

from graphwright.runtime.artifact import CacheSpec, EncoderSpec, FunctionSpec, Program, TensorSpec

DECODE = FunctionSpec(name="decode", fixed={"batch": 1, "sequence": 1})
PREFILL = FunctionSpec(name="prefill")
CACHE = CacheSpec(input="past", output="present", dtype="float32", shape=("batch", 2, "capacity", 8))


def decoder(**changes: object) -> Program:
    entries: dict[str, object] = {
        "kind": "decoder",
        "backend": "tvm",
        "dialect": "znver4",
        "file": "program.so",
        "weights": "weights.safetensors",
        "inputs": {
            "input_ids": TensorSpec(dtype="int64", shape=("batch", "sequence")),
            "past_length": TensorSpec(dtype="int64", shape=("batch",)),
            "new_length": TensorSpec(dtype="int64", shape=("batch",)),
            "logit_positions": TensorSpec(dtype="int64", shape=("batch", "positions")),
        },
        "outputs": {"logits": TensorSpec(dtype="float32", shape=("batch", "positions", 40))},
        "cache": (CACHE,),
        "functions": (DECODE, PREFILL),
        "dimensions": ("batch", "sequence", "positions", "capacity"),
    }
    return Program.model_validate(entries | changes)


def encoder(**changes: object) -> EncoderSpec:
    entries: dict[str, object] = {
        "file": "encoder.so",
        "inputs": {
            "features": TensorSpec(dtype="float32", shape=("batch", "length", 4)),
            "context_length": TensorSpec(dtype="int64", shape=("batch",)),
        },
        "outputs": {"context.0": TensorSpec(dtype="float32", shape=("batch", "length", 8))},
        "dimensions": ("batch", "length"),
    }
    return EncoderSpec.model_validate(entries | changes)


def beside(spec: EncoderSpec) -> Program:
    """A decoder that reads what the encoder makes."""
    inputs = decoder().inputs | spec.outputs
    return decoder(encoder=spec, inputs=inputs, dimensions=(*decoder().dimensions, "length"))


def test_a_program_round_trips_and_names_its_files() -> None:
    program = beside(encoder())
    assert Program.model_validate_json(program.model_dump_json()) == program
    assert program.files == ("program.so", "encoder.so", "weights.safetensors")


def test_the_first_function_that_takes_the_sizes() -> None:
    assert DECODE.takes({"batch": 1, "sequence": 1, "capacity": 9})
    assert not DECODE.takes({"batch": 1, "sequence": 2, "capacity": 9})
    assert PREFILL.takes({})


def general(name: str, **fixed: int) -> FunctionSpec:
    return FunctionSpec(name=name, fixed=fixed)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"weights": None}, "names a file of weights and functions"),
        ({"weights": "program.so"}, "names a file of weights and functions"),
        ({"functions": ()}, "names a file of weights and functions"),
        ({"functions": (DECODE,)}, "the last function, decode, must take all sizes"),
        ({"functions": (DECODE, DECODE, PREFILL)}, "two functions have the same name"),
        ({"functions": (general("decode"), PREFILL)}, "the function decode hides those that follow"),
        (
            {"functions": (DECODE, general("verify", batch=1, sequence=1, positions=2), PREFILL)},
            "function verify hides",
        ),
        ({"functions": (general("decode", tokens=1), PREFILL)}, "decode fixes sizes that are not among the dimensions"),
        ({"dimensions": ("batch", "sequence", "positions")}, "the dimensions must be, once each, .*: batch, capacity,"),
        ({"dimensions": ("batch", "batch", "sequence", "positions", "capacity")}, "must be, once each"),
        ({"dimensions": ("batch", "sequence", "positions", "capacity", "x")}, "must be, once each"),
        (
            {"outputs": {"logits": TensorSpec(dtype="float32", shape=("batch", "elsewhere", 40))}},
            "the outputs have sizes that no input tells: elsewhere",
        ),
        ({"backend": "onnx"}, "only a program of tvm and cuda names weights, functions and dimensions"),
        ({"backend": "onnx", "weights": None, "functions": ()}, "only a program of tvm and cuda"),
        ({"backend": "onnx", "weights": None, "dimensions": ()}, "only a program of tvm and cuda"),
        ({"backend": "onnx", "functions": (), "dimensions": ()}, "only a program of tvm and cuda"),
    ],
)
def test_a_program_that_breaks_the_rules(changes: dict[str, Any], finding: str) -> None:
    with pytest.raises(ValidationError, match=finding):
        decoder(**changes)


@pytest.mark.parametrize(
    ("name", "fixed", "finding"),
    [
        ("no-name", {}, "String should match pattern"),
        ("", {}, "String should match pattern"),
        ("__tvm_main", {}, "String should match pattern"),
        ("decode", {"batch": 0}, "greater than 0"),
        ("decode", {"batch": "1"}, "valid integer"),
    ],
)
def test_a_function_that_breaks_the_rules(name: str, fixed: dict[str, Any], finding: str) -> None:
    with pytest.raises(ValidationError, match=finding):
        FunctionSpec(name=name, fixed=fixed)


def test_the_dimensions_of_an_encoder() -> None:
    with pytest.raises(ValidationError, match=r"the dimensions must be, once each, .*: batch, length"):
        beside(encoder(dimensions=()))
    longer = {"context.0": TensorSpec(dtype="float32", shape=("batch", "frames", 8))}
    with pytest.raises(ValidationError, match="the outputs have sizes that no input tells: frames"):
        decoder(
            encoder=encoder(outputs=longer),
            inputs=decoder().inputs | longer,
            dimensions=(*decoder().dimensions, "frames"),
        )
    with pytest.raises(ValidationError, match="only a program of tvm and cuda"):
        decoder(
            backend="onnx",
            weights=None,
            functions=(),
            dimensions=(),
            encoder=encoder(),
            inputs=decoder().inputs | encoder().outputs,
        )
