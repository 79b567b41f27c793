"""Encoder-decoder models: the context is encoded once, tokens continue beside it, rows differ in both lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.coverage.reference import worst
from graphwright.frontend import capture
from graphwright.ir import Graph, Interpreter, PassError, Program
from graphwright.passes import PIPELINES, run_passes
from graphwright.passes.proving.cached import empty_states
from tests.captures import shared
from tests.models.zoo import scaled
from tests.tensors import manual_seed

CHUNKS = (3, 1, 1, 4, 2)
LENGTHS = (11, 6, 8)
CONTEXTS = (9, 13, 4)


def t5(prefix: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=256, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0, pad_token_id=0
    )
    return getattr(transformers, f"{prefix}ForConditionalGeneration")(config)


def bart() -> Any:
    import transformers

    config = transformers.BartConfig(vocab_size=256, d_model=32, max_position_embeddings=64, **SIDES)
    return transformers.BartForConditionalGeneration(config)


SIDE = {"layers": 1, "attention_heads": 4, "ffn_dim": 64}
SIDES: dict[str, Any] = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in SIDE.items()}


def whisper() -> Any:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=256,
        d_model=32,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **SIDES,
    )
    return transformers.WhisperForConditionalGeneration(config)


MODELS: dict[str, Callable[[], Any]] = {"t5": t5, "mt5": lambda: t5("MT5"), "bart": bart, "whisper": whisper}


def contexts(name: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    if name == "whisper":
        return [torch.randn(8, 40, generator=generator) for _ in CONTEXTS]
    return [torch.randint(3, 250, (n,), generator=generator) for n in CONTEXTS]


@pytest.mark.parametrize("name", MODELS)
def test_continuation_beside_a_context(name: str) -> None:
    manual_seed(0)
    model = scaled(MODELS[name]())
    source = "input_features" if name == "whisper" else "input_ids"
    given = contexts(name)
    generator = torch.Generator().manual_seed(6)
    rows = [torch.randint(3, 250, (n,), generator=generator) for n in LENGTHS]
    example_inputs = {source: given[0][None], "decoder_input_ids": rows[1][None]}
    program = shared(f"beside a context {name}", lambda: capture(model, example_inputs))
    run_passes(program, PIPELINES["cpu"])

    def eager() -> list[Tensor]:
        wide = [g.to(model.dtype) if g.is_floating_point() else g for g in given]
        with torch.no_grad():
            return [
                model(**{source: g[None]}, decoder_input_ids=row[None]).logits[0]
                for g, row in zip(wide, rows, strict=True)
            ]

    single = eager()
    model.double()
    exact = eager()
    found = continued(program, encoded(program, source, given), rows)
    assert worst(found, exact) < 4 * worst(single, exact)


def encoded(program: Program, source: str, given: list[Tensor]) -> dict[str, Tensor]:
    """The results of `encode` on rows padded on the right with whatever, and the rows' lengths."""
    longest = max(g.shape[-1] for g in given)
    batch = torch.stack([torch.nn.functional.pad(g, (0, longest - g.shape[-1]), value=7) for g in given])
    encode = program.graphs["encode"]
    lengths = {"context_length": torch.tensor([g.shape[-1] for g in given])}
    lengths = lengths if any(v.name == "context_length" for v in encode.inputs) else {}
    return {**Interpreter().run(encode, {source: batch, **lengths}), **lengths}


def continued(program: Program, context: dict[str, Tensor], rows: list[Tensor]) -> list[Tensor]:
    graph: Graph = program.graphs["prefill"]
    caches = empty_states(graph, len(rows), 24)
    past = torch.zeros(len(rows), dtype=torch.int64)
    found: list[list[Tensor]] = [[] for _ in rows]
    for size in CHUNKS:
        parts = [row[int(p) : int(p) + size] for row, p in zip(rows, past, strict=True)]
        counts = [len(part) for part in parts]
        new = torch.tensor(counts)
        inputs = {
            "input_ids": torch.stack([torch.nn.functional.pad(p, (0, size - len(p)), value=5) for p in parts]),
            "past_length": past,
            "new_length": new,
            "logit_positions": torch.arange(size).expand(len(rows), size),
        }
        out = Interpreter().run(graph, {**inputs, **context, **caches})
        for row, count in enumerate(counts):
            found[row].append(out["logits"][row, :count])
        caches = {name: out[name.replace("past", "present", 1)] for name in caches}
        past = past + new
    return [torch.cat(parts) for parts in found]


def test_cross_attention_reads_what_was_encoded() -> None:
    program = capture(t5().eval(), {"input_ids": torch.ones(1, 9).long(), "decoder_input_ids": torch.ones(1, 5).long()})
    run_passes(program, PIPELINES["cpu"])
    assert list(program.graphs) == ["encode", "prefill", "decode"]
    prefill = program.graphs["prefill"]
    assert not any("encoder" in op.location or "EncDecAttention.k" in op.location for op in prefill)
    assert len(program.graphs["encode"].outputs) == 2 * 2, "keys and values of each layer"


def test_lengths_that_are_the_same_in_the_examples_are_refused() -> None:
    ids = torch.ones(1, 9).long()
    with pytest.raises(PassError, match="must have lengths of their own"):
        run_passes(capture(t5().eval(), {"input_ids": ids, "decoder_input_ids": ids}), PIPELINES["cpu"])
