"""`genai_config.json`, with which onnxruntime-genai (0.18) runs a decoder."""

import json
from collections.abc import Mapping
from typing import Any

from graphwright.ir import ops
from graphwright.ir.convention import (
    ATTENTION_MASK,
    BOS_TOKEN_IDS,
    EOS_TOKEN_IDS,
    INPUT_IDS,
    LOGITS,
    PAD_TOKEN_ID,
    PAST_KEY_VALUES,
    PRESENT,
    context_window,
    vocabulary_size,
)
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.types import StateType

CONFIG_FILE = "genai_config.json"


_SAMPLING = ("temperature", "top_k", "top_p")
"""The options of sampling that genai has, by the same names."""


def genai_config(program: Program, decoder: Graph, model_file: str, defaults: Mapping[str, Any]) -> str:
    """The configuration as JSON. `defaults` are the options that the model generates with.

    Raises `UnsupportedError` for a decoder that it cannot describe."""
    caches = {v.type for v in decoder.inputs if isinstance(v.type, StateType)}
    heads = {op.required("q").type.shape[1].constant for op in decoder if op.definition is ops.attention}
    if len(caches) != 1 or len(heads) != 1:
        raise UnsupportedError("onnxruntime-genai takes decoders whose layers all have the same heads; this has others")
    (cache,) = caches
    facts = program.metadata
    end = facts.get(EOS_TOKEN_IDS) or ()
    start = facts.get(BOS_TOKEN_IDS) or ()
    assert isinstance(end, tuple), "a list of token ids"
    assert isinstance(start, tuple), "a list of token ids"
    context = context_window(program)
    pad = facts.get(PAD_TOKEN_ID)
    hidden = next(op.result.type.shape[2] for op in decoder if op.definition is ops.take_tokens)
    layers = sum(isinstance(v.type, StateType) for v in decoder.inputs) // 2
    model: dict[str, object] = {
        # The general kind of decoder; other kinds differ in what genai does around the model.
        "type": "decoder",
        "vocab_size": vocabulary_size(program),
        "context_length": context,
        "bos_token_id": start[0] if start else None,
        "eos_token_id": list(end),
        "pad_token_id": pad if pad is not None else (end[0] if end else 0),
        "decoder": {
            "filename": model_file,
            "head_size": cache.shape[3].constant,
            "hidden_size": hidden.constant,
            "num_attention_heads": heads.pop(),
            "num_key_value_heads": cache.shape[1].constant,
            "num_hidden_layers": layers,
            "inputs": {
                "input_ids": INPUT_IDS,
                "attention_mask": ATTENTION_MASK,
                "past_key_names": f"{PAST_KEY_VALUES}%d.key",
                "past_value_names": f"{PAST_KEY_VALUES}%d.value",
            },
            "outputs": {
                "logits": LOGITS,
                "present_key_names": f"{PRESENT}%d.key",
                "present_value_names": f"{PRESENT}%d.value",
            },
            # 0 leaves the number to ONNX Runtime, which takes all physical cores; genai by itself takes half of them.
            "session_options": {"intra_op_num_threads": 0, "provider_options": []},
        },
    }
    samples = bool(defaults.get("temperature"))
    search: dict[str, object] = {"max_length": context, "past_present_share_buffer": True, "do_sample": samples}
    if samples:
        search |= {name: defaults[name] for name in _SAMPLING if name in defaults}
    if "repetition_penalty" in defaults:
        search["repetition_penalty"] = defaults["repetition_penalty"]
    config = {"model": {key: value for key, value in model.items() if value is not None}, "search": search}
    return json.dumps(config, indent=2) + "\n"
