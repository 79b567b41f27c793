"""What a MODEL is: a checkpoint directory, a `.gw` or `.pt2` file, `file.py:factory`, a module or program in memory."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from graphwright.compiling.requirements import require_compiler
from graphwright.errors import OptionError, UsageError, is_user_error
from graphwright.runtime.artifact import claims_artifact
from graphwright.sources.adapter_folders import Assets, adapted_assets, refuse_adapter_alone
from graphwright.sources.other_models import FORMS, absent_model, other_file, other_folder
from graphwright.sources.seeded_weights import WEIGHTS

if TYPE_CHECKING:
    from torch import nn

    from graphwright.ir import Program

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class ModelOptions:
    """What a user says of a model beside its name; see `graphwright.compile` for each."""

    ignore_remote_code: bool = False
    logits: str | None = None
    adapter: str | Path | None = None
    weights: str = "stored"
    """`seed`: random numbers of the sizes that the configuration tells, in place of what is stored."""

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise OptionError(f"is '{self.weights}': must be one of {', '.join(WEIGHTS)}", "weights")

    def over(self, own: ModelOptions) -> ModelOptions:
        """These, and `own` where these say nothing. Raises OptionError where both name an adapter, and not the same."""
        adapters = [Path(each.adapter) for each in (own, self) if each.adapter is not None]
        if len({each.resolve() for each in adapters}) > 1:
            raise OptionError(f"is {adapters[1]}, and the model has {adapters[0]} already: merge one", "adapter")
        return ModelOptions(
            self.ignore_remote_code or own.ignore_remote_code,
            own.logits if self.logits is None else self.logits,
            self.adapter if own.adapter is None else own.adapter,
            own.weights if self.weights == "stored" else self.weights,
        )

    def refuse_for_captured(self, fact: str) -> None:
        """Raise OptionError for what has to be said as a model is captured; `fact` says that it was, and where."""
        asked = {
            "logits": self.logits,
            "adapter": self.adapter,
            "weights": None if self.weights == "stored" else "seed",
        }
        for name, value in asked.items():
            if value is not None:
                raise OptionError(f"comes too late: {fact}; trace the model with it", name)


@dataclass(frozen=True)
class Source:
    """A model before it is captured. `assets` is the folder whose tokenizer and configuration files belong to it.

    `kept` is what `assets` lives by, where an adapter has a tokenizer of its own.
    """

    name: str
    model: Path | nn.Module | Program
    example_inputs: Any = None
    assets: Path | None = None
    options: ModelOptions = ModelOptions()
    kept: Assets | None = None


def resolve(model: Any, options: ModelOptions | None = None) -> Source:
    """The source that `model` names or is. Runs the factory of `file.py:factory`. Raises UsageError.

    Of a source, `options` stand over its own, field by field. Raises OptionError for a second adapter.
    """
    require_compiler()
    if options is None or options == ModelOptions():
        return _resolve(model)
    own = model.options if isinstance(model, Source) else ModelOptions()
    if own.adapter is not None:
        return replace(_resolve(model), options=options.over(own))
    kept = None if options.adapter is None else _assets_with_adapter(model, Path(options.adapter))
    source = _resolve(model)
    assets = source.assets if kept is None else kept.folder
    return replace(source, options=options.over(own), assets=assets, kept=kept or source.kept)


def _assets_with_adapter(model: Any, adapter: Path) -> Assets | None:
    """The files that go along, where the adapter has a tokenizer. Raises UsageError for a model that takes none."""
    directory = model.model if isinstance(model, Source) else model
    if not isinstance(directory, str | Path) or not (Path(directory).is_dir() or _is_missing(directory)):
        what = directory if isinstance(directory, str | Path) else f"a {type(directory).__name__}"
        raise UsageError(f"an adapter is merged into a checkpoint directory, and {what} is none")
    return adapted_assets(Path(directory), adapter) if adapter.is_dir() else None


def _is_missing(model: str | Path) -> bool:
    return not Path(model).exists() and ".py:" not in str(model)


def _resolve(model: Any) -> Source:
    if isinstance(model, Source):
        return model
    if isinstance(model, str | Path):
        return _resolve_path(str(model))
    if _is_module(model):
        return Source(type(model).__name__, model)
    from graphwright.ir import Program

    if isinstance(model, Program):
        return Source(model.name, model)
    raise UsageError(f"{type(model).__name__} is not a model; {FORMS}, or a torch.nn.Module")


def _resolve_path(text: str) -> Source:
    require_path(text)
    path = Path(text)
    file, _, factory = text.rpartition(":")
    if file.endswith(".py"):
        return _from_factory(Path(file), factory)
    if path.suffix == ".gw" and path.is_file():
        from graphwright.ir import read_program

        return Source(path.stem, read_program(path))
    if path.suffix == ".pt2" and path.is_file():
        return Source(path.stem, path)
    if not path.is_dir():
        raise UsageError(other_file(text))
    if claims_artifact(path):
        raise UsageError(f"{text} is a compiled artifact already; give the checkpoint that it was compiled from")
    refuse_adapter_alone(path)
    if not (path / CONFIG_FILE).is_file():
        raise UsageError(other_folder(text))
    return Source(path.resolve().name, path, assets=path)


def require_path(text: str) -> None:
    """Raises UsageError where there is nothing at the path that `text` names. Runs no code."""
    file, _, _ = text.rpartition(":")
    if file.endswith(".py"):
        if not Path(file).is_file():
            raise UsageError(f"{file} does not exist; {FORMS}")
    elif text.endswith(".py"):
        raise UsageError(f"{text}: name the function that makes the model, as in {text}:FACTORY")
    elif not Path(text).exists():
        raise UsageError(absent_model(text))


def _from_factory(file: Path, name: str) -> Source:
    # As when Python runs the file, its neighbours can be imported, by the factory too.
    sys.path.insert(0, str(file.resolve().parent))
    try:
        made = _call_factory(file, name)
    finally:
        sys.path.pop(0)
    model, inputs = _split(made)
    if not _is_module(model):
        kind = type(model).__name__
        raise UsageError(
            f"{file}:{name} returned a {kind}; it must return a torch.nn.Module, or one and example inputs"
        )
    return Source(f"{file.stem}.{name}", model, inputs)


def _split(made: Any) -> tuple[Any, Any]:
    """The model that a factory made, and its example inputs if it gave any."""
    if not isinstance(made, tuple) or len(pair := cast("tuple[Any, ...]", made)) != 2:
        return cast(Any, made), None
    model, given = pair
    return model, cast(Any, given) if isinstance(given, tuple | dict) else (given,)


def _call_factory(file: Path, name: str) -> Any:
    module = _import_file(file)
    factory = getattr(module, name, None)
    if factory is None:
        functions = inspect.getmembers(module, inspect.isfunction)
        known = [n for n, function in functions if function.__module__ == module.__name__]
        raise UsageError(f"{file} has no '{name}'; it defines {', '.join(known) or 'no function'}")
    if not callable(factory):
        raise UsageError(f"{file}:{name} is not a function; name one without arguments that returns the model")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise _failure(file, f"{name}()", error) from None


def _import_file(file: Path) -> ModuleType:
    # Under a name of its own: a model in random.py must not take the place of the library's module.
    specification = importlib.util.spec_from_file_location(f"graphwright_model_{file.stem}", file)
    assert specification is not None, f"{file} ends in .py"
    assert specification.loader is not None, f"{file} ends in .py"
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise _failure(file, "the file", error) from None
    return module


def _failure(file: Path, what: str, error: BaseException) -> Exception:
    """An error of the user's own code, told by the last of its lines that ran."""
    if isinstance(error, Exception) and is_user_error(error):
        return error
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return UsageError(f"{error.filename or file}:{error.lineno}: {error.msg}")
    own = str(file.resolve())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if str(Path(f.filename).resolve()) == own]
    place = f"{file}:{lines[-1]}" if lines else str(file)
    return UsageError(f"{place}: {what} raised {type(error).__name__}: {error}")


def _is_module(model: object) -> bool:
    # Whoever made a module has imported torch; nobody else should pay for it here.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
