"""Faults that are planted in plans, in what an artifact says of launches, in kernels, and in the runtime.

Each has the line by which it is caught. What a fault does to a plan the plan's verifier sees; the others are seen by
the runtime when it reads them, by the stand-in driver, by what watches an interpreted kernel, or by wrong numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from graphwright.backends.plan import Access, Given, Launch, Plan, Stage
from graphwright.ir import Dim, tensor
from graphwright.runtime import cuda_api, step_inputs
from graphwright.runtime.engines import cuda as engine_file
from graphwright.runtime.engines import cuda_values

Program = dict[str, Any]
"""An architecture's part of the program file, as JSON."""
GRAPH = "decode_one_row"
WRONG = "numbers"
"""Where the numbers alone tell."""


@dataclass(frozen=True)
class Fault:
    """`plant` spoils its subject; `finding` is what the failure says."""

    name: str
    plant: Callable[[Any], Any]
    finding: str


@dataclass(frozen=True)
class KernelFault:
    """A kernel of `tests.emulator.kernels`, and what the failure says."""

    name: str
    kernel: str
    finding: str


# -- in plans, for the verifier


def at(plan: Plan, number: int, **changes: Any) -> Plan:
    """With another stage in a launch of one stage."""
    launches = [*plan.launches]
    (stage,) = launches[number].stages
    launches[number] = replace(launches[number], stages=(replace(stage, **changes),))
    return replace(plan, launches=tuple(launches))


def first(plan: Plan, holds: Callable[[Launch, Stage], bool]) -> int:
    return next(i for i, each in enumerate(plan.launches) if holds(each, each.stages[0]))


def accesses_of(plan: Plan, number: int) -> tuple[Access, ...]:
    return plan.launches[number].stages[0].accesses


def without_a_wait(plan: Plan) -> Plan:
    return at(plan, first(plan, lambda _, stage: stage.waits), waits=False)


def without_a_launch(plan: Plan) -> Plan:
    return replace(plan, launches=plan.launches[:5] + plan.launches[6:])


def in_another_order(plan: Plan) -> Plan:
    one, other = plan.launches[-2:]
    return replace(plan, launches=(*plan.launches[:-2], other, one))


def with_swapped_buffers(plan: Plan) -> Plan:
    one, *middle, last = accesses_of(plan, len(plan.launches) - 1)
    swapped = replace(one, buffer=last.buffer), *middle, replace(last, buffer=one.buffer)
    return at(plan, len(plan.launches) - 1, accesses=swapped)


def with_a_small_slot(plan: Plan) -> Plan:
    return replace(plan, slots=(plan.slots[0] - 4, *plan.slots[1:]))


def with_a_shared_slot(plan: Plan) -> Plan:
    assert plan.slot_of is not None
    return replace(plan, slot_of=dict.fromkeys(plan.slot_of, len(plan.slots) - 1))


def with_a_size_that_nobody_knows(plan: Plan) -> Plan:
    return at(plan, 0, extent=Dim.of("X"))


def that_forgets_what_it_writes(plan: Plan) -> Plan:
    return at(plan, 0, accesses=tuple(replace(each, writes=False, reads=True) for each in accesses_of(plan, 0)))


def with_a_stranger(plan: Plan) -> Plan:
    strange = Access(Given("stranger", tensor("f32", 4)), False, True)
    return at(plan, 0, accesses=(*accesses_of(plan, 0), strange))


def that_writes_weights(plan: Plan) -> Plan:
    return at(plan, 0, accesses=tuple(replace(each, writes=True) for each in accesses_of(plan, 0)))


PLANS = (
    Fault("a missing wait", without_a_wait, "does not wait for stage 'count_up_"),
    Fault("a launch is left out", without_a_launch, "0 launches, it must have one"),
    Fault("launches in another order", in_another_order, "is not computed before"),
    Fault("swapped buffers", with_swapped_buffers, "launch 14: no stage writes buffer 'length_after'"),
    Fault("a slot that is too small", with_a_small_slot, "slot 0"),
    Fault("a slot that two share", with_a_shared_slot, "slot 6"),
    Fault("a size that nobody knows", with_a_size_that_nobody_knows, "'X' is not known"),
    Fault("a result that is not written", that_forgets_what_it_writes, "launch 0: "),
    Fault("a buffer that nobody gives", with_a_stranger, "buffer 'stranger' is given by no parameter"),
    Fault("weights that are written", that_writes_weights, "launch 0: "),
)

