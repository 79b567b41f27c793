"""Captures of checkpoints, kept between compiles: torch.export takes most of the time that a compile has.

A capture is made of files and of code. Its name states all that could make another program of it: the files in the
checkpoint's folder, by what the file system says of them, the options, versions, torch's and transformers' source and
our own. A weight stays where it is in the checkpoint; what is kept has the few arrays that the model's code made.

Whatever cannot be named so is not kept: a capture with the user's own inputs, one of weights that lie elsewhere, one in
a process where somebody else's code has had transformers or torch in hand and may have changed them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import safetensors.torch
import torch

from graphwright import ir
from graphwright.ir import Program, StoredArray, StoredFile, Weight, WeightError, notify, parse_program, print_program
from graphwright.ir.cache_folder import Cache, source_digest
from graphwright.ir.location import Location
from graphwright.ir.notices import noting_notices
from graphwright.ir.tensor_files import FileIdentity
from graphwright.ir.weights import sources, with_sources

CAPTURES = Cache("captures", most_bytes=256 << 20)
"""One of thirty layers has some 400 KiB."""
LARGEST = 32 << 20
"""Bytes of what is kept of one capture: more is quicker made than read."""
SETTINGS = ("CUDA_", "HF_", "MKL_", "ONEDNN_", "PYTORCH_", "TORCHDYNAMO_", "TORCH_", "TRANSFORMERS_", "USE_")
"""How the variables of the environment begin that torch and transformers read."""

Identities = dict[str, FileIdentity]
"""The files of folders, by their absolute paths."""


def capture_once(make: Callable[[], Program], folders: Sequence[Path], options: object) -> Program:
    """What `make` captures of the files in these folders, or what is kept of an earlier time, with the same notices."""
    files = _files(folders) if nothing_is_replaced() else None
    if files is None:
        return make()
    name = _content_name(folders, files, options)
    content = CAPTURES.kept(name)
    program = None if content is None else _read(content, files)
    if program is not None:
        return program
    with noting_notices() as notices:
        program = make()
    content = _written(program, notices, files)
    if content is not None and _files(folders) == files:
        CAPTURES.keep(name, content)
    return program


def nothing_is_replaced() -> bool:
    """Whether torch and transformers surely are as installed: libraries that make models faster replace parts of them.

    transformers is, where nobody has imported it yet, or where no code but ours runs.
    """
    owners = (torch, torch.Tensor, torch.nn.functional, *(c for c in vars(torch.nn).values() if isinstance(c, type)))
    functions = (f for owner in owners for f in vars(owner).values() if isinstance(f, FunctionType))
    known = ("torch", "transformers", "typing", "dataclasses")
    as_installed = all(function.__module__.split(".")[0] in known for function in functions)
    return as_installed and ("transformers" not in sys.modules or runs_our_code_alone())


def runs_our_code_alone() -> bool:
    """Whether the process is our command line, which has run no user's code to make a model."""
    commands, main = sys.modules.get("graphwright.cli"), getattr(sys.modules["__main__"], "main", None)
    users = any(name.startswith("graphwright_model_") for name in sys.modules)
    return commands is not None and main is commands.main and not users


def _files(folders: Iterable[Path]) -> Identities | None:
    """Every file in the folders; None where one of them cannot be looked at."""
    with suppress(OSError, WeightError):
        paths = (str(path.absolute()) for folder in folders for path in folder.iterdir() if path.is_file())
        return {path: FileIdentity.of(path) for path in paths}
    return None


def _content_name(folders: Iterable[Path], files: Identities, options: object) -> str:
    content = (
        [(str(folder), str(folder.absolute())) for folder in folders],
        sorted(files.items()),
        options,
        sorted((k, v) for k, v in os.environ.items() if k.startswith(SETTINGS)),
        (sys.version, torch.__version__, torch.backends.cpu.get_cpu_capability()),
        (torch.get_default_dtype(), torch.get_default_device(), torch.is_autocast_enabled("cpu")),
        sorted(_installed()),
        sorted(_library_source("torch")),
        sorted(_library_source("transformers")),
        source_digest(Path(__file__).parent, *map(Path, ir.__path__)),
    )
    return sha256(repr(content).encode()).hexdigest()


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


def _written(program: Program, notices: Sequence[str], files: Identities) -> bytes | None:
    """What to keep of a capture: the text, the arrays, and what the text does not say. None if it is not kept."""
    leaves = [leaf for weight in program.weights.values() for leaf in sources(weight.expression)]
    stored = [leaf for leaf in leaves if isinstance(leaf, StoredFile)]
    if any(leaf.identity is None or files.get(leaf.path) != leaf.identity for leaf in stored):
        return None
    arrays = list({id(leaf): leaf for leaf in leaves if isinstance(leaf, StoredArray)}.values())
    if sum(leaf.array.nbytes for leaf in arrays) > LARGEST:
        return None
    places = {id(leaf): StoredFile("", str(i), leaf.type) for i, leaf in enumerate(arrays)}
    shown = Program(program.name)
    shown.metadata, shown.graphs = program.metadata, program.graphs
    for name, weight in program.weights.items():
        shown.weights[name] = Weight(name, with_sources(weight.expression, lambda leaf: places.get(id(leaf), leaf)))
    locations = [op.location for graph in program.graphs.values() for op in graph]
    lines = [location.source if isinstance(location, Location) else None for location in locations]
    head = json.dumps({"notices": notices, "lines": lines, "program": print_program(shown)})
    tensors = {str(i): leaf.array.detach().contiguous().clone() for i, leaf in enumerate(arrays)}
    return head.encode() + b"\n" + safetensors.torch.save(tensors)


def _read(content: bytes, files: Identities) -> Program | None:
    """The capture that was kept, its weights those of the files; None where these have changed by now."""
    head, _, rest = content.partition(b"\n")
    known = cast("dict[str, Any]", json.loads(head))
    arrays = {key: StoredArray.of(tensor) for key, tensor in safetensors.torch.load(rest).items()}
    program = parse_program(known["program"])
    for weight in program.weights.values():
        leaves = [leaf for leaf in sources(weight.expression) if isinstance(leaf, StoredFile) and leaf.path]
        if any(files.get(leaf.path) != leaf.identity for leaf in leaves):
            return None
        weight.expression = with_sources(
            weight.expression,
            lambda leaf: arrays[leaf.key] if isinstance(leaf, StoredFile) and not leaf.path else leaf,
        )
    for op, line in zip((op for graph in program.graphs.values() for op in graph), known["lines"], strict=True):
        op.location = op.location if line is None else Location(op.location, line)
    for message in known["notices"]:
        notify(message)
    return program
