"""Captures of checkpoints, kept between compiles: torch.export takes most of the time that a compile has.

A capture is made of files and of code. Its name states all that could make another program of it: the files in the
checkpoint's folder, by what the file system says of them, the options, versions, torch's and transformers' source and
our own. A weight stays where it is in the checkpoint; what is kept has the few arrays that the model's code made.

Whatever cannot be named so is not kept: a capture with the user's own inputs, one of weights that lie elsewhere, one in
a process where somebody else's code has had transformers or torch in hand and may have changed them.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import safetensors.torch

from graphwright import ir
from graphwright.ir import Program, StoredArray, StoredFile, Weight, notify, parse_program, print_program
from graphwright.ir.cache_folder import Cache
from graphwright.ir.location import Location
from graphwright.ir.notices import noting_notices
from graphwright.ir.origin import Identities, content_name, files_in, nothing_is_replaced
from graphwright.ir.weights import sources, with_sources

CAPTURES = Cache("captures", most_bytes=256 << 20)
"""One of thirty layers has some 400 KiB."""
LARGEST = 32 << 20
"""Bytes of what is kept of one capture: more is quicker made than read."""


def capture_once(make: Callable[[], Program], folders: Sequence[Path], options: object) -> Program:
    """What `make` captures of the files in these folders, or what is kept of an earlier time, with the same notices."""
    files = files_in(folders) if nothing_is_replaced() else None
    if files is None:
        return make()
    name = content_name(folders, files, options, Path(__file__).parent, *map(Path, ir.__path__))
    content = CAPTURES.kept(name)
    program = None if content is None else _read(content, files)
    if program is not None:
        return program
    with noting_notices() as notices:
        program = make()
    content = _written(program, notices, files)
    if content is not None and files_in(folders) == files:
        CAPTURES.keep(name, content)
    return program


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
