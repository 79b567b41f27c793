"""GPTQ's format: codes along the inputs, zero points less one, columns in the order of their activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import Notice, StoredFile, UnsupportedError, UserError, WeightError, run, tensor
from graphwright.passes import PIPELINES, run_passes
from graphwright.passes.proving import InterpreterProver
from tests.frontend.compare import assert_same_function
from tests.frontend.quantized.checkpoints import (
    Writer,
    Written,
    assert_read,
    assert_weights,
    codes,
    edit_config,
    scales,
    signed,
    store,
    unquantized,
    words,
    write,
)
from tests.tensors import listed, load_file

GROUP = 32


def settings(**changes: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False} | changes


def three_bits(values: list[int]) -> list[int]:
    """32 codes in three words, as the packing loop of AutoGPTQ has it: ten, one over the edge, ten, one, ten."""
    packed: list[int] = []
    for i in range(0, len(values), 32):
        v = values[i : i + 32]
        first = sum(v[j] << (3 * j) for j in range(10)) | v[10] << 30
        second = v[10] >> 2 & 1 | sum(v[11 + j] << (3 * j + 1) for j in range(10)) | v[21] << 31
        third = v[21] >> 1 & 3 | sum(v[22 + j] << (3 * j + 2) for j in range(10))
        packed += [signed(word & 0xFFFFFFFF) for word in (first, second, third)]
    return packed


def packed(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Rows of codes as rows of words."""
    rows: list[list[int]] = listed(values)
    return torch.tensor([three_bits(row) if bits == 3 else words(row, bits) for row in rows], dtype=torch.int32)