# -- in the program file, for the runtime and the emulator


def kernel(program: Program, name: str) -> dict[str, Any]:
    """Of those that the graph launches, the first whose name begins so."""
    return program["kernels"][launch(program, name)["kernel"]]


def launch(program: Program, name: str) -> dict[str, Any]:
    return next(each for each in program["graphs"][GRAPH]["launches"] if each["kernel"].startswith(name))


def half_a_block(program: Program) -> None:
    kernel(program, "one_row")["threads"] //= 2


def too_much_shared_memory(program: Program) -> None:
    kernel(program, "one_row")["shared"] = 228 << 10


def a_narrow_parameter(program: Program) -> None:
    it = kernel(program, "one_row")
    it["parameters"] = ["i64" if each == "i32" else each for each in it["parameters"]] + ["i32"]
    for each in program["graphs"].values():
        for one in each["launches"]:
            if program["kernels"][one["kernel"]] is it:
                one["sizes"].append([[1]])


def another_symbol(program: Program) -> None:
    kernel(program, "one_row")["symbol"] = "another"


def a_damaged_image(program: Program) -> None:
    kernel(program, "one_row")["sha256"] = "0" * 64


def a_tile_too_many(program: Program) -> None:
    launch(program, "combine_splits")["programs"] = [[5]]


def the_last_tile_missing(program: Program) -> None:
    launch(program, "combine_splits")["programs"] = [[3]]


def an_empty_slot(program: Program) -> None:
    program["graphs"][GRAPH]["slots"][6] = [[2000]]


def another_slot(program: Program) -> None:
    launch(program, "rotary_table")["buffers"][-1]["slot"] = 1


def swapped_pointers(program: Program) -> None:
    buffers = launch(program, "table_rows")["buffers"]
    buffers[0], buffers[2] = buffers[2], buffers[0]


def one_cache_for_another(program: Program) -> None:
    for each in launch(program, "append_attention")["buffers"]:
        if each.get("given") == "past.0.key":
            each["given"] = "past.0.value"


def weights_of_another(program: Program) -> None:
    launch(program, "one_row")["buffers"][1]["stored"] += 256


def weights_between_two(program: Program) -> None:
    launch(program, "one_row")["buffers"][1]["stored"] += 4


def weights_behind_the_end(program: Program) -> None:
    launch(program, "one_row")["buffers"][1]["stored"] += 1 << 30


def a_wrong_stride(program: Program) -> None:
    launch(program, "append_attention")["sizes"][-1] = [[3, "capacity"]]


def a_launch_of_nothing(program: Program) -> None:
    launch(program, "one_row")["kernel"] = "absent"


def an_argument_too_few(program: Program) -> None:
    launch(program, "one_row")["buffers"].pop()


PROGRAMS = (
    Fault("half a block of threads", half_a_block, "a block of another size than the kernel was compiled for"),
    Fault("too much shared memory", too_much_shared_memory, "more shared memory than a block may have"),
    Fault("another parameter", a_narrow_parameter, "takes parameters of"),
    Fault("another symbol", another_symbol, "the module has no function another"),
    Fault("a damaged image", a_damaged_image, "the code of kernel one_row"),
    Fault("a tile too many", a_tile_too_many, "kernel combine_splits"),
    Fault("the last tile missing", the_last_tile_missing, WRONG),
    Fault("a slot that is too small", an_empty_slot, "(slot 6 of the workspace) of 2000 bytes"),
    Fault("another slot", another_slot, "(slot 1 of the workspace) of 8 bytes"),
    Fault("swapped pointers", swapped_pointers, "kernel table_rows"),
    Fault("one cache for another", one_cache_for_another, WRONG),
    Fault("another tensor's weights", weights_of_another, WRONG),
    Fault("weights between two numbers", weights_between_two, "is at no multiple of 16 bytes"),
    Fault("weights behind the end", weights_behind_the_end, "points to memory that is not allocated"),
    Fault("a wrong stride", a_wrong_stride, "kernel append_attention"),
    Fault("a launch of nothing", a_launch_of_nothing, "a launch of kernel absent, which is not there"),
    Fault("an argument too few", an_argument_too_few, "with other arguments than it takes"),
)

