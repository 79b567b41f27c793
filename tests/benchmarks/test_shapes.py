from typing import Any

import pytest
import torch
import transformers

from benchmarks.checkpoint import configuration
from benchmarks.peers.systems import MATRIX_BITS
from benchmarks.shapes import SHAPES


@pytest.mark.parametrize(
    ("name", "parameters", "decode_weights"),
    [
        # The numbers of parameters that the published models have.
        ("SmolLM2-135M", 134_515_008, 134_515_008),
        ("Qwen2.5-0.5B", 494_032_768, 494_032_768),
        ("Llama-3.2-1B", 1_235_814_400, 1_235_814_400),
        ("Llama-3-8B", 8_030_261_248, 8_030_261_248 - 128_256 * 4096),
    ],
)
def test_sizes_are_those_of_the_published_models(name: str, parameters: int, decode_weights: int) -> None:
    assert SHAPES[name].parameters == parameters
    assert SHAPES[name].decode_weights == decode_weights


def test_bytes_of_a_token_follow_the_format() -> None:
    shape = SHAPES["SmolLM2-135M"]
    assert shape.decode_bytes(32) == 4 * shape.decode_weights
    norms = 576 * (2 * 30 + 1)
    assert shape.decode_bytes(MATRIX_BITS["int4"]) == (shape.decode_weights - norms) * 33 // 64 + 4 * norms


def test_of_a_mixture_a_token_reads_the_chosen_experts() -> None:
    shape = SHAPES["qwen-moe-like"]
    expert = 3 * shape.hidden_size * shape.intermediate_size
    assert shape.parameters - shape.decode_weights == shape.layers * (32 - 4) * expert
    gpt_oss = SHAPES["gpt-oss-like"]
    expert = 3 * 640 * 640 + 3 * 640
    unread = gpt_oss.layers * (32 - 4) * expert + 32000 * 640
    assert gpt_oss.parameters - gpt_oss.decode_weights == unread


@pytest.mark.parametrize("name", ["qwen-moe-like", "gpt-oss-like"])
def test_mixtures_have_the_parameters_of_the_library(name: str) -> None:
    library: Any = transformers
    config = library.AutoConfig.for_model(**configuration(SHAPES[name]))
    with torch.device("meta"):
        model = library.AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == SHAPES[name].parameters


def test_bytes_of_the_cache_are_keys_and_values_of_every_layer() -> None:
    assert SHAPES["SmolLM2-135M"].token_cache_bytes == 4 * 2 * 30 * 3 * 64


def test_names_of_tensors_are_unique() -> None:
    for shape in SHAPES.values():
        names = [tensor.name for tensor in shape.tensors()]
        assert len(set(names)) == len(names)
