"""Every launch of a step by itself: its results beside those of its op's reference in float64 on the same operands."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphwright.backends.plan import Buffer, Given, Launch, Plan, Stored, parse_plans
from graphwright.backends.program_specs import DIMENSION_NAMES
from graphwright.ir import Interpreter, read_program
from graphwright.ir.graph import Value
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, TensorType
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE
from graphwright.runtime.engines.cuda import CudaCall

ROUNDOFF = {DType.F16: 2.0**-11, DType.BF16: 2.0**-8, DType.F32: 2.0**-24}
ROOM = 4
"""Times as far as the reference in the op's own types is from that in float64, and as a result's rounding may move it:
kernels round as the reference does, in another order."""


@dataclass(frozen=True)
class Finding:
    """How far a launch is from float64, and how far it may be; of integers how many differ, of codes which share."""

    kernel: str
    distance: float
    bound: float

    @property
    def share(self) -> float:
        """Of the bound: above 1 is beyond it."""
        return 0.0 if self.distance == 0 else self.distance / self.bound if self.bound else float("inf")


@contextmanager
def checked_launches(artifact: Path) -> Generator[list[Finding]]:
    """While this lasts, steps of the artifact run launch by launch, and each adds to what is found."""
    checker = _Checker(artifact)
    run = CudaCall.run

    def checked(self: CudaCall) -> None:
        checker.run(self)

    CudaCall.run = checked
    try:
        yield checker.found
    finally:
        CudaCall.run = run


class _Checker:
    def __init__(self, artifact: Path) -> None:
        path = artifact / LOWERED_FILE
        program = read_program(path)
        plans = parse_plans((artifact / PLAN_FILE).read_text(encoding="utf-8"), program, PLAN_FILE)
        self._plans = {plan.name: plan for plan in plans}
        self._weights: dict[str, Any] = {}
        self.found: list[Finding] = []

    def run(self, call: Any) -> None:
        """What `CudaCall.run` does, and looks at each launch."""
        driver, held = call._engine.driver, call._held
        with driver.active():
            for name, source in call._sources.items():
                driver.write(held[name].address, np.ascontiguousarray(source.array))
            waiting = iter(call._planned())
            plan = self._plans[call.graph]
            sizes = call._padded(call.sizes())
            known = plan.bindings({each: sizes[DIMENSION_NAMES.get(each, each)] for each in plan.graph.symbols})
            step = _Step(plan, known, driver, {name: value.address for name, value in held.items()})
            for launch in plan.launches:
                made: list[Any] = []
                for stage in launch.stages:
                    assert stage.extent is not None, "a GPU has no stage of one thread"
                    if stage.extent.evaluate(known):
                        made.append(next(waiting))
                        buffers = (access.buffer for access in stage.accesses)
                        step.addresses.update(zip(buffers, made[-1].values, strict=False))
                self._check(step, launch, made)
            assert next(waiting, None) is None, "the plan is the one that is run"
            for name, target in call._targets.items():
                driver.read(target.array, held[name].address)

    def _check(self, step: _Step, launch: Launch, made: list[Any]) -> None:
        op = launch.op
        names = [operand.name for operand in op.definition.operands]
        operands = [None if value is None else self._operand(step, value) for value in op.operands]
        for each in made:
            step.driver.launch(each)
        found = [step.read(value) for value in op.results]
        types = [value.type for value in op.results]
        exact, rounded = (
            apply_reference(op.definition, operands, op.attributes, types, step.known, precision)
            for precision in ("float64", "reference")
        )
        # Products of tiles are of numbers in the type of operands, though sums and results are in float32.
        floats = [v.tensor.dtype for v in (*op.inputs, *op.results) if isinstance(v.type, TensorType)]
        unit = max((ROUNDOFF[dtype] for dtype in floats if dtype in ROUNDOFF), default=0.0)
        for place, (value, result, want, own) in enumerate(zip(op.results, found, exact, rounded, strict=True)):
            if result is not None:
                before = op.definition.in_place.get(place)
                if result.dtype is torch.int8 and before is not None:
                    # Of a cache those alone that the step appends: the others hide how many of them are wrong.
                    old = operands[names.index(before)]
                    appended = (result != old) | (own != old)
                    result, want, own = (each[appended] for each in (result, want, own))
                name = f"{step.plan.name} {launch.kernel or op.name} {value.tensor}"
                self.found.append(Finding(name, *distance_of(unit, result, want, own)))

    def _operand(self, step: _Step, value: Value) -> Any:
        weight = value.weight
        if weight is not None:
            if weight.name not in self._weights:
                self._weights[weight.name] = weight.evaluate()
            return self._weights[weight.name]
        read = step.read(value)
        if read is not None:
            return read
        if value in step.plan.placement:
            # Nothing reads it: a cache that is only written to.
            return torch.zeros(step.shape(value), dtype=torch_dtype(value.tensor.dtype))
        return Interpreter().run_cone({}, [value], step.known)[0]


class _Step:
    """A plan while it runs, and where the caller's tensors and those of launches so far are."""

    def __init__(self, plan: Plan, known: Mapping[str, int], driver: Any, given: Mapping[str, int]) -> None:
        self.plan, self.known, self.driver, self._given = plan, known, driver, given
        self.addresses: dict[Buffer, int] = {}

    def shape(self, value: Value) -> list[int]:
        return [size.evaluate(self.known) for size in value.tensor.shape]

    def read(self, value: Value) -> Tensor | None:
        """What is there now; None for what is in no memory that a launch so far has used."""
        buffer = self.plan.placement.get(value)
        if buffer is None or isinstance(buffer, Stored):
            return None
        address = self._given[buffer.graph_name] if isinstance(buffer, Given) else self.addresses.get(buffer)
        if address is None:
            return None
        found = torch.empty(self.shape(value), dtype=torch_dtype(value.tensor.dtype))
        if found.numel():
            self.driver.read(found.view(-1).view(torch.uint8).numpy(), address)
        return found


def distance_of(unit: float, found: Tensor, exact: Tensor, own: Tensor) -> tuple[float, float]:
    """How far results are from those in float64, and how far they may be, if numbers are rounded by such a unit."""
    if found.dtype is torch.int8:
        apart = (found.int() - own.int()).abs()
        share = float((apart > 0).double().mean()) if apart.numel() else 0.0
        # A number of up to 127 codes that is rounded by such a unit first may lie so near to a tie, on either side.
        return (share if share == 0 or int(apart.max()) == 1 else float("inf")), 2 * 127 * unit
    if not found.is_floating_point():
        return float((found != own).sum()), 0.0
    wide = exact.double()
    finite = wide[wide.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    bound = ROOM * (_furthest(own.double(), wide) + unit * largest)
    return _furthest(found.double(), wide), bound


def _furthest(found: Tensor, want: Tensor) -> float:
    """The largest difference; those that are equal, or both no number, have none."""
    same = (found == want) | (found.isnan() & want.isnan())
    difference = torch.where(same, 0.0, (found - want).abs()).nan_to_num(float("inf"))
    return float(difference.max()) if difference.numel() else 0.0
