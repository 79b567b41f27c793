"""Interprets plans: each launch by its op's reference, on operands that lie where the plan says, and nowhere else.

`run_values` carries doubles, as a proof does, and keeps what each buffer holds. `run_bytes` keeps bytes of the declared
types: temporaries at their offsets in one workspace, where what is not alive is poisoned. A sound plan gives the very
bits that `DenseInterpreter` gives for its graph. Weights are the graph's; packed forms of them are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from graphwright.backends.plan.memory import lifetimes
from graphwright.backends.plan.plan import Buffer, Given, Launch, Plan, Stored, shown, shown_weights
from graphwright.ir.errors import UserError
from graphwright.ir.graph import Op, Value
from graphwright.ir.interpreter import Interpreter, bind_symbols, check_dtypes
from graphwright.ir.lazy import torch
from graphwright.ir.text.printer import op_text, value_names
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor

POISON = b"\xf5\xff"
"""Repeated, it is not a number in floats of 16 bits and more; in wide integers no index or length can be as large."""


class DenseInterpreter(Interpreter):
    """The graph's interpreter, but that ops see tensors as they lie in memory, row by row.

    The last bits of sums and products in torch depend on strides and alignment.
    """

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        return super().run_op(op, [_dense(operand) for operand in operands], bindings)


def _dense(operand: Any) -> Any:
    """A tensor as it lies in memory; a quantized weight, or what is absent, as it is."""
    if not isinstance(operand, torch.Tensor):
        return operand
    whole = operand.contiguous()
    flat = whole.clone() if whole.storage_offset() else whole
    # By way of one axis, since the strides of axes of length 1 may be anything.
    return flat.view(-1).view(operand.shape)


def run_values(
    plan: Plan, inputs: Mapping[str, Tensor], interpreter: DenseInterpreter | None = None
) -> dict[str, Tensor]:
    """The outputs by name, in double precision. Raises `UserError` where a launch reads what was never written.

    The interpreter, of precision `float64`, keeps the weights that it has read.
    """
    interpreter = interpreter or DenseInterpreter("float64")
    bindings = _bindings(plan, inputs, interpreter)
    return _run(plan, interpreter, bindings, _Values(plan, inputs))


def run_bytes(
    plan: Plan, inputs: Mapping[str, Tensor], interpreter: DenseInterpreter | None = None
) -> dict[str, Tensor]:
    """The outputs by name, of their declared types. Raises `UserError` where the plan leaves its memory.

    The interpreter, of precision `reference`, keeps the weights that it has read.
    """
    interpreter = interpreter or DenseInterpreter("reference")
    bindings = _bindings(plan, inputs, interpreter)
    return _run(plan, interpreter, bindings, _Bytes(plan, inputs, bindings))


def _bindings(plan: Plan, inputs: Mapping[str, Tensor], interpreter: Interpreter) -> dict[str, int]:
    bindings = plan.bindings(bind_symbols(plan.graph, inputs))
    check_dtypes(plan.graph, inputs, interpreter.precision)
    return bindings


class _Memory(Protocol):
    def begin(self, number: int, fresh: list[Buffer]) -> None:
        """Launch `number` is about to run, which may write to fresh buffers before it has read its operands."""
        ...

    def end(self, number: int) -> None:
        """Launch `number` has run."""
        ...

    def read(self, buffer: Buffer, type: TensorType, bindings: Mapping[str, int]) -> Tensor:
        """What a buffer holds, as a tensor of a type. Raises `UserError` if it cannot hold one."""
        ...

    def write(self, buffer: Buffer, value: Tensor) -> None:
        """Puts a tensor into a buffer. Raises `UserError` where that has no room for it."""
        ...


def _run(plan: Plan, interpreter: Interpreter, bindings: Mapping[str, int], memory: _Memory) -> dict[str, Tensor]:
    names = value_names(plan.graph)

    def read(value: Value, buffer: Buffer) -> Tensor:
        """A value off a buffer: what a view shows lies there as it was written."""
        source = shown(value)
        held = memory.read(buffer, source.tensor, bindings)
        return interpreter.run_cone({source: held}, [value], bindings)[0]

    for number, launch in enumerate(plan.launches):
        op = launch.op
        try:
            memory.begin(number, _fresh(plan, launch))
            made = [value for value in op.inputs if not shown_weights(value)]
            operands = {value: read(value, plan.placement[value]) for value in made}
            results = interpreter.run_cone(operands, op.results, bindings)
            for value, result in zip(op.results, results, strict=True):
                if value in plan.placement:
                    memory.write(plan.placement[value], result)
        except KeyError:
            _fail(plan, number, launch, names, "an operand is in no buffer")
        except (UserError, IndexError, RuntimeError, ValueError) as problem:
            # A reference on memory that is not what it should be meets wild indices.
            _fail(plan, number, launch, names, str(problem).splitlines()[0])
        memory.end(number)
    inputs = {plan.placement[value] for value in plan.graph.inputs}
    given = {each.graph_name: each for each in plan.parameters if each not in inputs}
    outputs = plan.graph.outputs.items()
    return {name: read(value, given.get(name) or plan.placement[value]) for name, value in outputs}


def _fresh(plan: Plan, launch: Launch) -> list[Buffer]:
    """The buffers of results that are not updated in place."""
    updated = {
        result: plan.placement[operand]
        for result, name in launch.op.definition.in_place.items()
        if (operand := launch.op.operand(name)) in plan.placement and operand is not None
    }
    results = [(value.index, plan.placement[value]) for value in launch.op.results if value in plan.placement]
    return [buffer for index, buffer in results if buffer is not updated.get(index)]


def _fail(plan: Plan, number: int, launch: Launch, names: Mapping[Value, str], problem: str) -> NoReturn:
    raise UserError(f"plan '{plan.name}', launch {number}: {problem}: {op_text(launch.op, names)}") from None


class _Values:
    """What each buffer holds, as doubles: a tensor, of whatever shape it was written in."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Tensor]) -> None:
        placed = plan.placement
        self._held = {placed[value]: inputs[str(value.name)] for value in plan.graph.inputs}

    def begin(self, number: int, fresh: list[Buffer]) -> None:
        for buffer in fresh:
            self._held.pop(buffer, None)

    def end(self, number: int) -> None:
        pass

    def read(self, buffer: Buffer, type: TensorType, bindings: Mapping[str, int]) -> Tensor:
        if buffer not in self._held:
            raise UserError(f"nothing was written to buffer '{buffer.name}'")
        held, shape = self._held[buffer], [dim.evaluate(bindings) for dim in type.shape]
        expected = held.dtype.is_floating_point == type.dtype.is_float
        if held.numel() != torch.Size(shape).numel() or not expected:
            raise UserError(f"buffer '{buffer.name}' holds {held.numel()} elements of {held.dtype}, not {type}")
        return held.reshape(shape)

    def write(self, buffer: Buffer, value: Tensor) -> None:
        self._held[buffer] = value


