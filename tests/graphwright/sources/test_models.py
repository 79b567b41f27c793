"""What counts as a MODEL."""

import sys
from pathlib import Path

import pytest
from torch import nn

from graphwright import UsageError
from graphwright.ir import Program, TextError, UserError
from graphwright.sources.models import Source, resolve
from tests.graphwright import models

FACTORIES = Path(models.__file__)
FAILING_LINE = models.failing.__code__.co_firstlineno + 1


def test_a_checkpoint_brings_its_assets(checkpoint: Path) -> None:
    source = resolve(str(checkpoint))
    assert source == Source("small", checkpoint, assets=checkpoint)


def test_a_factory_makes_a_module() -> None:
    source = resolve(f"{FACTORIES}:own")
    assert source.name == "models.own"
    assert isinstance(source.model, nn.Module)
    assert source.example_inputs is None


def test_a_factory_may_give_example_inputs() -> None:
    source = resolve(f"{FACTORIES}:function")
    assert isinstance(source.model, nn.Linear)
    assert [tuple(x.shape) for x in source.example_inputs or ()] == [(2, 4)]


def test_a_file_finds_its_neighbours_and_leaves_the_path_alone(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_model.py").write_text("from torch import nn\nmade = nn.Linear(2, 3)\n")
    (tmp_path / "own_model.py").write_text(
        "import neighbour_of_model\ndef make():\n    return neighbour_of_model.made\n"
    )
    before = list(sys.path)
    assert isinstance(resolve(f"{tmp_path}/own_model.py:make").model, nn.Linear)
    assert sys.path == before


def test_modules_and_programs_are_models_themselves() -> None:
    module, program = models.Own(), Program("mine")
    assert resolve(module) == Source("Own", module)
    assert resolve(program) == Source("mine", program)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("absent", "has no 'absent'; it defines "),
        ("NUMBER", "NUMBER is not a function"),
        ("text", "text returned a str; it must return a torch.nn.Module"),
        ("failing", f"{FACTORIES}:{FAILING_LINE}: failing() raised ValueError: no weights today"),
    ],
)
def test_bad_factories(factory: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(f"{FACTORIES}:{factory}")
    assert message in str(error.value)


def test_a_file_that_does_not_run_is_told_by_its_line(tmp_path: Path) -> None:
    broken, crashing = tmp_path / "broken_model.py", tmp_path / "crashing_model.py"
    broken.write_text("def make(:\n")
    crashing.write_text("x = 1\nx.y\n")
    with pytest.raises(UsageError, match=r"broken_model\.py:1: "):
        resolve(f"{broken}:make")
    with pytest.raises(UsageError, match=r"crashing_model\.py:2: the file raised AttributeError"):
        resolve(f"{crashing}:make")
    assert not any("crashing_model" in name for name in sys.modules)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent.gw",
            "absent.gw does not exist; a model is a checkpoint directory, a .gw file, a .pt2 archive, or file.py",
        ),
        ("absent.py:make", "absent.py does not exist"),
        ("model.py", "name the function that makes the model, as in"),
        ("weights.bin", "is one file of a checkpoint"),
        ("empty", "is neither an artifact (no manifest.json) nor a checkpoint (no config.json)"),
    ],
)
def test_paths_that_are_no_model(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("model.py", "weights.bin"):
        Path(file).write_text("")
    Path("empty").mkdir()
    with pytest.raises(UsageError) as error:
        resolve(name)
    assert message in str(error.value)


def test_an_artifact_is_compiled_already(artifact: Path) -> None:
    with pytest.raises(UsageError, match="is a compiled artifact already"):
        resolve(artifact)


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="int is not a model"):
        resolve(3)


def test_a_program_file_that_does_not_parse_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.gw"
    file.write_text('program "x"\ngraph f(%a: i64[B]) {\n  %0 = nonsense(%a) : i64[B]\n  return x=%0\n}\n')
    with pytest.raises(TextError, match=r"bad\.gw:3:8: "):
        resolve(file)
    assert issubclass(TextError, UserError)
