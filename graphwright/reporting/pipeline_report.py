"""What a run of passes did, as data: `opt --json` prints it, the HTML report is drawn from it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 2

Phase = Literal["prefill", "decode", "forward"]
"""`forward` is a plain function's only phase; a language model has the other two, also before it has a cache."""


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Workload(_Row):
    """The sizes at which a program is priced."""

    batch: int = Field(ge=1)
    prefill_length: int = Field(ge=1, description="tokens of a prompt; the length of a plain function's input")
    decode_context: int = Field(ge=1, description="tokens that the cache holds once the decoded token is in it")


class MachineRow(_Row):
    """The machine that times are predicted for."""

    name: str
    flops_per_second: dict[str, Rate] = Field(min_length=1, description="peak rate of products, by element type")
    bytes_per_second: Rate = Field(description="memory bandwidth")
    launch_seconds: float = Field(ge=0, description="the least time of one launch")
    source: str = Field(description="a datasheet, or when and how it was measured")


class Price(_Row):
    """What one phase costs. Bytes count each value's trips to memory; peak memory includes weights and cache."""

    flops: int
    weight_bytes: int = Field(description="weights read")
    activation_bytes: int = Field(description="activations read and written")
    cache_bytes: int = Field(description="caches and states read and written")
    launches: int
    peak_bytes: int
    seconds: float | None = Field(description="roofline time; null where no machine was named")
    limit: Literal["compute", "memory", "launch"] | None = Field(description="what most of that time is spent on")


class Kind(_Row):
    """All ops of one name in one phase of the final program: a point of the roofline plot."""

    phase: Phase
    op: str
    count: int
    flops: int
    bytes: int
    launches: int
    seconds: float | None
    limit: Literal["compute", "memory", "launch"] | None


class MemoryPoint(_Row):
    """Memory of a decode step, in bytes, by part, at one length of the context."""

    context: int = Field(ge=1)
    weights: int = Field(ge=0)
    cache: int = Field(ge=0)
    activations: int = Field(ge=0)


class Miss(_Row):
    """A rule that nearly matched: where, how many ops had matched, and what stopped it."""

    rule: str
    location: str
    matched: int
    reason: str


class Hit(_Row):
    """A rule that matched: at the modules `locations`, `count` times in all."""

    rule: str
    count: int
    locations: list[str]


class Proof(_Row):
    """How a program after a pass compares with what it was: before the pipeline, or after the last lossy pass.

    `exact`: the text is unchanged. `proven`: `error` is within `bound`. `measured`: the pass is lossy; `kl` and
    `logit_error` say how far it leads, and its program is right from there on.
    """

    status: Literal["exact", "proven", "measured"]
    error: float | None = Field(default=None, description="largest absolute error of an output in float64")
    bound: float | None = Field(default=None, description="what rounding explains at that place")
    kl: float | None = Field(default=None, description="mean KL divergence from the program before, nats a token")
    logit_error: float | None = Field(default=None, description="largest absolute error of a logit")
    seconds: float = 0.0


class PassRow(_Row):
    """One pass, in order."""

    name: str = Field(description="the pass as the command line spells it, options included")
    lossy: bool
    seconds: float = Field(description="of the pass and its verification, without the proof")
    ops_before: int
    ops_after: int
    hits: list[Hit]
    near_misses: list[Miss]
    proof: Proof | None
    prices: dict[Phase, Price]
    diff: str = Field(description="unified diff of the program's text; empty where nothing changed")


class PipelineReport(_Row):
    """The whole run."""

    format_version: int = FORMAT_VERSION
    graphwright: str = Field(description="version")
    program: str
    pipeline: str
    workload: Workload
    machine: MachineRow | None
    before: dict[Phase, Price] = Field(description="prices before the first pass")
    passes: list[PassRow]
    kinds: list[Kind]
    memory: list[MemoryPoint]
    measured_seconds: dict[Phase, float] = Field(description="of the compiled program on this machine, where measured")
    notes: list[str] = Field(description="what the proof did not reach, and other remarks")
    graph: str = Field(description="text of the final program")
