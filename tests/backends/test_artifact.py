"""What an artifact folder holds, and what is refused before one is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnx.reference
import pytest
import torch

from graphwright.backends.interface import Companions
from graphwright.compiling.lowering import build_artifact
from graphwright.errors import OptionError
from graphwright.ir import Builder, Graph, Program, StoredArray, UserError, ops, read_program, tensor, verify
from graphwright.ir.safetensors_file import read_header
from graphwright.runtime import load_function
from graphwright.runtime.artifact import open_artifact
from graphwright.runtime.errors import ArtifactError
from tests.backends.models import LLAMA, MODELS, decoder
from tests.backends.running import InPlace, Reference, close_enough, empty_caches, prefill_inputs, start


def test_the_manifest_describes_the_program(tmp_path: Path) -> None:
    report = build_artifact(decoder(LLAMA), tmp_path / "a")
    manifest = open_artifact(tmp_path / "a").manifest
    assert manifest == report.manifest
    assert manifest.program.kind == "decoder"
    assert (manifest.program.backend, manifest.program.dialect) == ("onnx", "ort")
    assert manifest.program.inputs["logit_positions"].shape == ("batch", "positions")
    assert manifest.program.outputs["logits"].shape == ("batch", "positions", 48)
    assert [c.input for c in manifest.program.cache] == [f"past.{i}.{n}" for i in (0, 1) for n in ("key", "value")]
    assert manifest.program.cache[0].shape == ("batch", 2, "capacity", 16)
    assert manifest.model.vocabulary_size == 48
    assert manifest.model.eos_token_ids == (2,)
    assert sorted(manifest.files) == ["lowered.gw", "model.onnx", "weights.safetensors"]


def test_parameters_are_counted_where_the_program_does_not_say(tmp_path: Path) -> None:
    program = decoder(LLAMA)
    report = build_artifact(program, tmp_path / "a")
    assert report.manifest.model.parameters == sum(w.evaluate().numel() for w in program.weights.values())


def test_the_text_is_the_program_that_was_lowered(tmp_path: Path) -> None:
    program = decoder(LLAMA)
    build_artifact(program, tmp_path / "a")
    lowered = read_program(tmp_path / "a" / "lowered.gw")
    verify(lowered)
    names = [op.name for op in lowered.graphs["prefill"]]
    assert names.count("ort.group_query_attention") == LLAMA.layers
    inputs = prefill_inputs(np.array([[1, 2, 3]]), np.zeros(1, np.int64), np.array([3]))
    expected = Reference(program.graphs["prefill"], 1, 8).step(inputs)
    assert np.abs(Reference(lowered.graphs["prefill"], 1, 8).step(inputs) - expected).max() <= close_enough(expected)


def test_a_weight_in_pieces_is_stored_and_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphwright.passes.lowering.ort import linear

    monkeypatch.setattr(linear, "PIECE_BYTES", 3000)
    program = decoder(MODELS["tied"])
    build_artifact(program, tmp_path / "a")
    (tmp_path / "moved").mkdir()
    folder = (tmp_path / "a").rename(tmp_path / "moved" / "a")
    text = (folder / "lowered.gw").read_text()
    assert len(text) < 40_000, "large arrays are not spelt out"
    lowered = read_program(folder / "lowered.gw")
    assert sum(name.startswith("embed.weight") for name in lowered.weights) > 4
    for name, weight in lowered.weights.items():
        if name in program.weights:
            assert torch.equal(weight.evaluate(), program.weights[name].evaluate())
    embedding = program.weights["embed.weight"].evaluate()
    pieces = [lowered.weights[n].evaluate() for n in lowered.weights if n.startswith("embed.weight.rows")]
    assert torch.equal(torch.cat(pieces), embedding)
    stored = read_header(str(folder / "weights.safetensors"))
    assert [name for name in stored if name.startswith("embed.weight")] == ["embed.weight"]
    inputs = prefill_inputs(np.array([[1, 2, 3]]), np.zeros(1, np.int64), np.array([3]))
    graph = program.graphs["prefill"]
    got = InPlace(folder / "model.onnx", graph, 1, 8).step(inputs)
    expected = Reference(graph, 1, 8).step(inputs)
    assert np.abs(got - expected).max() <= close_enough(expected)


def test_the_program_is_left_as_it_was(tmp_path: Path) -> None:
    from graphwright.ir import print_graph

    program = decoder(LLAMA)
    before = [print_graph(g) for g in program.graphs.values()], list(program.weights)
    build_artifact(program, tmp_path / "a")
    assert ([print_graph(g) for g in program.graphs.values()], list(program.weights)) == before


def test_assets_go_along(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "tokenizer.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"not an asset")
    report = build_artifact(decoder(LLAMA), tmp_path / "a", companions=Companions(checkpoint))
    assert "tokenizer.json" in report.manifest.files
    assert "model.safetensors" not in report.manifest.files


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "odd-sinks", "tied", "gpt-neox", "chunked"])
def test_the_portable_dialect_is_standard_onnx(name: str, tmp_path: Path) -> None:
    program = decoder(MODELS[name])
    build_artifact(program, tmp_path / "a", dialect="portable")
    path = tmp_path / "a" / "model.onnx"
    onnx.checker.check_model(path, full_check=True)  # pyright: ignore[reportUnknownMemberType] - partly untyped
    model = onnx.load(path)  # pyright: ignore[reportUnknownMemberType] - partly untyped
    assert [o.domain for o in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}
    graph = program.graphs["prefill"]
    past, new = np.array([3, 0]), np.array([2, 4])
    inputs = prefill_inputs(np.array([[5, 6, 0, 0], [7, 8, 9, 10]]), past, new)
    caches = {n: np.ones_like(zeros.numpy()) for n, zeros in empty_caches(graph, 2, 9).items()}
    reference = Reference(graph, 2, 9)
    reference.caches = {n: torch.as_tensor(c) for n, c in caches.items()}
    expected = reference.step(inputs)
    evaluator = cast(Any, onnx.reference.ReferenceEvaluator(model))  # what it returns is declared a list or a mapping
    standard = evaluator.run(["logits"], {**inputs, **caches})[0]
    ours = start(path).run(["logits"], {**inputs, **caches})[0]
    for row, count in enumerate(new):
        for got in (standard, ours):
            want = expected[row, :count]
            assert np.abs(got[row, :count] - want).max() <= close_enough(want)


def _function() -> Program:
    program = Program("head")
    graph = program.add_graph(Graph("forward"))
    build = Builder(graph)
    x = graph.add_input("x", tensor("f32", "B", 300))
    weight = program.add_weight("weight", StoredArray.of(torch.randn(4, 300)))
    y = build(ops.linear, x, graph.weight(weight))
    graph.outputs = {"y": y, "same": y, "x_again": x}
    return program


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_a_plain_function_compiles_too(dialect: str, tmp_path: Path) -> None:
    program = _function()
    report = build_artifact(program, tmp_path / "a", dialect=dialect)
    assert report.manifest.program.kind == "function"
    x = np.random.default_rng(0).standard_normal((3, 300), dtype=np.float32)
    out = load_function(tmp_path / "a")(x=x)
    expected = x @ program.weights["weight"].evaluate().numpy().T
    assert np.abs(out["y"] - expected).max() <= close_enough(expected)
    assert np.array_equal(out["same"], out["y"])
    assert np.array_equal(out["x_again"], x)


def test_decode_must_be_prefill_of_one_token(tmp_path: Path) -> None:
    program = decoder(LLAMA)
    decode = program.graphs["decode"]
    decode.outputs["logits"] = Builder(decode)(ops.mul, decode.outputs["logits"], 2.0)
    with pytest.raises(UserError, match=r"'prefill' and 'decode' differ .* first difference: \+ .* = constant"):
        build_artifact(program, tmp_path / "a")
    assert not (tmp_path / "a").exists()


Change = Callable[[Program], object]
NO_DECODERS: list[tuple[Change, str]] = [
    (lambda p: p.graphs.clear(), "has the graphs none; expected prefill and decode, or forward"),
    (lambda p: p.graphs["prefill"].add_input("mask", tensor("i64", "B")), "its inputs are .*mask, expected"),
    (lambda p: p.graphs["prefill"].outputs.pop("present.1.key"), "its outputs are"),
    (lambda p: p.metadata.pop("context_length"), "context_length"),
]


@pytest.mark.parametrize(("change", "message"), NO_DECODERS)
def test_a_program_that_is_no_decoder_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    program = decoder(LLAMA)
    del program.graphs["decode"]
    change(program)
    with pytest.raises((UserError, ArtifactError), match=message):
        build_artifact(program, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"there is no dialect 'onnx': there is 'ort', 'ort-cuda', 'portable'"):
        build_artifact(decoder(LLAMA), tmp_path / "a", dialect="onnx")
    with pytest.raises(UserError, match="is not a folder; name the checkpoint's folder"):
        build_artifact(decoder(LLAMA), tmp_path / "a", companions=Companions(tmp_path / "nowhere"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    with pytest.raises(ArtifactError, match="was not written by this command"):
        build_artifact(decoder(LLAMA), tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "keep"