# -- in kernels, for what watches them

KERNELS = (
    KernelFault("the last tile is written whole", "unmasked", "it writes 32 bytes behind the end of `y` (results)"),
    KernelFault("an element too many", "one_too_many", "it reads 4 bytes behind the end of `x` (numbers) of 160 bytes"),
    KernelFault("a wide stride", "wide_stride", "it reads 32 bytes behind the end of `x` (numbers) of 160 bytes"),
    KernelFault("an element too early", "in_front", "it writes 4 bytes in front of `y` (results) of 160 bytes"),
    KernelFault("a read in front of the wait", "too_early", "it reads `x` (numbers) before it waits for"),
    KernelFault("a missing wait", "never_waits", "it does not wait for the launches before it"),
    KernelFault("a written input", "writes_its_input", "it writes `x` (numbers), which the plan says it only reads"),
    KernelFault("a counted input", "counts_in_its_input", "it writes `x` (numbers), which the plan says it only reads"),
)

# -- in the runtime

Patch = pytest.MonkeyPatch


def a_stale_capture(patch: Patch) -> None:
    """What was captured for other arguments is launched again."""

    def forget(self: engine_file.CudaCall) -> None:
        self._launches = None  # pyright: ignore[reportPrivateUsage] - the fault

    patch.setattr(engine_file.CudaCall, "_forget", forget)


def a_result_that_is_not_waited_for(patch: Patch) -> None:
    def wait(self: cuda_api.Cuda) -> None:
        """At once."""

    patch.setattr(cuda_api.Cuda, "wait", wait)


def inputs_that_stay_behind(patch: Patch) -> None:
    """After the first run."""
    original = cuda_api.Cuda.write
    seen = set[int]()

    def write(self: cuda_api.Cuda, address: int, array: Any) -> None:
        if address not in seen:
            original(self, address, array)
        seen.add(address)

    patch.setattr(cuda_api.Cuda, "write", write)


def slots_side_by_side(patch: Patch) -> None:
    patch.setattr(engine_file, "ALIGNMENT", 8)


def a_workspace_of_half_a_size(patch: Patch) -> None:
    original = cuda_api.Cuda.allocate

    def allocate(self: cuda_api.Cuda, size: int, name: str, *, constant: bool = False) -> int:
        return original(self, size // 2 if name == "the workspace" else size, name, constant=constant)

    patch.setattr(cuda_api.Cuda, "allocate", allocate)


def a_bucket_without_room(patch: Patch) -> None:
    """Caches have as many rows as the batch, and the graph for the next bucket runs."""
    patch.setattr(cuda_values, "bucket", int)

    def padded(self: engine_file.CudaCall, sizes: dict[str, int]) -> dict[str, int]:
        return {**sizes, "batch": 4}

    patch.setattr(engine_file.CudaCall, "_padded", padded)


def tokens_that_are_believed(patch: Patch) -> None:
    """Where the host chose a token, the next step reads the one that the device chose."""
    original = step_inputs.DeviceInputs.wants

    def wants(self: step_inputs.DeviceInputs, shape: tuple[int, ...]) -> None:
        chosen = self._chosen  # pyright: ignore[reportPrivateUsage] - the fault
        known = chosen.known
        original(self, shape)
        chosen.known = known

    patch.setattr(step_inputs.DeviceInputs, "wants", wants)


RUNTIME = (
    Fault("a stale capture", a_stale_capture, "points to memory that is not allocated"),
    Fault("a result that is not waited for", a_result_that_is_not_waited_for, WRONG),
    Fault("inputs that stay behind", inputs_that_stay_behind, WRONG),
    Fault("slots that are not aligned", slots_side_by_side, "is at no multiple of 16 bytes"),
    Fault("a workspace that is too small", a_workspace_of_half_a_size, "and wrote behind the workspace of 2048 bytes"),
    Fault("tokens of the device that are not the host's", tokens_that_are_believed, WRONG),
    Fault("a bucket without room", a_bucket_without_room, "behind the end of `rows` (tokens) of 24 bytes"),
)
