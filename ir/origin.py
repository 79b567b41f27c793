"""What a result is made by, beside the request: files, code, versions, settings. By these it is kept between runs."""

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from graphwright.ir.cache_folder import source_digest
from graphwright.ir.errors import WeightError
from graphwright.ir.tensor_files import FileIdentity

SETTINGS = ("CUDA_", "HF_", "MKL_", "ONEDNN_", "PYTORCH_", "TORCHDYNAMO_", "TORCH_", "TRANSFORMERS_", "TVM_", "USE_")
"""How the variables of the environment begin that the libraries read."""
LIBRARIES = ("torch", "transformers")

Identities = dict[str, FileIdentity]
"""The files of folders, by their absolute paths."""


def files_in(folders: Iterable[Path]) -> Identities | None:
    """Every file in the folders; None where one of them cannot be looked at."""
    with suppress(OSError, WeightError):
        paths = (str(path.absolute()) for folder in folders for path in folder.iterdir() if path.is_file())
        return {path: FileIdentity.of(path) for path in paths}
    return None


def content_name(folders: Iterable[Path], files: Identities, options: object, *sources: Path) -> str:
    """A name for what is made, by our own code in the folders `sources`, of these files with these options.

    Nothing that is made otherwise has the same.
    """
    torch: Any = sys.modules.get("torch")
    content = (
        [(str(folder), str(folder.absolute())) for folder in folders],
        sorted(files.items()),
        options,
        sorted((k, v) for k, v in os.environ.items() if k.startswith(SETTINGS)),
        (sys.version, _processor()),
        "torch.float32, cpu, False"
        if torch is None
        else f"{torch.get_default_dtype()}, {torch.get_default_device()}, {torch.is_autocast_enabled('cpu')}",
        sorted(_installed()),
        [sorted(_library_source(library)) for library in LIBRARIES],
        source_digest(*sources),
    )
    return sha256(repr(content).encode()).hexdigest()


@cache
def _processor() -> list[str]:
    """Kernels, and sums, are those of its instructions."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return []


def _installed() -> Iterator[str]:
    """What is installed, by names that have the version in them: transformers runs other code where it finds more."""
    for folder in sys.path:
        with suppress(OSError):
            yield from (
                name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info", ".pth"))
            )


def _library_source(package: str) -> Iterator[tuple[str, int, int]]:
    """A library's source, by sizes and times: somebody may have changed it where it is installed."""
    found = importlib.util.find_spec(package)
    for root in [] if found is None else found.submodule_search_locations or []:
        for folder, _, names in os.walk(root):
            for path in (os.path.join(folder, name) for name in names if name.endswith(".py")):
                status = os.stat(path)
                yield path, status.st_size, status.st_mtime_ns


def nothing_is_replaced() -> bool:
    """Whether torch and transformers surely are as installed: libraries that make models faster replace parts of them.

    transformers is, where nobody has imported it yet, or where no code but ours runs.
    """
    torch: Any = sys.modules.get("torch")
    owners = [] if torch is None else [torch, torch.Tensor, torch.nn.functional, *_classes(torch.nn)]
    functions = (f for owner in owners for f in vars(owner).values() if isinstance(f, FunctionType))
    known = ("torch", "transformers", "typing", "dataclasses")
    as_installed = all(function.__module__.split(".")[0] in known for function in functions)
    return as_installed and ("transformers" not in sys.modules or runs_our_code_alone())


def _classes(module: Any) -> Iterator[type]:
    return (value for value in cast("dict[str, object]", vars(module)).values() if isinstance(value, type))


def runs_our_code_alone() -> bool:
    """Whether the process is our command line, which has run no user's code to make a model."""
    commands, main = sys.modules.get("graphwright.cli"), getattr(sys.modules["__main__"], "main", None)
    users = any(name.startswith("graphwright_model_") for name in sys.modules)
    return commands is not None and main is commands.main and not users
