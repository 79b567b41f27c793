"""Every command at work."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import graphwright
from graphwright.cli.app import app
from graphwright.cli.arguments import PIPELINE_NAMES
from graphwright.compiling.targets import pipelines
from graphwright.ir.machines import MACHINES
from graphwright.runtime import GenerationArguments
from tests.graphwright import models
from tests.graphwright.commands import Commands

OWN = f"{Path(models.__file__)}:own"


def test_help_has_an_example_for_each_command(commands: Commands) -> None:
    names = [command.name for command in app.registered_commands]
    assert names == [
        *(
            "compile",
            "generate",
            "trace",
            "opt",
            "run",
            "explain",
            "passes",
            "report",
            "quantize",
            "evaluate",
            "export",
            "inspect",
            "machine",
            "doctor",
        )
    ]
    for name in names:
        assert name is not None
        assert f"Example: graphwright {name}" in " ".join(commands.succeed(name, "--help").split())
        assert name in commands.succeed("--help")


def test_help_is_wrapped_once_and_lists_the_values_that_options_take(commands: Commands) -> None:
    assert all("\n" not in (command.help or "\n").replace("\n\n", "") for command in app.registered_commands)
    assert set(PIPELINE_NAMES) == pipelines().keys()
    listed = (
        "onnx|tvm",
        "bf16|f16|f32",
        "contiguous|ring",
        "ort|ort-cuda|",
        "w4a8-g128-gptq+kv8",
        *PIPELINE_NAMES,
    )
    for command, values in {"compile": listed, "opt": MACHINES, "export": ("plain|genai|optimum",)}.items():
        shown = commands.succeed(command, "--help").replace("│", " ").split()
        assert [value for value in values if value not in " ".join(shown)] == []


def test_short_help_and_the_module(commands: Commands) -> None:
    assert commands.succeed("-h") == commands.succeed("--help")
    assert commands.succeed("compile", "-h") == commands.succeed("compile", "--help")
    command = [sys.executable, "-m", "graphwright", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"graphwright {graphwright.__version__}\n"


def test_version(commands: Commands) -> None:
    assert commands.succeed("--version") == f"graphwright {graphwright.__version__}\n"


def test_compile_sums_up_and_names_the_next_command(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    output = commands.succeed("compile", checkpoint, "-o", tmp_path / "out")
    # Two layers, keys and values, two heads of size 8, float32.
    assert (
        f"cache    {2 * 2 * 2 * 8 * 4} B a token, {2 * 2 * 2 * 8 * 4 * 64 / 1024} KiB for the context of 64" in output
    )
    assert f"graphwright generate {tmp_path}/out" in output
    assert "LlamaForCausalLM" in output


def test_generate_streams_what_the_model_says(commands: Commands, artifact: Path) -> None:
    expected = graphwright.load(artifact).generate("hello", max_new_tokens=8) + "\n"
    assert commands.succeed("generate", artifact, "hello", "--max-new-tokens", "8") == expected


def test_generate_reads_a_file_or_standard_input(commands: Commands, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("hello\n")
    expected = commands.succeed("generate", artifact, "hello", "--max-new-tokens", "8")
    assert commands.succeed("generate", artifact, "--max-new-tokens", "8", stdin="hello\n") == expected
    assert commands.succeed("generate", artifact, "-", "--max-new-tokens", "8", stdin="hello") == expected
    file = commands.succeed("generate", artifact, "--file", tmp_path / "prompt.txt", "--max-new-tokens", "8")
    assert file == expected


def test_generate_without_a_prompt_begins_at_the_start_token(commands: Commands, artifact: Path) -> None:
    expected = graphwright.load(artifact).generate("", max_new_tokens=8) + "\n"
    assert commands.succeed("generate", artifact, "--max-new-tokens", "8", stdin="") == expected


def test_generate_hands_every_option_on(commands: Commands, artifact: Path) -> None:
    options: GenerationArguments = {
        "max_new_tokens": 12,
        "temperature": 1.5,
        "top_k": 20,
        "top_p": 0.9,
        "min_p": 0.01,
        "repetition_penalty": 1.2,
        "seed": 7,
    }
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    expected = graphwright.load(artifact).generate("hello", **options)
    assert commands.succeed("generate", artifact, "hello", *flags) == expected + "\n"
    stop = expected[3:5]
    cut = commands.succeed("generate", artifact, "hello", *flags, "--stop", stop)
    assert cut == expected.partition(stop)[0] + "\n"


def test_generate_hands_on_what_changes_logits(commands: Commands, artifact: Path) -> None:
    model = graphwright.load(artifact)
    first, second = model.complete("hello", max_new_tokens=2)[0].token_ids
    flags = (
        f"--min-new-tokens 3 --ignore-eos --presence-penalty 0.5 --frequency-penalty 0.25 --logit-bias {second}=-inf"
    )
    flags += (
        f" --logit-bias 7=0.5 --no-repeat-ngram-size 2 --suppress-tokens {first},3 --bad-words-ids 5,6 --typical-p 0.9"
    )
    expected = model.generate(
        "hello",
        max_new_tokens=12,
        min_new_tokens=3,
        ignore_eos=True,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        logit_bias={second: float("-inf"), 7: 0.5},
        no_repeat_ngram_size=2,
        suppress_tokens=[first, 3],
        bad_words_ids=[[5, 6]],
        typical_p=0.9,
        seed=1,
    )
    assert expected != model.generate("hello", max_new_tokens=12, typical_p=0.9, seed=1)
    output = commands.succeed("generate", artifact, "hello", "--max-new-tokens", "12", "--seed", "1", *flags.split())
    assert output == expected + "\n"


def test_generate_compiles_a_model_on_the_way(commands: Commands, checkpoint: Path, artifact: Path) -> None:
    expected = commands.succeed("generate", artifact, "hello", "--max-new-tokens", "4")
    assert commands.succeed("generate", checkpoint, "hello", "--max-new-tokens", "4") == expected


def test_generate_chats_through_the_template(commands: Commands, checkpoint_copy: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
    (checkpoint_copy / "chat_template.jinja").write_text(template)
    commands.succeed("compile", checkpoint_copy, "-o", tmp_path / "out")
    model = graphwright.load(tmp_path / "out")
    expected = model.generate([1, *model.loaded.encode("hello")], max_new_tokens=6)
    assert model.tokenizer is not None
    output = commands.succeed("generate", tmp_path / "out", "hello", "--chat", "--max-new-tokens", "6")
    assert output == model.tokenizer.decode(expected) + "\n"


def test_trace_opt_and_compile_pass_programs_on(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    traced, optimized, again = (tmp_path / name for name in ("a.gw", "b.gw", "c.gw"))
    commands.succeed("trace", checkpoint, "-o", traced)
    commands.succeed("opt", traced, "--pipeline", "cpu", "-o", optimized)
    commands.succeed("opt", optimized, "-o", again)
    assert again.read_bytes() == optimized.read_bytes()
    commands.succeed("compile", optimized, "-o", tmp_path / "out", "--assets", checkpoint)
    ids = [[1, 2, 3]]
    direct = graphwright.compile(checkpoint)
    assert (graphwright.load(tmp_path / "out").logits(ids) == direct.logits(ids)).all()


def test_opt_is_a_filter(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands.succeed("trace", OWN, "-o", tmp_path / "a.gw")
    printed = commands.succeed("opt", tmp_path / "a.gw", "--passes", "canonicalize")
    assert commands.succeed("opt", "-", stdin=printed) == printed
    commands.succeed("opt", tmp_path / "a.gw", "--passes", "canonicalize", "-o", tmp_path / "b.gw")
    assert (tmp_path / "b.gw").read_text() == printed
    assert commands.succeed("opt", "a.gw", "--passes", " canonicalize , convert-dtype{to=f64} ").startswith("program")


def test_print_changed_shows_each_pass(commands: Commands, tmp_path: Path) -> None:
    commands.succeed("trace", OWN, "-o", tmp_path / "a.gw")
    outcome = commands.run(
        "opt", tmp_path / "a.gw", "--passes", "canonicalize,canonicalize,raise-heads", "--print-changed"
    )
    assert outcome.status == 0
    headings = [line for line in outcome.errors.splitlines() if line.startswith("-- ")]
    assert headings[1:] == ["-- canonicalize: no change", "-- raise-heads"]
    assert any(line.startswith("+  ") and "split_heads" in line for line in outcome.errors.splitlines())


def test_passes_lists_options_and_pipelines(commands: Commands) -> None:
    lines = commands.succeed("passes").splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("convert-dtype (lossless): "))
    assert lines[place + 1] == '    to: f32 | f64 (default "f32")'
    assert any(line.startswith("pipeline default: split-context, canonicalize, ") for line in lines)


@pytest.mark.parametrize("layout", ["plain", "genai", "optimum"])
def test_export_writes_a_model(commands: Commands, checkpoint: Path, tmp_path: Path, layout: str) -> None:
    output = commands.succeed("export", checkpoint, "-o", tmp_path / layout, "--layout", layout)
    assert "model.onnx" in output
    assert (tmp_path / layout / "model.onnx").stat().st_size > 0


def test_inspect_an_artifact_and_a_program(
    commands: Commands, artifact: Path, checkpoint: Path, tmp_path: Path
) -> None:
    output = commands.succeed("inspect", artifact)
    for part in (
        "context    64 tokens",
        "cache      256 B a token",
        "model.onnx",
        "prefill of 64 tokens",
        "decode at 64",
    ):
        assert part in output
    commands.succeed("trace", checkpoint, "-o", tmp_path / "a.gw")
    output = commands.succeed("inspect", tmp_path / "a.gw")
    assert "forward, " in output
    assert " linear" in output


def test_doctor(commands: Commands) -> None:
    output = commands.succeed("doctor")
    for part in ("python", "onnxruntime", "torch", "CPUExecutionProvider", "threads", "memory"):
        assert part in output


def test_a_reader_that_leaves_is_no_error(artifact: Path) -> None:
    program = f"'{sys.executable}' -c 'from graphwright.cli import main; main()'"
    script = f"{program} generate '{artifact}' hello --max-new-tokens 40 | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_an_interrupt_is_quiet(commands: Commands, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphwright.api.load", interrupted)
    outcome = commands.run("generate", artifact, "hello")
    assert (outcome.status, outcome.output, outcome.errors) == (130, "", "")


def test_an_archive_of_torch_export(commands: Commands, tmp_path: Path) -> None:
    free = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=32)},)
    exported = torch.export.export(models.Own().eval(), (torch.zeros(2, 9, dtype=torch.int64),), dynamic_shapes=free)
    file = tmp_path / "own.pt2"
    torch.export.save(exported, file)
    commands.succeed("trace", file, "-o", tmp_path / "own.gw")
    assert "compiled own" in commands.succeed("compile", file, "-o", tmp_path / "own")
    model = graphwright.load(tmp_path / "own", threads=1)
    assert model.manifest.model.context_length == 32
    wanted = models.Own()(torch.tensor([[5, 6, 7]])).detach()
    torch.testing.assert_close(torch.as_tensor(model.logits([[5, 6, 7]])), wanted, rtol=1e-5, atol=1e-5)
    commands.succeed("export", file, "-o", tmp_path / "onnx")
    assert (tmp_path / "onnx" / "model.onnx").is_file()


def test_a_factory_with_inputs_by_name(commands: Commands, tmp_path: Path) -> None:
    program = commands.succeed("trace", f"{models.__file__}:by_name")
    assert "forward(%input2: f32[B, 4], %input1: f32[B, 3])" in program
