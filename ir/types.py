"""Types of values: tensors, quantized tensors and states. Each prints as the text format reads it.

f32[B, S, 64]                      a tensor
q4<g128, asym>[4096, 4096]         a quantized weight: 4 bits, groups of 128 along the last axis, with zero points
                                   (`asym`), minimums (`min`) or neither (`sym`)
state<contiguous f32[B, 4, C, 64]> a KV cache: a buffer that outlives one run and is updated in place
state<recurrent f32[B, 4, 16, 64]> what a recurrence remembers of a row: of fixed size, at first zeros
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from graphwright.ir.dims import Dim, product


class DType(Enum):
    """Element types. The value is the name in text."""

    BOOL = "bool"
    I2 = "i2"
    U2 = "u2"
    I3 = "i3"
    U3 = "u3"
    I4 = "i4"
    U4 = "u4"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    F4E2M1 = "f4e2m1"
    F8E4M3 = "f8e4m3"
    F8E5M2 = "f8e5m2"
    F8E8M0 = "f8e8m0"
    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"

    # Enum's own __hash__ is Python code; types are hashed often enough for that to show.
    __hash__ = object.__hash__

    @property
    def bits(self) -> int:
        return _BITS[self]

    @property
    def is_float(self) -> bool:
        return self.value[0] in "fb" and self is not DType.BOOL

    @property
    def is_integer(self) -> bool:
        return self.value[0] in "iu"

    def __str__(self) -> str:
        return self.value


_BITS = {d: 8 if d is DType.BOOL else int("".join(c for c in d.value.split("e")[0] if c.isdigit())) for d in DType}


def _shape_text(shape: tuple[Dim, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dense tensor: element type and shape."""

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        return product(self.shape)

    @property
    def bits(self) -> Dim:
        return self.elements * self.dtype.bits

    def with_shape(self, *shape: Dim | int) -> TensorType:
        return TensorType(self.dtype, tuple(Dim.of(d) for d in shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return self if dtype is self.dtype else TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{_shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class QuantizedType:
    """A weight stored in few bits, with a scale, maybe a zero point or a minimum, per group of elements along `axis`.

    `element` is the type of the stored codes. Signed integers and floats are symmetric: `value = code * scale`.
    Unsigned integers have a zero point of their own type, `value = (code - zero_point) * scale`, or, with `minimum`, a
    minimum of the scale's type, `value = code * scale + minimum`, as GGUF's Q4_1 and Q4_K. `group` None means one
    group for the whole axis (per channel). With `tensor_scale` every scale is multiplied by one f32 number besides, as
    in NVFP4. Text names integers by their bits (`q4` is i4 if symmetric, u4 if not) and floats by their type:

    q4<g128, sym>[32, 256]    q8<channel, asym>[32, 64]    qf4e2m1<g32, sym, scale=f8e8m0>[32, 64] (MXFP4)
    q4<g32, min, scale=f16>[32, 64] (Q4_1)                 qf4e2m1<g16, sym, scale=f8e4m3, tensor>[32, 64] (NVFP4)
    """

    element: DType
    shape: tuple[Dim, ...]
    group: int | None
    scale_dtype: DType = DType.F32
    axis: int = -1
    tensor_scale: bool = False
    minimum: bool = False

    @property
    def symmetric(self) -> bool:
        return self.element.value[0] != "u"

    @property
    def parts(self) -> dict[str, TensorType]:
        """The tensors that a weight of the type is made of, by the names of the operands of `quantized`."""
        parts = {
            "codes": TensorType(self.element, self.shape),
            "scales": TensorType(self.scale_dtype, self.scale_shape),
        }
        if self.minimum:
            parts["minimums"] = parts["scales"]
        elif not self.symmetric:
            parts["zero_points"] = TensorType(self.element, self.scale_shape)
        if self.tensor_scale:
            parts["tensor_scale"] = TensorType(DType.F32, ())
        return parts

    @property
    def problem(self) -> str | None:
        """Why there are no weights of the type, None if there are."""
        if self.element not in CODE_TYPES:
            return f"there are no codes of {self.element}"
        if self.scale_dtype not in SCALE_TYPES:
            return f"there are no scales of {self.scale_dtype}"
        if self.minimum and self.symmetric:
            return f"codes of {self.element} have no minimum: it is the value of the code 0 of unsigned integers"
        if self.minimum and self.scale_dtype is DType.F8E8M0:
            return "minimums have the type of the scales, and f8e8m0 has neither zero nor numbers below it"
        if self.minimum and self.tensor_scale:
            return "a scale of the whole tensor and minimums do not go together"
        return None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        return product(self.shape)

    @property
    def scale_shape(self) -> tuple[Dim, ...]:
        """The shape of the scales: `axis` counts groups. A last group that is cut short counts whole."""
        axis = self.axis % self.rank
        if self.group is None:
            count = Dim.of(1)
        else:
            length = self.shape[axis].constant
            if length is None:
                raise ValueError(f"{self}: the grouped axis must have a fixed length")
            count = Dim.of(-(-length // self.group))
        return (*self.shape[:axis], count, *self.shape[axis + 1 :])

    @property
    def groups(self) -> Dim:
        """How many scales there are."""
        return product(self.scale_shape)

    @property
    def bits(self) -> Dim:
        return sum((part.bits for part in self.parts.values()), Dim.of(0))

    def __str__(self) -> str:
        offset = "min" if self.minimum else "sym" if self.symmetric else "asym"
        parts = ["channel" if self.group is None else f"g{self.group}", offset]
        if self.scale_dtype is not DType.F32:
            parts.append(f"scale={self.scale_dtype}")
        if self.axis != -1:
            parts.append(f"axis={self.axis}")
        if self.tensor_scale:
            parts.append("tensor")
        element = self.element.bits if self.element.is_integer else self.element
        return f"q{element}<{', '.join(parts)}>{_shape_text(self.shape)}"


CODE_TYPES = frozenset(d for d in DType if (d.is_integer and d.bits <= 8) or d.value in ("f4e2m1", "f8e4m3", "f8e5m2"))
"""The element types of codes."""
SCALE_TYPES = frozenset({DType.F16, DType.BF16, DType.F32, DType.F8E4M3, DType.F8E8M0})


Layout = Literal["contiguous", "ring", "paged", "recurrent"]
LAYOUTS: tuple[Layout, ...] = ("contiguous", "ring", "paged", "recurrent")


@dataclass(frozen=True, slots=True)
class StateType:
    """A buffer that outlives a run, of `tensor`'s shape: a KV cache laid out as named, or, if recurrent, what a
    recurrence remembers of a row's tokens. That has no token axis, and zeros stand for no token seen."""

    layout: Layout
    tensor: TensorType

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.tensor.shape

    @property
    def rank(self) -> int:
        return self.tensor.rank

    @property
    def elements(self) -> Dim:
        return self.tensor.elements

    @property
    def bits(self) -> Dim:
        return self.tensor.bits

    def __str__(self) -> str:
        return f"state<{self.layout} {self.tensor}>"


Type = TensorType | QuantizedType | StateType


def tensor(dtype: DType | str, *shape: Dim | int | str) -> TensorType:
    """`tensor("f32", "B", "S", 64)` is `f32[B, S, 64]`."""
    return TensorType(DType(dtype) if isinstance(dtype, str) else dtype, tuple(Dim.of(d) for d in shape))