class _Bytes:
    """The workspace, and the tensors that are given, as bytes."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Tensor], bindings: Mapping[str, int]) -> None:
        self._plan, self._bindings = plan, bindings
        self._offsets = plan.slot_offsets(bindings)
        self._workspace = _poison(self._offsets[-1])
        self._given: dict[Buffer, Tensor] = {}
        for given in plan.parameters:
            self._given[given] = _poison(self._size(given))
        for value in plan.graph.inputs:
            self._given[plan.placement[value]] = _bytes_of(inputs[str(value.name)]).clone()
        lives = lifetimes(plan)
        holding = {*plan.placement.values()}
        self._scratch = [[b for b, life in lives.items() if life[0] == n and b not in holding] for n in self._numbers]
        self._ending = [[b for b, life in lives.items() if life[1] == n] for n in self._numbers]

    @property
    def _numbers(self) -> range:
        return range(len(self._plan.launches))

    def begin(self, number: int, fresh: list[Buffer]) -> None:
        for buffer in (*self._scratch[number], *fresh):
            self._kill(buffer)

    def end(self, number: int) -> None:
        for buffer in self._ending[number]:
            self._kill(buffer)

    def _kill(self, buffer: Buffer) -> None:
        """Poisons a tensor that is given, or the whole slot of another."""
        if isinstance(buffer, Given):
            self._given[buffer] = _poison(self._size(buffer))
            return
        slot = self._slot(buffer)
        begin, end = self._offsets[slot], self._offsets[slot + 1]
        self._workspace[begin:end] = _poison(end - begin)

    def read(self, buffer: Buffer, type: TensorType, bindings: Mapping[str, int]) -> Tensor:
        shape = [dim.evaluate(bindings) for dim in type.shape]
        dtype = torch_dtype(type.dtype)
        return self._place(buffer, torch.Size(shape).numel() * dtype.itemsize).clone().view(dtype).reshape(shape)

    def write(self, buffer: Buffer, value: Tensor) -> None:
        written = _bytes_of(value)
        self._place(buffer, written.numel()).copy_(written)

    def _place(self, buffer: Buffer, size: int) -> Tensor:
        """The bytes of a buffer, which must be so many."""
        if self._size(buffer) != size:
            raise UserError(f"buffer '{buffer.name}' has {self._size(buffer)} bytes, not {size}")
        if isinstance(buffer, Given):
            return self._given[buffer]
        begin = self._offsets[self._slot(buffer)]
        if begin + size > self._workspace.numel():
            raise UserError(f"buffer '{buffer.name}' of {size} bytes reaches beyond the workspace")
        return self._workspace[begin : begin + size]

    def _slot(self, buffer: Buffer) -> int:
        slots = self._plan.slot_of or {}
        if buffer not in slots:
            what = "is a weight's" if isinstance(buffer, Stored) else "has no slot"
            raise UserError(f"buffer '{buffer.name}' {what}")
        return slots[buffer]

    def _size(self, buffer: Buffer) -> int:
        return buffer.bytes.evaluate(self._bindings)


def _poison(size: int) -> Tensor:
    return torch.tensor(list(POISON), dtype=torch.uint8).repeat(-(-size // len(POISON)))[:size]


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
