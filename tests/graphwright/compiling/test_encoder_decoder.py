"""Encoder-decoder checkpoints, compiled: what they generate is what transformers generates, token for token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, processors

import graphwright
from graphwright.ir import Program, UserError
from graphwright.ir.safetensors_file import read_header
from graphwright.runtime import ArtifactError, ContextError, GenerationError, SessionError, load
from tests.graphwright.commands import Commands
from tests.runtime import tokenizer_files
from tests.tensors import listed, manual_seed

TOKENIZER = tokenizer_files.byte_level()
VOCABULARY = tokenizer_files.size(TOKENIZER)
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CONTEXT = 48
NEW_TOKENS = 16
SIDE = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}
SIDES: dict[str, Any] = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in SIDE.items()}


def t5() -> Any:
    import transformers

    sizes = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    settings: dict[str, Any] = {**sizes, **SPECIAL, "decoder_start_token_id": 0}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**settings))


def bart() -> Any:
    import transformers

    config = transformers.BartConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        max_position_embeddings=CONTEXT,
        **SIDES,
        **SPECIAL,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        tie_word_embeddings=False,
    )
    return transformers.BartForConditionalGeneration(config)


def whisper() -> Any:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        num_mel_bins=8,
        **SIDES,
        **SPECIAL,
        max_source_positions=20,
        max_target_positions=CONTEXT,
        decoder_start_token_id=3,
        begin_suppress_tokens=None,
        tie_word_embeddings=False,
    )
    return transformers.WhisperForConditionalGeneration(config)


MODELS: dict[str, Callable[[], Any]] = {"t5": t5, "bart": bart, "whisper": whisper}
PROMPTS = [[5, 6, 7, 8, 9, 10, 2], [40, 2], [100, 90, 80, 70, 2]]


@dataclass
class Made:
    """A checkpoint, the module in it, its program after the passes, and artifacts of that by dialect."""

    folder: Path
    module: Any
    program: Program
    compiled: dict[str, graphwright.CompiledModel]

    def model(self, dialect: str = "ort") -> graphwright.CompiledModel:
        if dialect not in self.compiled:
            output = self.folder.parent / f"{self.folder.name}-{dialect}"
            options: dict[str, Any] = {"dialect": dialect, "max_context": CONTEXT, "assets": self.folder}
            self.compiled[dialect] = graphwright.compile(self.program, output=output, threads=1, **options)
        return self.compiled[dialect]

    def expected(self, context: np.ndarray[Any, Any], tokens: list[int] | None = None) -> list[int]:
        """The greedy continuation of one context by transformers."""
        from transformers import GenerationMixin

        row = torch.as_tensor(context)[None]
        given = {"attention_mask": torch.ones_like(row)} if row.dim() == 2 else {}
        begin = {} if tokens is None else {"decoder_input_ids": torch.tensor([tokens])}
        # Whisper's own method does more than to generate: it cuts audio and results.
        out = cast(Any, GenerationMixin).generate(
            self.module, row, **given, **begin, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1
        )
        return listed(out[0, len(tokens or [0]) :])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    known: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in known:
            folder = tmp_path_factory.mktemp("encoder-decoder") / name
            manual_seed(0)
            module = MODELS[name]().eval()
            with torch.no_grad():
                for parameter in module.parameters():
                    # attention that looks at some tokens more than at others, and tokens that vary
                    parameter.mul_(4 if parameter.dim() > 1 else 1).add_(0.1 * torch.randn_like(parameter))
            module.save_pretrained(folder)
            tokenizer = Tokenizer.from_str(TOKENIZER)
            tokenizer.post_processor = processors.TemplateProcessing(single="$0 </s>", special_tokens=[("</s>", 2)])
            tokenizer.save(str(folder / "tokenizer.json"))
            program, _ = graphwright.optimize(graphwright.trace(folder), "cpu")
            known[name] = Made(folder, module, program, {})
        return known[name]

    return make


def contexts(name: str) -> list[np.ndarray[Any, Any]]:
    if name != "whisper":
        return [np.array(prompt) for prompt in PROMPTS]
    generator = np.random.default_rng(0)
    return [generator.standard_normal((8, 40), dtype=np.float32) * 3 for _ in range(3)]


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", MODELS)
def test_a_ragged_batch_is_generated_as_by_transformers(name: str, dialect: str, made: Callable[[str], Made]) -> None:
    rows = contexts(name)
    expected = [made(name).expected(row) for row in rows]
    assert len({tuple(row) for row in expected}) > 1, "rows that do not depend on their contexts show nothing"
    assert any(len(set(row)) > 2 for row in expected)
    model = made(name).model(dialect)
    found = model.complete(context=rows, max_new_tokens=NEW_TOKENS, temperature=0)
    assert [row.token_ids for row in found] == expected
    for row, alone in zip(rows, expected, strict=True):
        assert model.complete(context=row, max_new_tokens=NEW_TOKENS, temperature=0)[0].token_ids == alone


def test_prompts_are_the_context(made: Callable[[str], Made]) -> None:
    model = made("bart").model()
    expected = [made("bart").expected(np.array(prompt)) for prompt in PROMPTS]
    options: Any = {"max_new_tokens": NEW_TOKENS, "temperature": 0}
    assert model.generate(PROMPTS, **options) == expected
    assert model.generate(PROMPTS[0], **options) == expected[0]
    assert model.tokenizer is not None
    ids = model.tokenizer.encode("hello world", special_tokens=True)
    assert ids[-1] == 2
    pieces: list[str] = []
    text = model.generate("hello world", stream=pieces.append, **options)
    assert text == model.tokenizer.decode(made("bart").expected(np.array(ids)))
    assert "".join(pieces) == text == "".join(model.stream("hello world", **options))
    assert model.generate(["hello world", "a"], **options)[0] == text
    assert model.generate(context="hello world", **options) == text


def test_audio_comes_back_as_text(made: Callable[[str], Made]) -> None:
    model = made("whisper").model()
    rows = contexts("whisper")
    options: Any = {"max_new_tokens": NEW_TOKENS, "temperature": 0}
    assert model.tokenizer is not None
    expected = [model.tokenizer.decode(made("whisper").expected(row)) for row in rows]
    assert model.generate(context=np.stack(rows), **options) == expected
    assert model.generate(context=rows[1], **options) == expected[1]


def test_the_tokens_that_the_decoder_begins_with_may_be_given(made: Callable[[str], Made]) -> None:
    model = made("whisper").model()
    rows = contexts("whisper")
    options: Any = {"max_new_tokens": NEW_TOKENS, "temperature": 0}
    begin = [3, 77, 78]
    expected = [made("whisper").expected(row, begin) for row in rows]
    assert model.generate(begin, context=rows, **options) == expected, "one for all"
    assert model.generate([begin] * 3, context=rows, **options) == expected
    assert model.generate([begin, [3]], context=rows[:2], **options)[0] == expected[0]
    assert model.tokenizer is not None
    text = model.tokenizer.encode("he", special_tokens=False)
    assert model.complete("he", context=rows[0], **options) == model.complete([3, *text], context=rows[0], **options)


@pytest.mark.parametrize("name", MODELS)
def test_logits_beside_a_context(name: str, made: Callable[[str], Made]) -> None:
    tokens = [[3, 9, 30, 31], [3, 8, 100, 4], [3, 1, 4, 1]]
    logits = made(name).model().logits(tokens, context=contexts(name))
    for row, context, found in zip(tokens, contexts(name), logits, strict=True):
        with torch.no_grad():
            given = {made(name).module.main_input_name: torch.as_tensor(context)[None]}
            expected = made(name).module(**given, decoder_input_ids=torch.tensor([row])).logits[0]
        torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_weight_of_both_programs_is_stored_once(made: Callable[[str], Made]) -> None:
    folder = made("t5").model().folder
    assert {"encoder.onnx", "model.onnx", "weights.safetensors"} <= {p.name for p in folder.iterdir()}
    types = list(map(str, read_header(str(folder / "weights.safetensors")).values()))
    assert types.count(f"f32[{VOCABULARY}, 16]") == 1, "embeddings of both sides and the head are tied"


Call = Callable[[graphwright.CompiledModel], object]
REFUSED: list[tuple[str, Call, str]] = [
    ("bart", lambda m: m.conversation(), "a model with an encoder holds no conversation"),
    ("bart", lambda m: m.chat([{"role": "user", "content": "a"}]), "holds no conversation"),
    ("bart", lambda m: m.logits([[2, 3]]), "logits needs the context"),
    ("bart", lambda m: m.generate([[]]), "there are no prompts|the context is empty"),
    ("bart", lambda m: m.generate([[5], [VOCABULARY]]), "context 1 holds the token id"),
    ("bart", lambda m: m.generate([[5], [6]], context=[[5], [6], [7]]), "3 contexts for 2 prompts"),
    ("bart", lambda m: m.generate(context=np.ones((2, 3))), "token ids are integers"),
    ("bart", lambda m: m.complete(), "there is no prompt"),
    ("whisper", lambda m: m.generate("hello"), "reads input_features, an array: give it as context"),
    ("whisper", lambda m: m.generate(context=np.ones((8, 40))), r"must be float32 \[8, 40\].* float64 \[8, 40\]"),
    ("whisper", lambda m: m.generate(context=np.ones((8, 39), np.float32)), r"this is float32 \[8, 39\]"),
    ("whisper", lambda m: m.generate(context=[]), "there are no contexts"),
    ("whisper", lambda m: m.generate(context="hello"), "a context .input_features. must be"),
]


@pytest.mark.parametrize(("name", "call", "message"), REFUSED)
def test_what_cannot_be_had_is_said(name: str, call: Call, message: str, made: Callable[[str], Made]) -> None:
    with pytest.raises(GenerationError, match=message):
        call(made(name).model())


def test_lengths_are_bounded(made: Callable[[str], Made]) -> None:
    model = made("bart").model()
    with pytest.raises(ContextError, match="exceeds the context of 48"):
        model.generate([5], max_new_tokens=CONTEXT)
    with pytest.raises(SessionError, match=r"encoder\.onnx: the program failed"):
        model.generate([5] * 60, max_new_tokens=2)


def test_a_decoder_takes_no_context(artifact: Path) -> None:
    with pytest.raises(GenerationError, match="the model has no encoder, so it takes no context"):
        load(artifact).generate([5], context=[6])


Change = Callable[[dict[str, Any]], object]
BREAKING: list[tuple[Change, str]] = [
    (lambda m: m["program"].pop("encoder"), "the inputs of a decoder beside its caches are"),
    (lambda m: m["program"]["encoder"].update(file="model.onnx"), "the encoder needs a file"),
    (lambda m: m["program"]["encoder"].update(file="other.onnx"), "'other.onnx' is not among the files"),
    (lambda m: m["program"]["encoder"].update(extra=1), "program.encoder.extra is not known here"),
    (lambda m: m["program"]["encoder"]["inputs"].pop("input_ids"), "an encoder has one input beside context_length"),
    (lambda m: m["program"]["encoder"]["inputs"].pop("context_length"), "an encoder has the input context_length"),
    (lambda m: m["program"]["encoder"]["inputs"]["input_ids"].update(shape=["batch", 3, "T"]), "can be the second"),
    (lambda m: m["program"]["encoder"]["outputs"].pop("context.0"), "the inputs of a decoder beside its caches"),
    (lambda m: m["program"]["encoder"]["outputs"]["context.0"].update(dtype="int64"), "must be inputs of the decoder"),
    (lambda m: m["program"]["encoder"].update(outputs={}), "an encoder has outputs"),
    (lambda m: m["program"].update(kind="function", cache=[]), "a function has no encoder"),
    (lambda m: m["model"].update(decoder_start_token_id=-1), "model.decoder_start_token_id"),
]


@pytest.mark.parametrize(("change", "message"), BREAKING)
def test_a_manifest_that_breaks_the_rules(
    change: Change, message: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(_edited(made("bart").model().folder, tmp_path, change))


def _edited(artifact: Path, tmp_path: Path, change: Callable[[Any], object]) -> Path:
    folder = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_damaged_encoder_is_refused(made: Callable[[str], Made], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made("bart").model().folder, tmp_path / "artifact"))
    data = bytearray((folder / "encoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "encoder.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"encoder\.onnx is damaged"):
        load(folder)


def test_the_manifest_must_describe_the_encoder(made: Callable[[str], Made], tmp_path: Path) -> None:
    def rename(manifest: Any) -> None:
        for program in (manifest["program"]["encoder"]["outputs"], manifest["program"]["inputs"]):
            program["context.x"] = program.pop("context.0")

    with pytest.raises(SessionError, match=r"context\.0 is tensor\(float\) in the program and absent in the manifest"):
        load(_edited(made("bart").model().folder, tmp_path, rename))


def test_a_model_that_does_not_say_where_to_start(made: Callable[[str], Made], tmp_path: Path) -> None:
    folder = _edited(made("bart").model().folder, tmp_path, lambda m: m["model"].update(decoder_start_token_id=None))
    model = load(folder)
    with pytest.raises(GenerationError, match="does not say which token its decoder starts from"):
        model.generate([5, 6])
    assert (
        model.generate([2], context=PROMPTS[0], max_new_tokens=4, temperature=0)
        == made("bart").expected(np.array(PROMPTS[0]))[:4]
    )


def test_the_command_line(made: Callable[[str], Made], tmp_path: Path, commands: Commands) -> None:
    checkpoint = str(made("bart").folder)
    out = str(tmp_path / "bart")
    assert "next     graphwright generate" in commands.succeed("compile", checkpoint, "-o", out)
    shown = commands.succeed("generate", out, "hello world", "--max-new-tokens", str(NEW_TOKENS), "--temperature", "0")
    text = made("bart").model().generate("hello world", max_new_tokens=NEW_TOKENS, temperature=0)
    assert shown == text + "\n"
    shown = commands.succeed("inspect", out)
    assert "encoder    encoder.onnx, of input_ids: int64 [batch, T]" in shown
    assert "cost       prefill of" in shown


@pytest.mark.parametrize("layout", ["genai", "optimum"])
def test_layouts_without_an_encoder_refuse_it(layout: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the {layout} layout takes decoders alone; .* has an encoder before it"):
        graphwright.export(made("bart").program, tmp_path / "out", layout=layout, assets=made("bart").folder)
    assert not (tmp_path / "out").exists()


def test_the_plain_layout_has_both(made: Callable[[str], Made], tmp_path: Path) -> None:
    graphwright.export(made("bart").program, tmp_path / "out")
    assert {"encoder.onnx", "model.onnx", "model.onnx.data"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "encoder.onnx runs once" in (tmp_path / "out" / "README.txt").read_text()


def test_a_module_needs_no_example(made: Callable[[str], Made]) -> None:
    program = graphwright.trace(made("bart").module)
    forward = program.graphs["forward"]
    assert {str(v.name): str(v.type) for v in forward.inputs} == {
        "input_ids": "i64[B, S]",
        "decoder_input_ids": "i64[B, T]",
    }
    assert program.metadata["decoder_start_token_id"] == 2
    assert program.metadata["context_length"] == CONTEXT


@pytest.mark.parametrize("name", MODELS)
def test_lowered_programs_run_in_the_interpreter(
    name: str, made: Callable[[str], Made], commands: Commands, tmp_path: Path
) -> None:
    source = made(name)
    lowered = source.model().folder / "lowered.gw"
    for i, context in enumerate(contexts(name)[:2]):
        expected = source.expected(context)
        if name == "whisper":
            np.save(tmp_path / "sound.npy", context[None])
            given = ["--input", f"input_features={tmp_path / 'sound.npy'}", "--ids", "3"]
        else:
            given = ["--ids", ",".join(map(str, context))]
        found = commands.succeed("run", lowered, *given, "--max-new-tokens", str(NEW_TOKENS))
        assert found == ",".join(str(token) for token in expected if token != 2) + "\n", i
