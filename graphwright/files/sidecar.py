"""The safetensors file beside a `.gw` file: it keeps the arrays that a program held in memory."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.errors import UsageError
from graphwright.ir import Program, StoredArray, StoredFile
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.weights import sources, stored_tensors

if TYPE_CHECKING:
    from torch import Tensor

INLINE_ELEMENTS = 64
"""Arrays up to this size are spelt out in the text."""

_MARK = {"written-by": "graphwright"}


class Sidecar:
    """Takes the large arrays of `program` for the file `path`."""

    def __init__(self, program: Program, path: Path) -> None:
        self.path = path
        self._keys: dict[int, str] = {}
        self._tensors: dict[str, Tensor] = {}
        named = [(weight.name, leaf) for weight in program.weights.values() for leaf in sources(weight.expression)]
        if not any(_is_large(leaf) for _, leaf in named):
            return
        # What an earlier file of this name still provides moves into the new one, under its old key.
        for _, leaf in named:
            if isinstance(leaf, StoredFile) and self._is_here(leaf):
                self._tensors[leaf.key] = leaf.evaluate()
        for name, leaf in named:
            if isinstance(leaf, StoredArray) and _is_large(leaf):
                self._add(name, leaf)

    def place(self, leaf: StoredFile | StoredArray) -> StoredFile | StoredArray:
        """The stored array as the text states it: those taken are in the file."""
        key = self._keys.get(id(leaf))
        return leaf if key is None else StoredFile(str(self.path), key, leaf.type)

    def write(self) -> None:
        """Write the file if there is anything for it. Raises UsageError when another tool's file is in its place."""
        if not self._tensors:
            return
        self._check_replaceable()
        from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly untyped

        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in self._tensors.items()}
        write_atomically(self.path, lambda temporary: save_file(tensors, temporary, _MARK))

    def renewed(self, leaf: StoredFile | StoredArray) -> StoredFile | StoredArray:
        """A stored array as it is to be read after `write`: what moved from the earlier file is in the new one."""
        if self._tensors and isinstance(leaf, StoredFile) and leaf.key in self._tensors and self._is_here(leaf):
            return stored_tensors(str(self.path))[leaf.key]
        return leaf

    def _is_here(self, leaf: StoredFile) -> bool:
        return Path(leaf.path).resolve() == self.path.resolve()

    def _add(self, name: str, leaf: StoredArray) -> None:
        if id(leaf) in self._keys:
            return
        key, number = name, 0
        while key in self._tensors:
            number += 1
            key = f"{name}.{number}"
        self._keys[id(leaf)] = key
        self._tensors[key] = leaf.array

    def _check_replaceable(self) -> None:
        """A checkpoint's weights must not be lost because a program beside them has the same name."""
        if not self.path.exists():
            return
        from safetensors import SafetensorError, safe_open

        metadata: dict[str, str] = {}
        with suppress(SafetensorError, OSError):
            file: Any = safe_open(str(self.path), framework="pt")  # pyright: ignore[reportUnknownVariableType] - untyped
            metadata = file.metadata() or {}
        if not metadata.items() >= _MARK.items():
            raise UsageError(f"{self.path} exists and belongs to something else; choose another name for the .gw file")


def _is_large(leaf: StoredFile | StoredArray) -> bool:
    return isinstance(leaf, StoredArray) and (leaf.type.elements.constant or 0) > INLINE_ELEMENTS
