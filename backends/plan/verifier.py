"""The plan's verifier: checks that its launches compute the graph, in memory that holds what they read."""

from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

from graphwright.backends.plan.memory import is_at_least, lifetimes
from graphwright.backends.plan.plan import Buffer, Given, Launch, Plan, Stage, Stored, Temporary, shown, shown_weights
from graphwright.ir.convention import present_of
from graphwright.ir.cost import ZERO
from graphwright.ir.dims import Dim
from graphwright.ir.errors import VerificationError
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import ONE
from graphwright.ir.text.printer import op_text, value_names
from graphwright.ir.types import QuantizedType, StateType


def verify_plan(plan: Plan) -> None:
    """Raises `VerificationError`, naming launch and buffer, at the first broken rule of a plan.

    The graph must be one that `verify_graph` takes, and the plan have slots and waits.
    """
    verifier = _Verifier(plan)
    verifier.ops()
    verifier.sizes()
    verifier.parameters()
    verifier.launches()
    verifier.slots()
    verifier.waits()


class _Verifier:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names = value_names(plan.graph)
        self.known: frozenset[str] = plan.graph.symbols
        """Symbols that have a value: the graph's, and those that the plan defines."""
        self.held: dict[Buffer, Value] = {}
        """What each buffer holds before the launch at hand: the input or result that was written to it last."""
        self.done: set[Value] = set()
        """Values that are computed before the launch at hand."""
        self.holding = {*plan.placement.values()}
        """Buffers that values are placed in; others are scratch."""

    # -- messages

    def fail(self, problem: str, launch: Launch | None = None) -> NoReturn:
        where = f"plan '{self.plan.name}'"
        if launch is None:
            raise VerificationError(f"{where}: {problem}")
        number = next((i for i, each in enumerate(self.plan.launches) if each is launch), -1)
        raise VerificationError(f"{where}, launch {number}: {problem}: {op_text(launch.op, self.names)}")

    # -- ops

    def ops(self) -> None:
        """Each op of the graph has one launch with stages, views have none and lie where their operands do."""
        plan = self.plan
        counts = Counter(launch.op for launch in plan.launches)
        for op in plan.graph:
            if counts[op] != (0 if op.definition.view else 1):
                wanted = "a view launches nothing" if op.definition.view else "it must have one"
                self.fail(f"{counts[op]} launches, {wanted}: {op_text(op, self.names)}")
            if op.definition.view:
                self._view(op)
        for launch in plan.launches:
            if any(value not in self.names for value in launch.op.results):
                self.fail(f"{launch.op} is not an op of its graph")
            if not launch.stages:
                self.fail("it has no stages", launch)
            for stage in launch.stages:
                written = {access.buffer for access in stage.accesses if access.writes}
                for buffer, count in Counter(access.buffer for access in stage.accesses).items():
                    if count > 1 and buffer in written:
                        problem = f"takes buffer '{buffer.name}' {count} times, and writes it"
                        self.fail(f"stage '{stage.function}' {problem}", launch)

    def _view(self, op: Op) -> None:
        made = [value for value in op.inputs if not shown_weights(value)]
        buffer = self.plan.placement.get(op.result)
        if buffer is not None and (len(made) != 1 or self.plan.placement.get(made[0]) is not buffer):
            self.fail(f"a view is {_in(buffer)}, which is not the buffer of its operand: {op_text(op, self.names)}")

    # -- sizes

    def sizes(self) -> None:
        """Sizes are of known symbols, and names of buffers are unique."""
        for name, definition in self.plan.definitions.items():
            if name in self.known:
                self.fail(f"'{name}' is defined, and known before")
            self._require_known(f"the definition of '{name}'", (definition.first, definition.second))
            if definition.kind == "floordiv" and not is_at_least(definition.second, Dim.of(1), self.plan.graph.symbols):
                self.fail(f"'{name}' is divided by {definition.second}, which may be no positive number")
            self.known |= {name}
        for name, count in Counter(buffer.name for buffer in self._all_buffers()).items():
            if count > 1:
                self.fail(f"{count} buffers are named '{name}'")
        for buffer in self._all_buffers():
            self._require_known(f"buffer '{buffer.name}'", buffer.type.shape)
        for number, size in enumerate(self.plan.slots):
            self._require_known(f"slot {number}", (size,))
        for launch in self.plan.launches:
            for stage in launch.stages:
                sizes = [size for size, _ in stage.sizes]
                self._require_known(f"stage '{stage.function}'", [*sizes, stage.extent or ZERO], launch)
                wrong = next((str(dtype) for _, dtype in stage.sizes if not dtype.is_integer), None)
                if wrong is not None:
                    self.fail(f"stage '{stage.function}' takes a size as {wrong}", launch)

    def _require_known(self, what: str, sizes: Iterable[Dim], launch: Launch | None = None) -> None:
        for size in sizes:
            strange = sorted(size.symbols - self.known)
            if strange:
                self.fail(f"{what} has size {size}, and '{strange[0]}' is not known", launch)

    def _all_buffers(self) -> list[Buffer]:
        return list({**dict.fromkeys(self.plan.buffers), **dict.fromkeys(self.plan.placement.values())})

    # -- what is given

    def parameters(self) -> None:
        """Inputs and outputs are in the parameters of their names."""
        graph, placement = self.plan.graph, self.plan.placement
        for value in graph.inputs:
            given = placement.get(value)
            known = isinstance(given, Given) and given in self.plan.parameters and given.graph_name == value.name
            if given is None or not known or given.type != value.tensor:
                self.fail(f"input '{self.names[value]}' is not in a parameter '{value.name}' of its type {value.type}")
            self.held[given] = value
        written = {name for name, value in graph.outputs.items() if not self._is_in_place(name, value)}
        for given in self.plan.parameters:
            if given not in self.held and given.graph_name not in written:
                self.fail(f"parameter '{given.name}' is not an input, and no output that is written apart")
        strange = next((b for b in self._all_buffers() if isinstance(b, Given) and b not in self.plan.parameters), None)
        if strange is not None:
            self.fail(f"buffer '{strange.name}' is given by no parameter")

    def _parameter(self, name: str) -> Given | None:
        """The parameter of an output that is written apart."""
        inputs = {self.plan.placement[value] for value in self.plan.graph.inputs}
        return next((g for g in self.plan.parameters if g.graph_name == name and g not in inputs), None)

    def _is_in_place(self, name: str, value: Value) -> bool:
        """Whether an output is the buffer of the state that it replaces."""
        buffer = self.plan.placement.get(value)
        return isinstance(value.type, StateType) and isinstance(buffer, Given) and present_of(buffer.graph_name) == name

    # -- launches

    def launches(self) -> None:
        """Each runs on memory that holds its operands; at the end outputs are where they belong."""
        plan = self.plan
        for launch in plan.launches:
            self._launch(launch)
        for name, value in plan.graph.outputs.items():
            given = self._parameter(name)
            buffer = plan.placement.get(value)
            if given is not buffer and not (given is None and self._is_in_place(name, value)):
                self.fail(f"output '{name}' is {_in(buffer)}, not in the parameter of its name")
            if buffer is None or self.held.get(buffer) is not shown(value):
                self.fail(f"output '{name}': {_in(buffer)} there is {self._content(buffer)} at the end")

    def _launch(self, launch: Launch) -> None:
        op, placement = launch.op, self.plan.placement
        results = {value: placement[value] for value in op.results if value in placement}
        operands = self._operands(launch)
        self._results(launch, results, operands)
        self._accesses(launch, {*operands.values()}, {*results.values()})
        self.held.update({buffer: value for value, buffer in results.items()})
        self.done.update(op.results)

    def _operands(self, launch: Launch) -> dict[Value, Buffer]:
        """Where its operands are that are not weights. Each must be there, and be read."""
        op, found = launch.op, dict[Value, Buffer]()
        read = {access.buffer for stage in launch.stages for access in stage.accesses if access.reads}
        weights = {buffer.weight for buffer in read if isinstance(buffer, Stored)}
        unread = _unread(op)
        for value in op.inputs:
            source, buffer, name = shown(value), self.plan.placement.get(value), self.names[value]
            if names := shown_weights(value):
                missing = next((each for each in names if each not in weights), None)
                if missing is not None and value not in unread:
                    self.fail(f"no stage reads weight '@{missing}'", launch)
                continue
            if source.owner is not None and source not in self.done:
                self.fail(f"operand '{name}' is not computed before", launch)
            if buffer is None:
                self.fail(f"operand '{name}' is in no buffer", launch)
            if self.held.get(buffer) is not source:
                self.fail(f"operand '{name}': {_in(buffer)} there is {self._content(buffer)}", launch)
            if buffer not in read and value not in unread:
                self.fail(f"no stage reads buffer '{buffer.name}' of operand '{name}'", launch)
            found[value] = buffer
        return found

    def _results(self, launch: Launch, results: dict[Value, Buffer], operands: dict[Value, Buffer]) -> None:
        """Results are in buffers of their own, of their types, or in place."""
        op = launch.op
        written = {access.buffer for stage in launch.stages for access in stage.accesses if access.writes}
        read = {access.buffer for stage in launch.stages for access in stage.accesses if access.reads}
        for value in op.results:
            buffer, name = results.get(value), self.names[value]
            if buffer is None:
                if value.uses or self.plan.graph.is_output(value):
                    self.fail(f"result '{name}' is in no buffer", launch)
                continue
            if buffer not in written:
                self.fail(f"no stage writes buffer '{buffer.name}' of result '{name}'", launch)
            if isinstance(value.type, QuantizedType) or (buffer.type.dtype, buffer.type.elements) != (
                value.tensor.dtype,
                value.tensor.elements,
            ):
                self.fail(f"result '{name}' of type {value.type} is in buffer '{buffer.name}', {buffer.type}", launch)
            if any(other is not value and held is buffer for other, held in results.items()):
                self.fail(f"two results are in buffer '{buffer.name}'", launch)
            operand = op.definition.in_place.get(value.index)
            updated = None if operand is None else op.required(operand)
            if updated is not None and buffer is not operands.get(updated):
                source = operands.get(updated)
                if not isinstance(updated.type, StateType) or updated.type.layout != "ring" or source not in read:
                    self.fail(
                        f"result '{name}' is {_in(buffer)}, not in place {_in(source)}: only a ring may be copied, "
                        "by a launch that reads it",
                        launch,
                    )
            if any(held is buffer and other is not updated for other, held in operands.items()):
                self.fail(f"result '{name}' is in buffer '{buffer.name}' of an operand, not in place", launch)
            given = self.held.get(buffer)
            if given in self.plan.graph.inputs and not isinstance(given.type, StateType):
                self.fail(f"buffer '{buffer.name}' of an input that is not a state is written", launch)

    def _accesses(self, launch: Launch, operands: set[Buffer], results: set[Buffer]) -> None:
        """Stages touch operands, results, scratch that they have written, and weights of the op or of the kernel."""
        weights = {name for value in launch.op.inputs for name in shown_weights(value)}
        of_graph = {weight.name for weight in self.plan.graph.weights}
        for index, stage in enumerate(launch.stages):
            before = [each for each in launch.stages[:index] if not _exclude_each_other(each, stage)]
            written = {access.buffer for each in before for access in each.accesses if access.writes}
            for access in stage.accesses:
                buffer = access.buffer
                what = f"stage '{stage.function}' {{}} buffer '{buffer.name}'"
                if isinstance(buffer, Stored):
                    if access.writes:
                        self.fail(f"{what.format('writes')}, which is a weight's", launch)
                    if buffer.weight not in weights and buffer.weight in of_graph:
                        self.fail(
                            f"{what.format('takes')} of weight '@{buffer.weight}', which is not an operand", launch
                        )
                    continue
                scratch = isinstance(buffer, Temporary) and buffer not in self.holding
                if access.writes and not scratch and buffer not in results:
                    self.fail(f"{what.format('writes')}, which holds no result of the op", launch)
                if not scratch and buffer not in results and buffer not in operands:
                    self.fail(f"{what.format('takes')}, which holds no operand of the op", launch)
                # A stage that reads and writes may write first.
                if access.reads and not access.writes and buffer not in operands and buffer not in written:
                    self.fail(f"{what.format('reads')}, which nothing was written to", launch)

    def _content(self, buffer: Buffer | None) -> str:
        value = None if buffer is None else self.held.get(buffer)
        return "nothing" if value is None else f"'{self.names[value]}'"

    # -- memory

    def slots(self) -> None:
        """Every temporary has a slot that is large enough, and that no other has at the same time."""
        plan, slot_of = self.plan, self.plan.slot_of
        lives = lifetimes(plan)
        if lives and slot_of is None:
            self.fail("memory is not planned: its temporaries have no slots")
        tenants: dict[int, list[Buffer]] = {}
        for buffer, (first, last) in lives.items():
            number = (slot_of or {}).get(buffer)
            if number is None or not 0 <= number < len(plan.slots):
                self.fail(f"buffer '{buffer.name}' is in no slot", plan.launches[first])
            if not is_at_least(plan.slots[number], buffer.bytes, plan.graph.symbols):
                size = plan.slots[number]
                problem = f"slot {number} of {size} bytes may be too small for buffer '{buffer.name}'"
                self.fail(f"{problem} of {buffer.bytes} bytes", plan.launches[first])
            for other in tenants.setdefault(number, []):
                begin, end = lives[other]
                if first <= end and begin <= last:
                    self.fail(
                        f"buffer '{buffer.name}' is in slot {number}, which buffer '{other.name}' has "
                        f"from launch {begin} to {end}",
                        plan.launches[first],
                    )
            tenants[number].append(buffer)

    def waits(self) -> None:
        """No stage touches what another thread may still write, or writes what one may still read or write."""
        since: list[tuple[Launch, Stage]] = []
        for launch in self.plan.launches:
            for stage in launch.stages:
                if stage.waits:
                    since = []
                for other, earlier in since:
                    if other is launch and _exclude_each_other(earlier, stage):
                        continue
                    clash = self._clash(earlier, stage)
                    if clash is not None:
                        names = f"stage '{stage.function}' does not wait for stage '{earlier.function}'"
                        self.fail(f"{names} at buffer '{clash}'", launch)
                since.append((launch, stage))

    def _clash(self, earlier: Stage, later: Stage) -> str | None:
        """The buffer at which two stages need a wait between them; None if there is none."""
        if earlier.extent is None and later.extent is None:
            return None  # the same thread runs both
        for one in earlier.accesses:
            for other in later.accesses:
                writes = (one.writes and (other.reads or other.writes)) or (one.reads and other.writes)
                if writes and self._share_memory(one.buffer, other.buffer):
                    return other.buffer.name
        return None

    def _share_memory(self, one: Buffer, other: Buffer) -> bool:
        if one is other:
            return not isinstance(one, Stored)
        slots = self.plan.slot_of or {}
        return one in slots and other in slots and slots[one] == slots[other]


def _unread(op: Op) -> set[Value]:
    """Operands whose elements code need not read.

    That is what the op reads nothing of, as a cache that it appends to; indices where there may be one place to look;
    and what stands twice, where both may cancel.
    """
    found = {value for value, size in zip(op.inputs, op.definition.price(op).reads, strict=True) if size is ZERO}
    for value in op.inputs:
        if not shown_weights(value) and value.tensor.dtype.is_integer:
            others = [dim for other in op.inputs if other is not value for dim in other.type.shape]
            found |= {value} if ONE in others else set()
    return found | {value for value, count in Counter(op.inputs).items() if count > 1}


def _exclude_each_other(one: Stage, other: Stage) -> bool:
    """Whether two stages of a launch stand in different arms of a branch: checked apart from what places waits."""
    return any(branch == also and arm != its for branch, arm in one.arms for also, its in other.arms)


def _in(buffer: Buffer | None) -> str:
    return "in no buffer" if buffer is None else f"in buffer '{buffer.name}'"
