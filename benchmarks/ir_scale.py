"""How fast the IR is on a model of real size: a 48-layer Llama as it comes from capture, about 3,000 primitive ops.

python -m benchmarks.ir_scale

Each step is timed in processor time, best of several runs. Verifying after every pass is only possible if it is cheap,
so a step that takes longer than its limit fails the run.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from graphwright.ir import (
    Builder,
    Dim,
    DType,
    Graph,
    Program,
    StoredFile,
    Value,
    ops,
    parse_program,
    print_program,
    tensor,
    verify,
)
from graphwright.ir.rewriting import LAST, Match, Pattern, Refusal, Rule, cast_or_not, rewrite, rule

LAYERS = 48
HIDDEN, HEADS, KV_HEADS, SIZE, INTERMEDIATE, VOCABULARY = 2048, 32, 8, 64, 8192, 32000
B, S = Dim.of("B"), Dim.of("S")
LIMIT = 0.2
RUNS = 7


class Capture:
    """Writes a Llama op by op, in the spelling that capture gives."""

    def __init__(self, program: Program, graph: Graph) -> None:
        self.program = program
        self.graph = graph
        self.build = Builder(graph)

    def weight(self, name: str, *shape: int) -> Value:
        return self.graph.weight(
            self.program.add_weight(name, StoredFile("model.safetensors", name, tensor("bf16", *shape)))
        )

    def norm(self, x: Value, name: str) -> Value:
        build = self.build
        wide = build(ops.cast, x, dtype=DType.F32)
        square = build(ops.pow, wide, build.constant(2.0, DType.F32))
        mean = build(ops.mean, square, axes=(-1,), keepdims=True)
        scale = build(ops.rsqrt, build(ops.add, mean, build.constant(1e-5, DType.F32)))
        narrow = build(ops.cast, build(ops.mul, wide, scale), dtype=DType.BF16)
        return build(ops.mul, self.weight(f"{name}.weight", HIDDEN), narrow)

    def heads(self, x: Value, count: int) -> Value:
        split = self.build(ops.reshape, x, shape=(B, S, count, SIZE))
        return self.build(ops.transpose, split, permutation=(0, 2, 1, 3))

    def rotate(self, x: Value, cos: Value, sin: Value) -> Value:
        build = self.build
        first = build(ops.slice, x, axis=3, start=0, stop=SIZE // 2)
        second = build(ops.slice, x, axis=3, start=SIZE // 2)
        turned = build(ops.concat, build(ops.neg, second), first, axis=3)
        return build(ops.add, build(ops.mul, x, cos), build(ops.mul, turned, sin))

    def layer(self, x: Value, index: int, positions: Value, cos: Value, sin: Value) -> Value:
        name, build = f"model.layers.{index}", self.build
        build.location = f"{name}.input_layernorm"
        y = self.norm(x, build.location)
        build.location = f"{name}.self_attn"
        q, k, v = (
            self.heads(build(ops.linear, y, self.weight(f"{name}.self_attn.{n}.weight", c * SIZE, HIDDEN)), c)
            for n, c in (("q_proj", HEADS), ("k_proj", KV_HEADS), ("v_proj", KV_HEADS))
        )
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        mixed = build(ops.attention, q, k, v, positions, scale=SIZE**-0.5, mask="causal")
        back = build(ops.transpose, mixed, permutation=(0, 2, 1, 3))
        flat = build(ops.reshape, back, shape=(B, S, HIDDEN))
        x = build(ops.add, x, build(ops.linear, flat, self.weight(f"{name}.self_attn.o_proj.weight", HIDDEN, HIDDEN)))
        build.location = f"{name}.post_attention_layernorm"
        y = self.norm(x, build.location)
        build.location = f"{name}.mlp"
        gate = build(ops.linear, y, self.weight(f"{name}.mlp.gate_proj.weight", INTERMEDIATE, HIDDEN))
        up = build(ops.linear, y, self.weight(f"{name}.mlp.up_proj.weight", INTERMEDIATE, HIDDEN))
        product = build(ops.mul, build(ops.activation, gate, kind="silu"), up)
        down = build(ops.linear, product, self.weight(f"{name}.mlp.down_proj.weight", HIDDEN, INTERMEDIATE))
        return build(ops.add, x, down)

    def model(self) -> None:
        build = self.build
        tokens = self.graph.add_input("input_ids", tensor("i64", "B", "S"))
        build.location = "model.embed_tokens"
        x = build(ops.embedding, self.weight("model.embed_tokens.weight", VOCABULARY, HIDDEN), tokens)
        build.location = "model.rotary_emb"
        row = build(ops.iota, size=S, dtype=DType.I64)
        positions = build(ops.reshape, row, shape=(1, S))
        angles = build(ops.cast, build(ops.reshape, row, shape=(1, 1, S, 1)), dtype=DType.F32)
        frequencies = build(ops.cast, self.weight("model.rotary_emb.inv_freq", SIZE // 2), dtype=DType.F32)
        angles = build(ops.mul, angles, frequencies)
        both = build(ops.concat, angles, angles, axis=3)
        cos, sin = (build(ops.cast, build(f, both), dtype=DType.BF16) for f in (ops.cos, ops.sin))
        for index in range(LAYERS):
            x = self.layer(x, index, positions, cos, sin)
        build.location = "model.norm"
        x = self.norm(x, "model.norm")
        build.location = "lm_head"
        self.graph.outputs["logits"] = build(ops.linear, x, self.weight("lm_head.weight", VOCABULARY, HIDDEN))


def captured() -> Program:
    program = Program("llama")
    Capture(program, program.add_graph(Graph("forward"))).model()
    return program


def _norm(x: Pattern, weight: Pattern, epsilon: Pattern) -> Pattern:
    mean_square = ops.mean(ops.pow(cast_or_not(x), 2.0), axes=LAST, keepdims=True)
    return weight * cast_or_not(cast_or_not(x) * ops.rsqrt(mean_square + epsilon))


@rule(_norm)
def rms_norm(match: Match, build: Builder) -> Value | Refusal:
    epsilon = match.number("epsilon")
    if epsilon is None or match["x"].type != match.root.result.type:
        return Refusal("epsilon is not a constant, or the norm changes the type")
    return build(ops.rms_norm, match["x"], match["weight"], epsilon=epsilon)


def _rotation(angles: Pattern, frequencies: Pattern, x: Pattern) -> Pattern:
    both = ops.concat(angles * frequencies, angles * frequencies, axis=3)
    cos, sin = cast_or_not(ops.cos(both)), cast_or_not(ops.sin(both))
    first, second = ops.slice(x, axis=3, start=0, stop=SIZE // 2), ops.slice(x, axis=3, start=SIZE // 2)
    return x * cos + ops.concat(-second, first, axis=3) * sin


@rule(_rotation)
def rope(match: Match, build: Builder) -> Value | Refusal:
    angles = match["angles"].defined_by(ops.cast)
    row = angles and angles.inputs[0].defined_by(ops.reshape)
    if row is None:
        return Refusal("the angles are not positions times frequencies")
    positions = build(ops.reshape, row.inputs[0], shape=(1, S))
    return build(ops.rope, match["x"], positions, match["frequencies"], interleaved=False)


def _gated(gate: Pattern, up: Pattern) -> Pattern:
    return ops.activation(gate, kind="silu") * up


@rule(_gated)
def glu(match: Match, build: Builder) -> Value | Refusal:
    if match["gate"].type != match["up"].type:
        return Refusal("gate and up have different types")
    return build(ops.glu, match["gate"], match["up"], kind="silu")


RULES: list[Rule] = [rms_norm, rope, glu]


@dataclass(frozen=True)
class Step:
    """A step and the best processor time of its runs, in seconds."""

    name: str
    seconds: float
    result: str


def best(prepare: Callable[[], Program], run: Callable[[Program], object]) -> tuple[float, object]:
    """The least processor time in seconds of `run` on fresh input, and its last result."""
    times: list[float] = []
    result: object = None
    for _ in range(RUNS):
        program = prepare()
        gc.collect()
        gc.disable()
        start = time.process_time()
        result = run(program)
        times.append(time.process_time() - start)
        gc.enable()
    return min(times), result


def rewrite_all(program: Program) -> str:
    outcome = rewrite(program, program.graphs["forward"], RULES)
    return ", ".join(f"{name} {count}" for name, count in outcome.hits.items())


def measure() -> list[Step]:
    program = captured()
    text = print_program(program)
    count = len(program.graphs["forward"])
    build, _ = best(lambda: program, lambda _: captured())
    check, _ = best(lambda: program, verify)
    write, _ = best(lambda: program, print_program)
    read, _ = best(lambda: program, lambda _: parse_program(text))
    change, hits = best(captured, rewrite_all)
    return [
        Step("build", build, f"{count:,} ops, {len(program.weights)} weights"),
        Step("verify", check, ""),
        Step("print", write, f"{len(text) / 1024:,.0f} KiB"),
        Step("parse and verify", read, ""),
        Step("rewrite to a fixpoint", change, str(hits)),
    ]


def main() -> int:
    steps = measure()
    table = Table(title=f"The IR of a {LAYERS}-layer Llama (limit {LIMIT * 1000:.0f} ms a step)")
    table.add_column("step")
    table.add_column("ms", justify="right")
    table.add_column("")
    for step in steps:
        style = "red" if step.seconds > LIMIT else ""
        table.add_row(step.name, f"{step.seconds * 1000:.1f}", step.result, style=style)
    Console().print(table)
    return int(any(step.seconds > LIMIT for step in steps))


if __name__ == "__main__":
    sys.exit(main())
