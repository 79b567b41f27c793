"""Adapters that are not merged, and what is wrong with damaged ones: one line each."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import UnsupportedError, UserError, WeightError
from tests.frontend.adapters.saved import HIDDEN, QUERIES, Tensors, adapter, base, merged, pair, queries, random
from tests.frontend.zoo import tiny

Q0 = QUERIES[0]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("base"))


def _refused(error: type[UserError], message: str, run: Callable[[], object]) -> None:
    with pytest.raises(error, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({"peft_type": method}, f"the adapter is of the method '{method}'; only LORA is merged")
            for method in (
                "PREFIX_TUNING",
                "PROMPT_TUNING",
                "P_TUNING",
                "IA3",
                "LOHA",
                "LOKR",
                "ADALORA",
                "OFT",
                "VERA",
            )
        ),
        *(
            ({"init_lora_weights": start}, f"'{start}', so the adapter belongs to base weights that this has changed")
            for start in ("pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga")
        ),
        ({"init_lora_weights": "magic"}, "'magic', which is not known"),
        ({"alora_invocation_tokens": [1, 2]}, "'alora_invocation_tokens': .*cannot be merged"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "'layer_replication'"),
        ({"megatron_config": {"a": 1}}, "'megatron_config'"),
        ({"use_qalora": True}, "'use_qalora'"),
        ({"use_bdlora": {"nblocks": 2}}, "'use_bdlora'"),
        ({"kasa_config": {"beta": 1}}, "'kasa_config'"),
        ({"use_novelty": True}, "the setting 'use_novelty' is not known"),
    ],
)
def test_what_is_no_plain_lora(tmp_path: Path, llama: Path, settings: dict[str, Any], message: str) -> None:
    folder = adapter(tmp_path, queries(), **settings)
    _refused(UnsupportedError, message, lambda: merged(llama, folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": None}, "'peft_type' is missing"),
        ({"r": 0}, r"adapter_config\.json: r is 0: must be above 0$"),
        ({"r": "many"}, "r is 'many': must be an integer$"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan: must be a finite number$"),
        ({"alpha_pattern": {"q_proj": "x"}}, r"alpha_pattern\.q_proj is 'x': must be a number$"),
        ({"rank_pattern": {"(": 4}}, "rank_pattern is not valid: .*is not a regular expression"),
        ({"rank_pattern": {"(.*a)+": 4}}, "rank_pattern is not valid: .*too intricate"),
        ({"rank_pattern": {".*.*.*.*x": 4}}, "rank_pattern is not valid: .*too intricate"),
        ({"target_modules": 3}, "target_modules is 3: must be a list or text$"),
        ({"target_modules": ["q_proj", 3]}, r"target_modules\.1 is 3: must be text$"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, llama: Path, settings: dict[str, Any], message: str) -> None:
    folder = adapter(tmp_path, queries(), **settings)
    _refused(CheckpointError, message, lambda: merged(llama, folder))


def _without(*keys: str) -> Tensors:
    return {key: value for key, value in queries().items() if key not in keys}


@pytest.mark.parametrize(
    ("tensors", "settings", "message"),
    [
        (_without(f"{Q0}.lora_A.weight"), {}, f"'{Q0}' has no lora_A, only a lora_B"),
        (_without(f"{Q0}.lora_B.weight"), {}, f"'{Q0}' has no lora_B, only a lora_A"),
        (
            _without(f"{Q0}.lora_A.weight", f"{Q0}.lora_B.weight"),
            {},
            f"'{Q0}' is among 'target_modules', but there are",
        ),
        (queries(), {"target_modules": ["v_proj"]}, f"'{Q0}' is not among 'target_modules'"),
        (queries(), {"modules_to_save": ["lm_head"]}, "'lm_head' is among 'modules_to_save', but there are no tensors"),
        (queries(), {"r": 8}, "its rank is 8"),
        (queries(), {"rank_pattern": {"0.self_attn.q_proj": 2}}, "its rank is 2"),
        ({**queries(), **pair(Q0, inputs=32)}, {}, f"'{Q0}' has A f32.*do not fit '{Q0}.weight', f32"),
        (
            {**queries(), **pair("model.layers.9.self_attn.q_proj")},
            {},
            "'model.layers.9.self_attn.q_proj' has no place",
        ),
        ({**queries(), **pair("model.embed_tokens")}, {"target_modules": ["q_proj", "embed_tokens"]}, "is a Embedding"),
        (
            {**queries(), "score.weight": random(2, HIDDEN)},
            {"task_type": "SEQ_CLS"},
            "'score.weight' has no place.*SEQ_CLS",
        ),
        ({**queries(), "model.norm.weight": random(3)}, {}, r"'model\.norm\.weight' is f32\[3\], the base has \[64\]"),
        (
            {**queries(), f"{Q0}.lora_magnitude_vector": random(HIDDEN)},
            {},
            "has a lora_magnitude_vector, but 'use_dora'",
        ),
        (queries(), {"use_dora": True}, "has no lora_magnitude_vector, but 'use_dora' is True"),
        (queries(), {"lora_bias": True}, "has no bias of lora_B, but 'lora_bias' is True"),
        ({**queries(), f"{Q0}.lora_A.other.weight": random(4, 64)}, {}, "two tensors lora_A"),
        ({**queries(), f"{Q0}.lora_A.weight": torch.ones(4, 64, dtype=torch.int8)}, {}, "expected floats"),
        ({**queries(), f"{Q0}.lora_A.weight": torch.ones(0)}, {}, "written of parts of a model"),
        ({}, {}, "there are no tensors"),
        (
            {k.replace(".weight", ".a.weight" if "0" in k else ".b.weight"): v for k, v in queries().items()},
            {},
            "tensors of several adapters: a, b",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, llama: Path, tensors: Tensors, settings: dict[str, Any], message: str
) -> None:
    folder = adapter(tmp_path, tensors, **settings)
    _refused(WeightError, message, lambda: merged(llama, folder))


def test_a_layer_that_is_not_merged(tmp_path: Path, llama: Path) -> None:
    folder = adapter(tmp_path, {**queries(), **pair("model.norm")}, target_modules=["q_proj", "norm"])
    _refused(
        UnsupportedError, "'model.norm' is a LlamaRMSNorm, where LoRA is not merged", lambda: merged(llama, folder)
    )


class _Harmful:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_pickled_code_does_not_run(tmp_path: Path, llama: Path) -> None:
    folder = adapter(tmp_path / "adapter", {})
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": _Harmful(tmp_path / "ran")}, folder / "adapter_model.bin")
    _refused(CheckpointError, "not readable as tensors alone", lambda: merged(llama, folder))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps([1, 2], protocol=2))
    _refused(CheckpointError, "adapter_model.bin", lambda: merged(llama, folder))
    assert not (tmp_path / "ran").exists()


def test_folders_that_are_none(tmp_path: Path, llama: Path) -> None:
    _refused(CheckpointError, "there is no such folder", lambda: capture(llama, adapter=tmp_path / "none"))
    adapter(tmp_path / "first", queries())
    _refused(CheckpointError, r"not an adapter.*; .*/first is one", lambda: capture(llama, adapter=tmp_path))
    (tmp_path / "first/adapter_model.safetensors").unlink()
    _refused(CheckpointError, "weights are missing", lambda: capture(llama, adapter=tmp_path / "first"))
    (tmp_path / "first/adapter_config.json").write_text("[")
    _refused(CheckpointError, "not readable as JSON", lambda: capture(llama, adapter=tmp_path / "first"))
    os.unlink(tmp_path / "first/adapter_config.json")
    os.mkfifo(tmp_path / "first/adapter_config.json")
    _refused(CheckpointError, "not an adapter", lambda: capture(llama, adapter=tmp_path / "first"))


def test_a_base_that_is_none(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    _refused(UserError, "and a LlamaForCausalLM is none", lambda: capture(tiny("llama"), adapter=folder))
    both = adapter(base(tmp_path / "base"), queries())
    _refused(
        CheckpointError, "there is an adapter in the checkpoint's directory", lambda: capture(both, adapter=folder)
    )
    settings = json.loads((both / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    (both / "config.json").write_text(json.dumps(settings))
    (both / "adapter_config.json").unlink()
    _refused(UnsupportedError, "the checkpoint is quantized, and the adapter", lambda: capture(both, adapter=folder))
