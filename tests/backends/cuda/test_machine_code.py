"""What only machine code shows: kernels at the sizes of Llama 3 8B, as they are compiled for each architecture."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from graphwright.backends.cuda.emit import Variant
from graphwright.backends.cuda.gpu import GPUS
from graphwright.backends.cuda.images import Image
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.cuda.machine_code import MachineCode, blocks_at_once, read_code
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.backends.cuda.toolchain import triton_tool
from graphwright.backends.plan.price import plan_price
from graphwright.cli.kernel_table import kernel_rows
from graphwright.compiling.compiler import Options, prepare
from graphwright.compiling.lowering import lowered
from graphwright.compiling.report import Stopwatch
from graphwright.compiling.targets import find_backend
from graphwright.ir import Program, parse_program
from graphwright.ir.convention import step_graphs
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.machines import MACHINES
from graphwright.runtime.engines.cuda_program import Kernel, Target
from graphwright.sources.models import ModelOptions, resolve

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    "vocab_size": 128256, "torch_dtype": "bfloat16", "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip
HOT = ("one_row", "few_rows", "many_rows", "split_attention", "append_attention", "attention")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A layer and the head, lowered. Their weights are never made."""
    return lowered_model(tmp_path_factory.mktemp("llama"), layers=1)


def lowered_model(folder: Path, layers: int) -> Program:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    options = Options(target="cuda:sm_90")
    prepared = prepare(resolve(str(folder), ModelOptions(weights="seed")), options, Stopwatch())
    backend = find_backend("cuda")
    return lowered(prepared.program, backend.lowering(backend.options(), decoder=True))[0]


def variants(program: Program, architecture: str) -> list[Variant]:
    """Those in Triton."""
    found = plan_graphs([*program.graphs.values()], GPUS[architecture]).variants.values()
    return [variant for variant in found if isinstance(variant, Variant)]


@cache
def compiled(variant: Variant, architecture: str) -> tuple[Image, MachineCode]:
    (image,) = images_of([Task(variant, GPUS[architecture])])
    return image, read_code(image.code, image.symbol)


def check(variant: Variant, architecture: str) -> None:
    """What holds for every kernel that moves or multiplies much."""
    image, code = compiled(variant, architecture)
    name, gpu = variant.kernel, GPUS[architecture]
    assert code.stack_bytes == 0, f"{variant.name} spills {code.stack_bytes} bytes on {architecture}"
    assert image.shared <= gpu.shared_bytes
    assert blocks_at_once(code, image.threads, image.shared, gpu) >= 1
    assert code.loads.get(16, 0) > 0, f"{variant.name} loads {code.loads} on {architecture}"
    assert (code.loads_before_wait is not None) == gpu.starts_early
    if name in ("one_row", "few_rows") and gpu.starts_early:
        assert code.loads_before_wait, f"{variant.name} loads no weights before it waits"
    if name in ("many_rows", "attention"):
        unit = {90: "HGMMA", 100: "UTCHMMA", 103: "UTCHMMA"}.get(gpu.number, "HMMA")
        assert code.products.get(unit, 0) > 0, f"{variant.name} multiplies by {code.products} on {architecture}"


def chosen(program: Program, architecture: str, *names: str) -> list[Variant]:
    """Of each kernel the variant with the most constants set: that with a gate, with a norm."""
    found: list[Variant] = []
    for name in names:
        those = [variant for variant in variants(program, architecture) if variant.kernel == name]
        assert those, f"the model has no {name}"
        found.append(max(those, key=lambda v: (dict(v.constants).get("KIND") is not None, v.name)))
    return found


def test_the_hot_kernels_on_hopper(program: Program) -> None:
    """No spills, 16-byte loads, products by wgmma in prefill, and weights on their way before the wait in decode."""
    for variant in chosen(program, "sm_90", "one_row", "few_rows", "many_rows", "attention"):
        check(variant, "sm_90")


