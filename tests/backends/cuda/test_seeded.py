"""Artifacts without weights: the device fills them with the numbers that the interpreter has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphwright.backends.cuda.gpu import EMULATED
from graphwright.backends.cuda.library.layouts import CODES
from graphwright.backends.cuda.seeded import arranged
from graphwright.backends.plan import Stored, parse_plans
from graphwright.compiling.compiler import Options, build, prepare
from graphwright.compiling.report import Stopwatch
from graphwright.emulating import emulated_engine
from graphwright.errors import OptionError
from graphwright.ir import ops, read_program
from graphwright.ir.errors import IRTypeError
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, StoredArray, Weight
from graphwright.quantizing.quantization import requested_quantization
from graphwright.runtime import load
from graphwright.runtime.engines.cuda import CudaEngine
from graphwright.runtime.engines.cuda_program import read_program as read_program_file
from graphwright.sources.models import ModelOptions, resolve
from tests.backends.models import MODELS, decoder
from tests.emulator.interpreter import interpret

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "vocab_size": 96, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip


def seeded(seed: int, *shape: int, middle: float = 0.0, dtype: DType = DType.BF16) -> Applied:
    attributes = {"seed": seed, "spread": 2.0**-5, "middle": middle, "dtype": dtype, "shape": shape}
    return Applied.of(ops.seeded, (), attributes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_device_fills_the_interpreter_s_numbers(dtype: torch.dtype) -> None:
    y = torch.zeros(300, dtype=dtype)
    kernel = "graphwright.backends.cuda.kernels.seeded:fill_seeded"
    interpret(kernel, 3, y=y, COUNT=290, SEED=2**31 - 1, SPREAD=2.0**-5, MIDDLE=1.0, BLOCK=128, PDL=False)
    element = {torch.float16: DType.F16, torch.bfloat16: DType.BF16, torch.float32: DType.F32}[dtype]
    assert torch.equal(y[:290], seeded(2**31 - 1, 290, middle=1.0, dtype=element).evaluate())
    assert (y[290:] == 0).all()


WHOLE = {"i4": (8.0, 0.0), "u4": (1.0, 8.0), "i8": (128.0, 0.0), "u8": (128.0, 128.0), "f8e4m3": (16.0, 0.0)}
"""Types of whole numbers, with spreads and middles."""


@pytest.mark.parametrize("element", WHOLE)
def test_a_device_fills_the_interpreter_s_codes(element: str) -> None:
    """Rows of 6, those of 4 bits as 3 bytes; behind the last one nothing."""
    spread, middle = WHOLE[element]
    codes = Applied.of(
        ops.seeded, (),
        {"seed": 77, "spread": spread, "middle": middle, "dtype": DType(element), "shape": (50, 6)},
    )  # fmt: skip
    array = Applied.of(ops.pack_bits, (codes,), {"bits": 4}) if element[1:] == "4" else codes
    (fill,) = arranged([Weight("codes", array)]).fills
    variant = fill.variant(EMULATED)
    y = torch.full((310,), 0xA5, dtype=torch.uint8)
    constants = {**dict(variant.constants), "BLOCK": 64}
    interpret(variant.body, -(-fill.count // 64), y=y, COUNT=fill.count, SEED=fill.seed, **constants)
    want = array.evaluate().view(torch.uint8).reshape(-1)
    assert torch.equal(y[: fill.count], want)
    assert (y[fill.count :] == 0xA5).all()
    found = codes.evaluate().float()
    assert (found.min(), found.max()) == (middle - spread, middle + spread - 1), "all codes there are, and no others"


def test_no_weight_is_made_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a large model would take hours."""

    made = Weight.evaluate

    def evaluated(weight: Weight) -> torch.Tensor:
        assert "proj" not in weight.name
        assert "lm_head" not in weight.name
        return made(weight)

    monkeypatch.setattr(Weight, "evaluate", evaluated)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    options = Options(target="cuda:emulated", quantization=requested_quantization("w4a16-g16"))
    program = prepare(resolve(str(tmp_path), ModelOptions(weights="seed")), options, Stopwatch()).program
    assert isinstance(program.weights["lm_head.weight.quantized"].type, QuantizedType)


def test_whole_numbers_are_of_their_type() -> None:
    attributes = {"seed": 0, "middle": 0.0, "shape": (2,)}
    with pytest.raises(IRTypeError, match=r"numbers of i4 from -9\.0 up to 9\.0"):
        Applied.of(ops.seeded, (), {**attributes, "spread": 9.0, "dtype": DType.I4})
    with pytest.raises(IRTypeError, match="f4e2m1 is not what random numbers are made in: f16, bf16, f32, i4, u4"):
        Applied.of(ops.seeded, (), {**attributes, "spread": 1.0, "dtype": DType.F4E2M1})