def writer(
    bits: int = 4, group: int = GROUP, sym: bool = True, version: int = 1, shuffled: bool = False, least: int = 0
) -> Writer:
    orders: dict[tuple[str, int], torch.Tensor] = {}

    def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
        rows, columns = weight.shape
        size = columns if group == -1 else group
        groups = -(-columns // size)
        code = codes((rows, columns), 0, 2**bits - 1, generator)
        zero = torch.full((rows, groups), 2 ** (bits - 1))
        if not sym:
            zero = codes((rows, groups), least, 2**bits - 1, generator)
        scale = scales(rows, groups, generator)
        index = torch.arange(columns) // size
        if shuffled:
            # Layers with one input have one order, as their activations are the same.
            key = (name.rsplit(".", 1)[0], columns)
            order = orders.setdefault(key, torch.randperm(columns, generator=generator))
            index = index[order]
        stored = packed(zero.T, bits)
        if version == 1 and bits == 3:
            stored = packed(zero.T - 1, bits)
        elif version == 1:
            # The whole word at once: a zero point of 0 borrows from its neighbour.
            ones = sum(1 << i for i in range(0, 32, bits))
            packed_rows: list[list[int]] = listed(stored)
            stored = torch.tensor([[signed((w - ones) & 0xFFFFFFFF) for w in row] for row in packed_rows])
        tensors = {
            "qweight": packed(code, bits).T.contiguous(),
            "qzeros": stored.to(torch.int32),
            "scales": scale.T.contiguous(),
            "g_idx": index.to(torch.int32),
        }
        value = (code.double() - zero.double()[:, index]) * scale.double()[:, index]
        return Written(tensors, value)

    return layer


def shapes(name: str) -> list[str]:
    """The type for each of the layers of a tiny model, as they are packed."""
    return [f"{name}{shape}" for shape in ("[128, 64]", "[256, 64]", "[64, 64]", "[64, 128]")]


def test_a_checkpoint_computes_what_its_weights_say(tmp_path: Path) -> None:
    model = write(tmp_path, settings(sym=False), writer(sym=False))
    assert_read(tmp_path, model, *shapes("q4<g32, asym, scale=f16>"))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_symmetric_weights_are_signed(tmp_path: Path, bits: int) -> None:
    model = write(tmp_path, settings(bits=bits), writer(bits))
    assert_weights(tmp_path, model, f"q{bits}<g32, sym, scale=f16>")


@pytest.mark.parametrize(("bits", "version", "least"), [(8, 1, 0), (2, 1, 0), (3, 1, 1), (4, 2, 0), (3, 2, 0)])
def test_zero_points(tmp_path: Path, bits: int, version: int, least: int) -> None:
    each = settings(bits=bits, sym=False, checkpoint_format="gptq" if version == 1 else "gptq_v2")
    model = write(tmp_path, each, writer(bits, sym=False, version=version, least=least))
    assert_weights(tmp_path, model, f"q{bits}<g32, asym, scale=f16>")


def stored_zero_points(folder: Path, value: int, bits: int = 4) -> None:
    """Writes the same zero point for every group of every layer."""
    tensors = load_file(folder / "model.safetensors")
    for name in (n for n in tensors if n.endswith("qzeros")):
        groups, width = tensors[name].shape
        row = packed(torch.full((1, width * 32 // bits), value), bits)
        tensors[name] = row.expand(groups, -1).clone()
    store(folder, tensors)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sym", [True, None])
def test_symmetric_zero_points_that_are_stored_as_they_are(tmp_path: Path, bits: int, sym: bool | None) -> None:
    """The first format stores them less one; some writers did not, and what they wrote has no other zero point."""
    model = write(tmp_path, settings(bits=bits, sym=sym), writer(bits))
    stored_zero_points(tmp_path, 2 ** (bits - 1), bits)
    with pytest.warns(Notice, match=f"stored as {2 ** (bits - 1)}, which in the format 'gptq' stands for"):
        assert_weights(tmp_path, model, f"q{bits}<g32, sym, scale=f16>")


@pytest.mark.parametrize(
    ("change", "stored"),
    [({}, 6), ({}, 9), ({}, 0), ({"checkpoint_format": "gptq_v2"}, 7), ({"checkpoint_format": "gptq_v2"}, 9)],
)
def test_zero_points_that_contradict_symmetry(tmp_path: Path, change: dict[str, Any], stored: int) -> None:
    write(tmp_path, settings(**change), writer())
    stored_zero_points(tmp_path, stored)
    refused(tmp_path, WeightError, r"qzeros' is i32.*: it contradicts 'sym': symmetric layers have the zero point 8")


def test_one_zero_point_that_contradicts_symmetry(tmp_path: Path) -> None:
    write(tmp_path, settings(), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[f"{LAYER}.qzeros"][1, 3] += 1 << 8
    store(tmp_path, tensors)
    refused(tmp_path, WeightError, rf"{LAYER}\.qzeros' is .*contradicts 'sym'")


def beside(folder: Path, name: str = "quantize_config.json", **changes: Any) -> None:
    """The settings as AutoGPTQ wrote them before config.json had them."""
    said = {k: v for k, v in settings(**changes).items() if k != "quant_method"}
    (folder / name).write_text(json.dumps(said))


def test_settings_beside_a_plain_configuration(tmp_path: Path) -> None:
    model = write(tmp_path, settings(sym=False), writer(sym=False))
    edit_config(tmp_path, quantization_config=None)
    refused(tmp_path, WeightError, r"weight '.*' of LlamaForCausalLM is missing")
    beside(tmp_path, sym=False)
    assert_same_function(capture(tmp_path), model, ((2, 7),))
    # What they say is checked as it is in config.json.
    beside(tmp_path, sym=False, bits=5)
    refused(tmp_path, CheckpointError, r"quantize_config\.json: quantization_config: bits is ")


def test_settings_of_a_model_that_is_not_quantized_are_no_matter(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), unquantized)
    edit_config(tmp_path, quantization_config=None)
    beside(tmp_path)
    assert capture(tmp_path).weights["lm_head.weight"].type == tensor("f16", *model.lm_head.weight.shape)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"bits": 8}, "bits"),
        ({"sym": False}, "sym"),
        ({"checkpoint_format": "gptq_v2"}, "checkpoint_format"),
        ({"group_size": 64}, "group_size"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    write(tmp_path, settings(checkpoint_format="gptq"), writer())
    beside(tmp_path, **changes)
    refused(tmp_path, CheckpointError, rf"quantize_config\.json: it contradicts .*config\.json in '{what}'")


def test_settings_that_say_the_same_twice(tmp_path: Path) -> None:
    model = write(tmp_path, settings(sym=False), writer(sym=False))
    beside(tmp_path, sym=False)
    assert_same_function(capture(tmp_path), model, ((2, 7),))
    beside(tmp_path, "quant_config.json")
    refused(tmp_path, CheckpointError, r"quant_config\.json: it contradicts .* in 'quant_method'")


def test_one_group_a_row(tmp_path: Path) -> None:
    model = write(tmp_path, settings(group_size=-1), writer(group=-1))
    assert_weights(tmp_path, model, "q4<channel, sym, scale=f16>")


def test_columns_in_the_order_of_their_activations(tmp_path: Path) -> None:
    """The input is put into the order of the columns, once for projections that are packed."""
    model = write(tmp_path, settings(desc_act=True), writer(shuffled=True))
    program = assert_read(tmp_path, model, *shapes("q4<g32, sym, scale=f16>"))
    gathers = [op for op in program.graphs["forward"] if op.name == "gather" and op.inputs[1].weight is not None]
    assert len(gathers) == 4


def test_the_pass_is_proven_and_the_cache_inserted(tmp_path: Path) -> None:
    write(tmp_path, settings(desc_act=True), writer(shuffled=True))
    program = capture(tmp_path)
    report = run_passes(program, PIPELINES["cpu"], prover=InterpreterProver())
    (record,) = [r for r in report.records if r.name == "restore-quantized"]
    assert record.hits == {"restore-quantized": 8}
    assert not record.near_misses
    assert {"prefill", "decode"} <= set(program.graphs)


def test_columns_that_are_stored_by_the_library_untransposed(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), writer(), "gpt2")
    sizes = ("[192, 64]", "[256, 64]", "[64, 64]", "[64, 256]")
    assert_read(tmp_path, model, *(f"q4<g32, sym, scale=f16>{size}" for size in sizes))


def test_experts_stay_floats(tmp_path: Path) -> None:
    """Experts are merged into one weight of floats, exact ones."""
    write(tmp_path, settings(), unquantized, "mixtral")
    tensors = load_file(tmp_path / "model.safetensors")
    exact, packed_ones = dict(tensors), dict(tensors)
    generator = torch.Generator().manual_seed(1)
    for name in (n for n in tensors if ".experts." in n):
        written = writer()(name, packed_ones.pop(name), generator)
        assert written is not None
        packed_ones |= {f"{name.removesuffix('.weight')}.{part}": t for part, t in written.tensors.items()}
        exact[name] = written.weight.float()
    store(tmp_path, packed_ones)
    quantized = {n: w.evaluate() for n, w in capture(tmp_path).weights.items() if "experts" in n}
    store(tmp_path, exact)
    edit_config(tmp_path, quantization_config=None)
    floats = capture(tmp_path, dtype="f32")
    assert len(quantized) == 2
    for name, weight in quantized.items():
        assert torch.equal(weight, floats.weights[name].evaluate())


def test_no_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the zero points of layers that are said to be symmetric."""
    write(tmp_path, settings(desc_act=True), writer(shuffled=True))
    evaluate = StoredFile.evaluate

    def refuse(stored: StoredFile) -> torch.Tensor:
        assert stored.key.endswith("qzeros"), f"{stored.key} was read"
        return evaluate(stored)

    monkeypatch.setattr(StoredFile, "evaluate", refuse)
    capture(tmp_path)


def test_half_precision_does_not_hold_the_weights(tmp_path: Path) -> None:
    """Asked for float16, weights are rounded to it, as any loader does; then they are not codes any more."""
    write(tmp_path, settings(), writer())
    program = capture(tmp_path, dtype="f16")
    report = run_passes(program, PIPELINES["default"])
    misses = [str(m) for m in report.records[-1].near_misses]
    assert "its numbers are rounded to f16" in misses[0]
    assert report.records[-1].hits == {}


def test_biases_of_zeros_that_the_model_lacks(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), writer())
    file, key = tmp_path / "model.safetensors", "model.layers.0.mlp.up_proj.bias"
    tensors = load_file(file) | {key: torch.zeros(128)}
    store(tmp_path, tensors)
    assert torch.equal(
        capture(tmp_path).weights["model.layers.0.mlp.up_proj.weight"].evaluate(),
        model.model.layers[0].mlp.up_proj.weight,
    )
    store(tmp_path, tensors | {key: torch.ones(128)})
    refused(tmp_path, WeightError, f"tensor '{key}' has no place in LlamaForCausalLM")


# -- what is wrong with a checkpoint


def refused(folder: Path, kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message) as failure:
        capture(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"bits": 5}, CheckpointError, r"config\.json: quantization_config: bits is 5: must be one of 2, 3, 4 or 8$"),
        ({"group_size": "all"}, CheckpointError, "quantization_config: group_size is 'all': must be an integer$"),
        ({"quant_method": "hqq"}, UnsupportedError, r"by the method 'hqq', which is not read \(read are gptq, awq"),
        ({"quant_method": None}, UnsupportedError, "by the method None"),
        ({"checkpoint_format": "marlin"}, UnsupportedError, "GPTQ in the format 'marlin' is not read"),
        ({"dynamic": {"-:lm_head": {}, "+:.*down.*": {"bits": 8}}}, UnsupportedError, r"for layers '\+:\.\*down\.\*'"),
        ({"group_size": 64}, WeightError, r"scales' is f16\[\d, \d+\], expected f16 or bf16 or f32\[\d, \d+\]"),
        ({"bits": 8}, WeightError, r"scales' is f16\[\d, \d+\], expected f16 or bf16 or f32\[\d, \d+\]"),
        ({"bits": 3}, WeightError, r"qweight' is i32\[16, 64\]: 16 words are not a whole number of codes of 3 bits"),
    ],
)
def test_settings_that_are_not_read(
    tmp_path: Path, change: dict[str, Any], kind: type[UserError], message: str
) -> None:
    write(tmp_path, settings(**change), writer())
    refused(tmp_path, kind, message)


def test_settings_that_are_no_table(tmp_path: Path) -> None:
    write(tmp_path, settings(), writer())
    edit_config(tmp_path, quantization_config="gptq")
    refused(tmp_path, CheckpointError, r"config\.json: 'quantization_config' is not a table of settings")


LAYER = "model.layers.0.self_attn.k_proj"


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("qweight", None, "layer '.*' has '.*' but no 'qweight'"),
        ("scales", None, "layer '.*' has '.*' but no 'scales'"),
        ("qzeros", None, "layer '.*' has '.*' but no 'qzeros'"),
        ("qweight", torch.zeros(8, 32), r"qweight' is f32\[8, 32\], expected i32\[any, any\]"),
        ("qzeros", torch.zeros(2, 5, dtype=torch.int32), r"qzeros' is i32\[2, 5\], expected i32\[2, 4\]"),
        ("g_idx", torch.zeros(7, dtype=torch.int32), r"g_idx' is i32\[7\], expected i32 or i64\[64\]"),
        ("weight", torch.zeros(32, 64), "weight' is there beside the same layer's quantized tensors"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, part: str, value: torch.Tensor | None, message: str) -> None:
    write(tmp_path, settings(), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(f"{LAYER}.{part}", None)
    if value is not None:
        tensors[f"{LAYER}.{part}"] = value
    store(tmp_path, tensors)
    refused(tmp_path, WeightError, rf"model\.safetensors: .*{message}")


def test_without_an_index_the_columns_are_in_order(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    store(tmp_path, {n: t for n, t in tensors.items() if not n.endswith("g_idx")})
    assert_weights(tmp_path, model, "q4<g32, sym, scale=f16>")
    edit_config(tmp_path, quantization_config=settings(desc_act=True))
    refused(tmp_path, WeightError, "with desc_act a 'g_idx' must say the group of each column")


def test_a_group_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, settings(), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[f"{LAYER}.g_idx"][5] = 9
    store(tmp_path, tensors)
    with pytest.raises(WeightError, match=r"g_idx' names group 9, there are 2"):
        run_passes(capture(tmp_path), PIPELINES["function"])


def test_groups_that_differ_in_size_stay_floats(tmp_path: Path) -> None:
    write(tmp_path, settings(), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[f"{LAYER}.g_idx"][5] = 1
    store(tmp_path, tensors)
    captured = capture(tmp_path)
    program = captured.clone()
    (record,) = run_passes(program, PIPELINES["function"]).records[-1:]
    # q and v come apart from k, whose weight is right all the same.
    assert record.hits == {"restore-quantized": 4}
    weights = [op.required("weight").type for op in program.graphs["forward"] if op.name == "linear"]
    assert [str(t) for t in weights[:3]] == [
        "q4<g32, sym, scale=f16>[64, 64]",
        "f32[32, 64]",
        "q4<g32, sym, scale=f16>[32, 64]",
    ]
    ids = torch.arange(7)[None]
    before, after = (run(p.graphs["forward"], {"input_ids": ids}, "float64")["logits"] for p in (captured, program))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
