"""Adapters at the public face: compiled with their base, on their own, and with models that take none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import graphwright
from graphwright import UsageError
from graphwright.sources.models import ModelOptions, resolve
from tests.frontend.adapters.saved import QUERIES, adapter, base, change, queries
from tests.frontend.test_checkpoint import loaded
from tests.graphwright.commands import Commands
from tests.tensors import listed

TOKENIZER = Path("examples/models/storyteller/tokenizer.json").resolve()


def test_compiled_with_its_base_and_its_own_tokenizer(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    (base(tmp_path / "base") / "tokenizer_config.json").write_text('{"model_max_length": 1}')
    model = graphwright.compile(tmp_path / "base", adapter=folder, output=tmp_path / "artifact")
    eager = loaded(tmp_path / "base")
    for path in QUERIES:
        eager.get_submodule(path).weight.data += change(queries(), path, 2.0)
    ids = torch.arange(12).reshape(2, 6)
    # As far as the tests of compiled models in float32 allow logits of a few units.
    torch.testing.assert_close(torch.as_tensor(model.logits(listed(ids))), eager(ids).logits.detach())
    # Of two tokenizers nothing is mixed, and the settings are the base's.
    assert (tmp_path / "artifact/tokenizer.json").read_bytes() == TOKENIZER.read_bytes()
    assert not (tmp_path / "artifact/tokenizer_config.json").exists()
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "artifact" / name).read_bytes() == (tmp_path / "base" / name).read_bytes()


def test_the_folder_of_both_files_is_removed(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    assert resolve(base(tmp_path / "base"), ModelOptions(adapter=folder)).assets == tmp_path / "base"
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    source = resolve(tmp_path / "base", ModelOptions(adapter=folder))
    made = source.assets
    assert made is not None
    assert made.is_dir()
    del source
    assert not made.exists()


def test_more_options_leave_the_adapter_and_its_files(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    first = resolve(base(tmp_path / "base"), ModelOptions(adapter=folder))
    assets = first.assets
    second = resolve(first, ModelOptions(ignore_remote_code=True, logits="output.1"))
    third = resolve(second, ModelOptions(logits="output.2", adapter=str(folder)))
    del first
    assert second.options == ModelOptions(ignore_remote_code=True, logits="output.1", adapter=folder)
    assert third.options == ModelOptions(ignore_remote_code=True, logits="output.2", adapter=folder)
    assert assets is not None
    assert (assets / "tokenizer.json").is_file()
    assert second.assets == third.assets == assets
    with pytest.raises(UsageError, match=r"adapter.* is .*other, and the model has .*adapter already: merge one"):
        resolve(second, ModelOptions(adapter=tmp_path / "other"))


def test_an_adapter_for_a_source_that_has_options(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    plain = resolve(base(tmp_path / "base"), ModelOptions(ignore_remote_code=True))
    source = resolve(plain, ModelOptions(adapter=folder))
    assert source.options == ModelOptions(ignore_remote_code=True, adapter=folder)
    assert source.assets == tmp_path / "base"
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    assert resolve(plain, ModelOptions(adapter=folder)).kept is not None


@pytest.mark.parametrize("configured", [True, False])
def test_an_adapter_alone(tmp_path: Path, configured: bool) -> None:
    """Also where training has copied the base's configuration beside it."""
    folder = adapter(tmp_path / "adapter", queries(), base_model_name_or_path="someone/model")
    if configured:
        shutil.copyfile(base(tmp_path / "base") / "config.json", folder / "config.json")
    with pytest.raises(UsageError, match=r"is an adapter of 'someone/model', not a model.*compile BASE --adapter"):
        graphwright.trace(folder)


def test_on_the_command_line(tmp_path: Path, commands: Commands) -> None:
    folder, program = adapter(tmp_path / "adapter", queries()), tmp_path / "merged.gw"
    commands.succeed("trace", base(tmp_path / "base"), "--adapter", folder, "-o", program)
    weight = graphwright.read_program(program).weights[f"{QUERIES[0]}.weight"].evaluate()
    wanted = loaded(tmp_path / "base").get_submodule(QUERIES[0]).weight.data + change(queries(), QUERIES[0], 2.0)
    assert torch.equal(weight, wanted)
    for command in ("opt", "explain"):
        assert "--adapter comes too late" in commands.fail(command, program, "--adapter", folder)
    assert "is none" in commands.fail("compile", program, "-o", tmp_path / "out", "--adapter", folder)
    assert "there is no such folder" in commands.fail("trace", tmp_path / "base", "--adapter", tmp_path / "missing")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "MODEL", "-o", "OUT"),
        ("export", "MODEL", "-o", "OUT"),
        ("quantize", "MODEL", "--to", "w8", "-o", "OUT"),
        ("report", "MODEL", "-o", "OUT.html"),
        ("evaluate", "MODEL", "--text", "README.md"),
        ("generate", "MODEL", "text"),
        ("opt", "MODEL"),
        ("explain", "MODEL"),
        ("trace", "MODEL"),
    ],
)
def test_every_command_that_captures_takes_an_adapter(
    tmp_path: Path, commands: Commands, arguments: tuple[str, ...]
) -> None:
    folder = adapter(tmp_path / "adapter", queries(), peft_type="IA3")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "llama"}))
    given = [each.replace("MODEL", str(tmp_path / "model")).replace("OUT", str(tmp_path / "out")) for each in arguments]
    assert "of the method 'IA3'; only LORA is merged" in commands.fail(*given, "--adapter", folder)


def test_models_that_take_none(tmp_path: Path, commands: Commands) -> None:
    folder = adapter(tmp_path / "adapter", queries())
    with pytest.raises(UsageError, match="and a Linear is none"):
        graphwright.trace(torch.nn.Linear(2, 2), adapter=folder)
    assert "models.py:own is none" in commands.fail("trace", "models.py:own", "--adapter", folder)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "manifest.json").write_text('{"format": "graphwright-artifact"}')
    for arguments in (("generate", artifact), ("evaluate", artifact, "--text", TOKENIZER)):
        assert "--adapter comes too late" in commands.fail(*arguments, "--adapter", folder)