def test_weights_of_seeds_alone_lie_behind_those_that_are_stored() -> None:
    """Also those one behind the other; of one expression there is one. What is computed from them is stored."""
    first, second = seeded(1, 3, 4), seeded(2, 5, 4)
    columns = seeded(4, 3, 2)
    weights = [
        Weight("a", Applied.of(ops.concat, (first, second), {"axis": 0})),
        Weight("b", StoredArray.of(torch.ones(7))),
        Weight("c", first),
        Weight("d", Applied.of(ops.concat, (first, columns), {"axis": 1})),
        Weight("e", Applied.of(ops.reshape, (first,), {"shape": (12,)})),
        Weight("f", first),
        Weight("g", Applied.of(ops.transpose, (first,), {"permutation": (1, 0)})),
    ]
    found = arranged(weights)
    assert [weight.name for weight in found.stored] == ["b", "d", "g"]
    assert [weight.name for weight in found.seeded] == ["a", "c", "e", "f"]
    assert found.offsets["c"] == found.offsets["f"] == found.offsets["a"] + 4096
    assert found.offsets["a"] >= found.layout.size
    assert found.offsets["a"] % 4096 == 0
    start = found.offsets["a"]
    parts = [(fill.offset - start, fill.count, fill.seed) for fill in found.fills]
    assert parts == [(0, 12, 1), (24, 20, 2), (4096, 12, 1), (8192, 12, 1)]
    assert found.bytes == start + 8192 + 24


RARE = [pytest.param(scheme, marks=pytest.mark.emulated_full) for scheme in ("w4a16-g16-min", "w8", "fp8")]


@pytest.fixture(scope="module", params=["", "w4a16-g16", *RARE])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    source = resolve(str(folder / "model"), ModelOptions(weights="seed"))
    scheme = requested_quantization(request.param or None)
    build(source, folder / "artifact", Options(target="cuda:emulated", quantization=scheme))
    return folder / "artifact"


def test_an_artifact_holds_no_weights_and_the_device_has_those_of_its_program(artifact: Path) -> None:
    """From a configuration alone: each weight's bytes on the device are those that the lowered program tells."""
    assert (artifact / "weights.safetensors").stat().st_size < 3 * 4096
    program = read_program(artifact / "lowered.gw")
    plans = parse_plans((artifact / "plan.txt").read_text(), program, "plan.txt")
    accesses = [a for plan in plans for launch in plan.launches for stage in launch.stages for a in stage.accesses]
    offsets = {access.buffer.name: access.buffer.offset for access in accesses if isinstance(access.buffer, Stored)}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= {*offsets}
    assert {"lm_head.weight", "lm_head.weight.quantized.codes"} & {*offsets}
    engine = load(artifact, engine=emulated_engine).loaded.session.engine
    assert isinstance(engine, CudaEngine)
    memory = engine.weights.numpy()
    for name, offset in offsets.items():
        whole, _, part = name.rpartition(".quantized.")
        expression = CODES.pack(program.weights[f"{whole}.quantized"].expression)[part] if whole else None
        value = program.weights[name].evaluate() if expression is None else expression.evaluate()
        value = value.contiguous().view(torch.uint8).reshape(-1)
        assert (memory[offset : offset + len(value)] == value.numpy()).all(), name
        assert value.any()


def test_weights_may_be_larger_than_what_is_counted_in_32_bits() -> None:
    text = json.dumps({"format": 1, "weight_bytes": 16 << 30, "targets": {}})
    assert read_program_file(text, "program.json").weight_bytes == 16 << 30


def test_it_generates(artifact: Path) -> None:
    model = load(artifact, engine=emulated_engine)
    found = model.generate([[3, 4, 5]], max_new_tokens=2, temperature=0, ignore_eos=True)
    assert len(found[0]) == 2


def test_what_cannot_be_filled_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(OptionError, match="checkpoint is quantized"):
        build(resolve(str(tmp_path), ModelOptions(weights="seed")), tmp_path / "a", Options(target="cuda:emulated"))
    with pytest.raises(OptionError, match="is 'random': must be one of stored, seed"):
        ModelOptions(weights="random")
    with pytest.raises(OptionError, match=r"fills the weights of a folder with a config\.json"):
        build(resolve(torch.nn.Linear(2, 2), ModelOptions(weights="seed")), tmp_path / "b", Options())
    captured = resolve(decoder(replace(MODELS["llama"], layers=1)), ModelOptions(weights="seed"))
    with pytest.raises(OptionError, match="weights comes too late"):
        build(captured, tmp_path / "c", Options())


def test_the_numbers_are_of_the_type_that_is_asked_for(tmp_path: Path) -> None:
    """What is converted from another type would have to be stored."""
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "torch_dtype": "float32"}))
    source = resolve(str(tmp_path), ModelOptions(weights="seed"))
    build(source, tmp_path / "a", Options(target="cuda:emulated", dtype="bf16"))
    assert (tmp_path / "a" / "weights.safetensors").stat().st_size < 3 * 4096


def test_architectures_are_named_in_one_place() -> None:
    assert Options(target="cuda:sm_80").backend_options == {"architectures": "sm_80"}
    with pytest.raises(OptionError, match="architectures are named in the target too: name them in one place"):
        Options(target="cuda:sm_80", backend_options={"architectures": "sm_90"})
