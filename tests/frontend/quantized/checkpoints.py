"""Tiny quantized checkpoints, written by the formats' descriptions and not with what reads them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphwright.frontend import capture
from graphwright.frontend.quantized import dequantized, read_quantized
from graphwright.frontend.weight_files import stored_weights
from graphwright.ir import Program, QuantizedType
from graphwright.passes import PIPELINES, run_passes
from graphwright.passes.quantization.stored_weights import rows, symmetric
from tests.frontend.compare import assert_round_trip, assert_same_function
from tests.frontend.zoo import tiny
from tests.tensors import load_file, save_file

Tensors = dict[str, torch.Tensor]


@dataclass
class Written:
    """A layer's tensors in a file, and the weight [out, in] in float64 that they stand for."""

    tensors: Tensors
    weight: torch.Tensor


Writer = Callable[[str, torch.Tensor, torch.Generator], "Written | None"]
"""What a format stores for a layer of that name, given its weight; None: the layer stays as it is."""


def unquantized(name: str, weight: torch.Tensor, generator: torch.Generator) -> None:
    """The writer of a checkpoint whose layers all stay as they are."""


def write(folder: Path, settings: Mapping[str, Any], writer: Writer, name: str = "llama", **configuration: Any) -> Any:
    """Writes the checkpoint in float16, and returns the model of float32 that it stands for."""
    generator = torch.Generator().manual_seed(0)
    model = tiny(name, **{"n_layer" if name == "gpt2" else "num_hidden_layers": 1}, **configuration)
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    copy.deepcopy(model).half().save_pretrained(folder)
    tensors = {n: t.clone() for n, t in load_file(folder / "model.safetensors").items()}
    for layer, module in model.named_modules():
        if type(module).__name__ not in ("Linear", "Conv1D") or layer == "lm_head":
            continue
        by_columns = type(module).__name__ == "Conv1D"
        given = module.weight.detach().T if by_columns else module.weight.detach()
        written = writer(layer, given, generator)
        if written is not None:
            tensors.pop(f"{layer}.weight")
            tensors |= {f"{layer}.{part}": value for part, value in written.tensors.items()}
            weight = written.weight.float()
            # What is tested is exact; float32 must be able to hold it.
            assert torch.equal(weight.double(), written.weight)
            module.weight.data = weight.T.contiguous() if by_columns else weight
    store(folder, tensors)
    edit_config(folder, quantization_config=dict(settings))
    return model


def store(folder: Path, tensors: Tensors) -> None:
    plain = {n: t.contiguous() for n, t in tensors.items()}
    save_file(plain, str(folder / "model.safetensors"), metadata={"format": "pt"})


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


def words(codes: Iterable[int], bits: int) -> list[int]:
    """Codes one after another from the lowest bits on, as words of 32 bits (signed, as safetensors holds them)."""
    whole = sum(int(code) << (bits * i) for i, code in enumerate(codes))
    count = -(-len(list(codes)) * bits // 32)
    return [signed(whole >> (32 * i) & 0xFFFFFFFF) for i in range(count)]


def signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def scales(rows: int, groups: int, generator: torch.Generator, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    """Random scales [rows, groups] so that weights have the size of a tiny model's."""
    return ((torch.rand(rows, groups, generator=generator) + 0.5) * 0.02).to(dtype)


def codes(shape: tuple[int, ...], least: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """Random integers from least to most."""
    return torch.randint(least, most + 1, shape, generator=generator)


def spread(per_group: torch.Tensor, columns: int) -> torch.Tensor:
    """What is one a group [rows, groups] as one a column, in float64."""
    size = -(-columns // per_group.shape[1])
    return per_group.double()[:, torch.arange(columns) // size]


def assert_weights(folder: Path, model: Any, type: str, shuffled: bool = False) -> None:
    """The files hold that model's weights, to the bit, in the quantized type; no model is traced.

    If shuffled, the columns of the codes stand in another order.
    """
    file = folder / "config.json"
    settings = json.loads(file.read_text())["quantization_config"]
    layers, _ = read_quantized(file, settings, stored_weights(folder, {}))
    assert len(layers) == 7
    for name, weight in dequantized(layers, torch.float32).items():
        wanted = model.state_dict()[name]
        assert torch.equal(weight.evaluate(), wanted), name
        stored = symmetric(rows(weight))
        assert str(stored.quantized.type) == f"{type}{list(wanted.shape)}"
        assert (stored.order is not None) == shuffled
        columns = torch.arange(wanted.shape[1]) if stored.order is None else stored.order.evaluate()
        value: Any = stored.quantized.evaluate()
        assert torch.equal(value.dequantize(torch.float32), wanted[:, columns]), name


def assert_restored(program: Program, *types: str, floats: int = 1) -> None:
    """The pipeline for functions leaves linear layers with weights of these types, and so many of floats."""
    run_passes(program, PIPELINES["function"])
    layers = [op.required("weight").type for op in program.graphs["forward"] if op.name == "linear"]
    assert sorted({str(t) for t in layers if isinstance(t, QuantizedType)}) == sorted(types)
    assert sum(not isinstance(t, QuantizedType) for t in layers) == floats


def assert_read(folder: Path, model: Any, *types: str, floats: int = 1) -> Program:
    """The program computes what the model does, as captured and after the pipeline."""
    program = capture(folder)
    assert_same_function(program, model, SHAPES)
    assert_round_trip(program)
    assert_restored(program, *types, floats=floats)
    assert_same_function(program, model, SHAPES)
    assert_round_trip(program)
    return program


SHAPES = ((2, 7),)
