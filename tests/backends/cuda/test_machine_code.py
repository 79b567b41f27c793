"""What only machine code shows: kernels at the sizes of Llama 3 8B, as they are compiled for each architecture."""

from __future__ import annotations

import json
import subprocess
from functools import cache

import pytest

from graphwright.backends.cuda.emit import Variant
from graphwright.backends.cuda.gpu import GPUS
from graphwright.backends.cuda.images import Image
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.cuda.machine_code import MachineCode, blocks_at_once, read_code
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.backends.cuda.toolchain import triton_tool
from graphwright.compiling.compiler import Options, prepare
from graphwright.compiling.lowering import lowered
from graphwright.compiling.report import Stopwatch
from graphwright.compiling.targets import find_backend
from graphwright.ir import Program
from graphwright.ir.convention import step_graphs
from graphwright.ir.errors import UnsupportedError
from graphwright.sources.models import ModelOptions, resolve

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    "vocab_size": 128256, "torch_dtype": "bfloat16", "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip
HOT = ("few_rows", "many_rows", "split_attention", "append_attention", "attention")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A layer and the head, lowered. Their weights are never made."""
    folder = tmp_path_factory.mktemp("llama")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    options = Options(target="cuda:sm_90")
    prepared = prepare(resolve(str(folder), ModelOptions(weights="seed")), options, Stopwatch())
    backend = find_backend("cuda")
    return lowered(prepared.program, backend.lowering(backend.options(), decoder=True))[0]


def variants(program: Program, architecture: str) -> dict[str, Variant]:
    return plan_graphs(step_graphs(program), GPUS[architecture]).variants


def name_of(variant: Variant) -> str:
    return variant.body.partition(":")[2]


@cache
def compiled(variant: Variant, architecture: str) -> tuple[Image, MachineCode]:
    (image,) = images_of([Task(variant, GPUS[architecture])])
    return image, read_code(image.code, image.symbol)


def check(variant: Variant, architecture: str) -> None:
    """What holds for every kernel that moves or multiplies much."""
    image, code = compiled(variant, architecture)
    name, gpu = name_of(variant), GPUS[architecture]
    assert code.stack_bytes == 0, f"{variant.name} spills {code.stack_bytes} bytes on {architecture}"
    assert image.shared <= gpu.shared_bytes
    assert blocks_at_once(code, image.threads, image.shared, gpu) >= 1
    assert code.loads.get(16, 0) > 0, f"{variant.name} loads {code.loads} on {architecture}"
    assert (code.loads_before_wait is not None) == gpu.starts_early
    if name == "few_rows" and gpu.starts_early:
        assert code.loads_before_wait, f"{variant.name} loads no weights before it waits"
    if name in ("many_rows", "attention"):
        unit = {90: "HGMMA", 100: "UTCHMMA", 103: "UTCHMMA"}.get(gpu.number, "HMMA")
        assert code.products.get(unit, 0) > 0, f"{variant.name} multiplies by {code.products} on {architecture}"


def chosen(program: Program, architecture: str, *names: str) -> list[Variant]:
    """Of each kernel the variant with the most constants set: that with a gate, with a norm."""
    found: list[Variant] = []
    for name in names:
        those = [variant for variant in variants(program, architecture).values() if name_of(variant) == name]
        assert those, f"the model has no {name}"
        found.append(max(those, key=lambda v: (dict(v.constants).get("KIND") is not None, v.name)))
    return found


def test_the_hot_kernels_on_hopper(program: Program) -> None:
    """No spills, 16-byte loads, products by wgmma in prefill, and weights on their way before the wait in decode."""
    for variant in chosen(program, "sm_90", "few_rows", "many_rows", "attention"):
        check(variant, "sm_90")


def test_the_hot_kernels_on_ampere(program: Program) -> None:
    for variant in chosen(program, "sm_80", "many_rows", "attention"):
        check(variant, "sm_80")


@pytest.mark.emulated_full
@pytest.mark.parametrize("architecture", GPUS)
def test_all_kernels_on_every_architecture(program: Program, architecture: str) -> None:
    all_variants = variants(program, architecture).values()
    images_of([Task(variant, GPUS[architecture]) for variant in all_variants])
    for variant in all_variants:
        if name_of(variant) in HOT:
            check(variant, architecture)


def test_figures_are_those_of_the_tool_that_dumps_them(
    program: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Registers and stack as `cuobjdump` prints them."""
    (variant,) = chosen(program, "sm_90", "attention")
    image, code = compiled(variant, "sm_90")
    path = tmp_path_factory.mktemp("cubin") / "kernel.cubin"
    path.write_bytes(image.code)
    command = [triton_tool("cuobjdump"), "--dump-resource-usage", path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"REG:{code.registers} STACK:{code.stack_bytes} " in said


def test_what_is_no_machine_code_is_refused() -> None:
    for content in (b"", b"\x7fELF", b"\x7fELF\x02" + bytes(100), b"\x7fEMULATED\n{}"):
        with pytest.raises(UnsupportedError, match="this is no machine code of a function f"):
            read_code(content, "f")


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "architecture", "blocks"),
    [
        (32, 128, 0, "sm_90", 16),  # 64 warps
        (32, 128, 0, "sm_86", 12),  # 48 warps
        (255, 128, 0, "sm_90", 2),  # 8 warps of 8192 registers
        (168, 256, 0, "sm_90", 1),  # 12 warps of 5376 registers
        (32, 32, 0, "sm_86", 16),
        (64, 256, 99 << 10, "sm_89", 1),
        (64, 256, 100 << 10, "sm_80", 1),
        (64, 256, 40 << 10, "sm_80", 4),  # by registers: 32 warps; by shared memory: 164 // 41
    ],
)
def test_blocks_at_once(registers: int, threads: int, shared: int, architecture: str, blocks: int) -> None:
    """As NVIDIA's occupancy calculator has them."""
    code = MachineCode(registers, 0, {}, {}, None)
    assert blocks_at_once(code, threads, shared, GPUS[architecture]) == blocks
