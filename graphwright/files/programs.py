"""Programs as `.gw` files and as text."""

from collections.abc import Callable
from pathlib import Path

from graphwright.errors import UsageError
from graphwright.files.sidecar import Sidecar
from graphwright.ir import Program, StoredArray, StoredFile, Weight, print_program, read_program
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.weights import sources, with_sources

INLINE_ELEMENTS_WITHOUT_FILE = 4096
"""Arrays up to this size are spelt out where there is no file beside the text, as on standard output."""

SHOWN_ELEMENTS = 8
"""Arrays up to this size are spelt out for reading."""

Leaf = StoredFile | StoredArray


def write_program(program: Program, path: str | Path) -> None:
    """Write `program` to the `.gw` file `path`, whole or not at all.

    Arrays in memory of more than 64 elements go into `NAME.safetensors` beside `NAME.gw`. Paths of weight files inside
    the folder are written relative to it, others absolute. Raises UsageError, and WeightError where a weight file is
    no longer what the program was made of.
    """
    path = Path(path)
    if path.suffix != ".gw":
        raise UsageError(f"{path}: the name of a program's file ends in .gw")
    sidecar = Sidecar(program, path.with_suffix(".safetensors"))
    text = _print(program, lambda leaf: _relative(sidecar.place(leaf), path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sidecar.write()
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        for weight in program.weights.values():
            if any(sidecar.renewed(leaf) is not leaf for leaf in sources(weight.expression)):
                weight.expression = with_sources(weight.expression, sidecar.renewed)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def program_text(program: Program) -> str:
    """`program` as text for standard output: file paths relative to the working directory, arrays spelt out.

    Raises UsageError for an array in memory that is too large for that.
    """

    def spelt(leaf: Leaf) -> Leaf:
        elements = leaf.type.elements.constant or 0
        if isinstance(leaf, StoredArray) and elements > INLINE_ELEMENTS_WITHOUT_FILE:
            raise UsageError(f"a weight of {elements} elements is held in memory: write to a file, which keeps it")
        return _relative(leaf, Path())

    return _print(program, spelt)


def display_text(program: Program) -> str:
    """`program` as text for reading: of arrays in memory only small ones are spelt out."""

    def shown(leaf: Leaf) -> Leaf:
        elements = leaf.type.elements.constant or 0
        large = isinstance(leaf, StoredArray) and elements > SHOWN_ELEMENTS
        return StoredFile("<memory>", "...", leaf.type) if large else leaf

    return _print(program, shown)


def _print(program: Program, place: Callable[[Leaf], Leaf]) -> str:
    """The program's text with every stored array where `place` puts it."""
    shown = Program(program.name)
    shown.metadata, shown.graphs = program.metadata, program.graphs
    shown.weights = {name: Weight(name, with_sources(w.expression, place)) for name, w in program.weights.items()}
    return print_program(shown)


def _relative(leaf: Leaf, folder: Path) -> Leaf:
    if isinstance(leaf, StoredArray):
        return leaf
    # The text says no more than the path, under which another file may lie by now.
    leaf.require_same()
    path, home = Path(leaf.path).resolve(), folder.resolve()
    inside = path.is_relative_to(home)
    return StoredFile(path.relative_to(home).as_posix() if inside else str(path), leaf.key, leaf.type)


__all__ = ["program_text", "read_program", "write_program"]
