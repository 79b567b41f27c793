"""What a run of a plan costs: launches, stages and waits, the bytes that they move, memory, and time at least."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphwright.backends.kernel_library import KernelLibrary
from graphwright.backends.plan.plan import Launch, Plan, Temporary
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import Limit, Work, graph_cost, total_time


@dataclass(frozen=True)
class OpPrice:
    """What all launches of one op cost.

    `flops` and `bytes` are what the op or its kernel declares: operands read and results written, weights as they are
    stored. `scratch_bytes` are read and written besides, of temporaries that no value is placed in, in all arms of
    branches; stages and waits are counted likewise. `seconds` are those of the roofline without scratch, which often
    stays in a cache, and without waits; None without a machine.
    """

    op: str
    launches: int
    stages: int
    waits: int
    flops: int
    bytes: int
    scratch_bytes: int
    seconds: float | None
    limit: Limit | None


@dataclass(frozen=True)
class PlanPrice:
    """What a plan costs by op, those that cost most first; `wait_seconds` is what all its waits take at least."""

    ops: tuple[OpPrice, ...]
    workspace_bytes: int
    wait_seconds: float | None

    @property
    def launches(self) -> int:
        return sum(each.launches for each in self.ops)

    @property
    def stages(self) -> int:
        return sum(each.stages for each in self.ops)

    @property
    def waits(self) -> int:
        return sum(each.waits for each in self.ops)

    @property
    def seconds(self) -> float | None:
        """Of all launches one after another, and of the waits."""
        if self.wait_seconds is None:
            return None
        return self.wait_seconds + sum(each.seconds or 0.0 for each in self.ops)


def plan_price(
    plan: Plan, symbols: Mapping[str, int], machine: Machine | None = None, library: KernelLibrary | None = None
) -> PlanPrice:
    """The price of one run where the graph's symbols have these values. Raises `UserError` where one has none.

    A launch of a kernel of `library` costs what that kernel declares, any other what its op does. A wait takes what a
    machine's record calls a launch: the least time until work goes on behind work that was done.
    """
    bindings = plan.bindings(symbols)
    works: dict[str, list[Work]] = {}
    kernels = {} if library is None else {kernel.name: kernel for kernel in library.kernels}
    prices = {launch.op: kernels[launch.kernel].cost for launch in plan.launches if launch.kernel in kernels}
    for work in graph_cost(plan.graph, prices=prices).at(symbols):
        works.setdefault(work.op, []).append(replace(work, launches=0))
    launches: dict[str, list[Launch]] = {}
    for launch in plan.launches:
        launches.setdefault(launch.op.name, []).append(launch)
    holding = {*plan.placement.values()}

    def scratch(launch: Launch) -> int:
        accesses = [access for stage in launch.stages for access in stage.accesses]
        own = [a for a in accesses if isinstance(a.buffer, Temporary) and a.buffer not in holding]
        return sum(a.buffer.bytes.evaluate(bindings) * (a.reads + a.writes) for a in own)

    def priced(name: str, each: list[Launch]) -> OpPrice:
        done = works.get(name, [])
        seconds, limit = total_time(done, machine) if machine is not None else (None, None)
        stages = [stage for launch in each for stage in launch.stages]
        return OpPrice(
            op=name,
            launches=len(each),
            stages=len(stages),
            waits=sum(stage.waits for stage in stages),
            flops=sum(work.flops for work in done),
            bytes=-(-sum(work.bits for work in done) // 8),
            scratch_bytes=sum(map(scratch, each)),
            seconds=seconds,
            limit=limit if done else None,
        )

    found = [priced(name, each) for name, each in launches.items()]
    waits = sum(each.waits for each in found)
    return PlanPrice(
        tuple(sorted(found, key=lambda each: (each.seconds or 0.0, each.bytes), reverse=True)),
        plan.slot_offsets(symbols)[-1],
        None if machine is None else waits * machine.launch_seconds,
    )
