"""From torch's symbolic sizes to the IR's dimensions."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from graphwright.frontend.traced_graph import expression
from graphwright.ir import DType, TensorType, UnsupportedError
from graphwright.ir.dims import Dim, product
from graphwright.ir.torch_types import dtype_of


class Dimensions:
    """Reads sizes of a traced graph; `names` says what the IR calls each of torch's symbols (`s72` is `B`)."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)
        self._seen: dict[Any, Dim] = {}

    @property
    def names(self) -> Mapping[str, str]:
        """What the IR calls each of torch's symbols."""
        return self._names

    def dim(self, size: int | torch.SymInt) -> Dim:
        """The polynomial of a size. Raises `UnsupportedError` on a division, a minimum, or a size set by data."""
        return Dim.of(size) if isinstance(size, int) else self._polynomial(expression(size))

    def type(self, fake: torch.Tensor) -> TensorType:
        """The type of a traced tensor, or of the parts of a complex one; `UnsupportedError` if it has none."""
        return TensorType(element_type(fake), tuple(self.dim(size) for size in fake.shape))

    def _polynomial(self, part: Any) -> Dim:
        known = self._seen.get(part)
        if known is None:
            known = self._seen[part] = self._convert(part)
        return known

    def _convert(self, part: Any) -> Dim:
        if part.is_Integer:
            return Dim.of(int(part))
        if part.is_Symbol:
            if part.name not in self._names:
                raise UnsupportedError(
                    f"size {part} depends on the data; a graph's sizes may depend on its inputs' sizes"
                )
            return Dim.of(self._names[part.name])
        if part.is_Add:
            return sum((self._polynomial(p) for p in part.args), Dim.of(0))
        if part.is_Mul:
            return product(self._polynomial(p) for p in part.args)
        if part.is_Pow and part.exp.is_Integer and int(part.exp) > 0:
            return product([self._polynomial(part.base)] * int(part.exp))
        text = str(part)
        for symbol, name in self._names.items():
            text = re.sub(rf"\b{symbol}\b", name, text)
        raise UnsupportedError(f"size {text} is not made of batch and sequence by + - * alone")


def element_type(tensor: torch.Tensor) -> DType:
    """The IR's element type of a torch tensor, or of the parts of a complex one; `UnsupportedError` if it lacks one."""
    try:
        return dtype_of(torch.empty(0, dtype=tensor.dtype.to_real()) if tensor.is_complex() else tensor)
    except KeyError:
        raise UnsupportedError(f"element type {tensor.dtype} has no counterpart in the IR") from None