def test_a_split_product_on_hopper(program: Program) -> None:
    """It meets the others by one atomic addition: the rest is as without."""
    few = [variant for variant in variants(program, "sm_90") if variant.kernel == "few_rows"]
    check(next(variant for variant in few if dict(variant.constants)["SPLITS"] != 1), "sm_90")


def test_the_hot_kernels_on_ampere(program: Program) -> None:
    for variant in chosen(program, "sm_80", "many_rows", "attention"):
        check(variant, "sm_80")


@pytest.mark.emulated_full
def test_decode_of_llama_3_8b_is_priced_near_its_floor(tmp_path: Path) -> None:
    """The floor: the bytes of all weights but the table of embeddings at the memory's rate. And 6 launches a layer."""
    found = lowered_model(tmp_path, layers=32)
    graph = found.graphs["decode_one_row"]
    plan = plan_graphs(step_graphs(found), GPUS["sm_90"]).plans[graph.name]
    machine = MACHINES["h100"]
    price = plan_price(plan, {"C": 128}, machine, find_backend("cuda").library())
    embeddings = 128256 * 4096
    layer = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096
    floor = 2 * (embeddings + 32 * layer) / machine.bytes_per_second
    assert price.seconds is not None
    assert 0.93 < floor / price.seconds < 1
    assert price.launches <= 6 * 32 + 10


@pytest.mark.emulated_full
@pytest.mark.parametrize("architecture", GPUS)
def test_all_kernels_on_every_architecture(program: Program, architecture: str) -> None:
    all_variants = variants(program, architecture)
    images_of([Task(variant, GPUS[architecture]) for variant in all_variants])
    for variant in all_variants:
        if variant.kernel in HOT:
            check(variant, architecture)


def attention(size: int, given: str = "", of: str = "", *, cache: str = "bf16", places: str = "C") -> str:
    """Attention of a prefill to 8 heads of keys, with further operands and attributes."""
    held = f"{cache}[B, 8, {places}, {size}]"
    of = of or "key_length=%l"
    return f"""program "p"
graph prefill(%q: bf16[B, 32, S, {size}], %k: {held}, %v: {held}, %p: i64[B, S], %l: i64[B]{given}) {{
  %y = cuda.attention(%q, %k, %v, %p, {of}) {{scale=0.1, mask="sliding", window=512}} : bf16[B, S, {32 * size}]
  return y=%y
}}"""


FORMS = {
    "large heads": attention(256),
    "a bias": attention(128, ", %b: bf16[32, S, C]", "key_length=%l, bias=%b"),
    "a ring": attention(128, ", %kp: i64[B, S+511]", "key_positions=%kp", places="S+511"),
    "codes": attention(
        128, ", %a: f32[1, 8, 1, 128], %b: f32[B, 8, C, 1]", "key_length=%l, key_scale=%a, value_scale=%b", cache="i8"
    ),
}


@pytest.mark.parametrize(
    ("form", "architecture"),
    [
        ("large heads", "sm_86"),
        *(
            pytest.param(form, architecture, marks=pytest.mark.emulated_full)
            for form in FORMS
            for architecture in GPUS
            if (form, architecture) != ("large heads", "sm_86")
        ),
    ],
)
def test_forms_of_attention_fit_registers_and_shared_memory(form: str, architecture: str) -> None:
    (variant,) = variants(parse_program(FORMS[form]), architecture)
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


def test_a_table_shows_them(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    (variant,) = chosen(program, "sm_90", "attention")
    image, code = compiled(variant, "sm_90")
    kernel = {
        "offset": 0, "bytes": len(image.code), "sha256": "0" * 64, "symbol": image.symbol, "threads": image.threads,
        "shared": image.shared, "starts_early": True, "parameters": ("pointer",), "scratch_pointers": 2,
    }  # fmt: skip
    target = Target(compiled_by=None, kernels={variant.name: Kernel.model_validate(kernel)}, fills=(), graphs={})
    Console(width=200).print(kernel_rows(target, image.code, GPUS["sm_90"]))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if variant.name in line)
    assert row.split()[1:3] == [str(code.registers), "0"]
    assert f"{code.loads[16]}x16 B" in row
    assert "HGMMA" in row


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
