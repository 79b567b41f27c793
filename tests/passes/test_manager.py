"""The pass manager and the spelling of passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from graphwright.ir import PassError, Program, VerificationError
from graphwright.ir.rewriting import Outcome
from graphwright.passes import PIPELINES, REGISTRY, Pass, Run, named_pipeline, parse_passes, run_passes
from graphwright.passes.kv_cache.specialize import Specialize
from graphwright.passes.simplifying.canonicalize import Canonicalize
from graphwright.passes.simplifying.convert_dtype import ConvertDType
from tests.passes.graphs import program

NEGATED_TWICE = "(%x: f32[B, 4]) {\n %0 = neg(%x) : f32[B, 4]\n %1 = neg(%x) : f32[B, 4]\n return a=%0, b=%1\n}"


@dataclass(frozen=True)
class Breaks(Pass):
    """Records a wrong type, as a faulty pass would."""

    name: ClassVar[str] = "breaks"

    def run(self, program: Program) -> Outcome:
        graph = program.graphs["forward"]
        op = next(iter(graph))
        op.result.type = op.result.tensor.with_shape(7)
        return Outcome()


def test_a_broken_graph_is_caught_after_the_pass_that_broke_it() -> None:
    with pytest.raises(VerificationError, match=r"graph 'forward', line 2: .*%0 = neg\(%x\)"):
        run_passes(program(NEGATED_TWICE), [Breaks()])


def test_records() -> None:
    report = run_passes(program(NEGATED_TWICE), [Canonicalize()])
    (record,) = report.records
    assert record.name == "canonicalize"
    assert record.hits == {"common-subexpressions": 1}
    assert record.places == {"common-subexpressions": {"": 1}}
    assert (record.ops_before, record.ops_after) == (2, 1)
    assert str(record.costs["forward"].flops) == "4*B"
    assert record.changed
    assert report.seconds >= record.seconds > 0


def test_a_contract_that_does_not_hold_names_the_pass_and_what_to_do() -> None:
    with pytest.raises(PassError, match=r"specialize needs another program: .* run insert-kv-cache first"):
        run_passes(program(NEGATED_TWICE), [Specialize()])


def test_the_observer_sees_what_changed() -> None:
    seen: list[str] = []

    class Shown:
        def before(self, each: Pass, program: Program) -> None:
            seen.append(f"before {each}: {len(program.graphs['forward'])}")

        def during(self, each: Pass, done: int, total: int) -> None:
            seen.append(f"during {each}: {done} of {total}")

        def after(self, each: Pass, program: Program) -> None:
            seen.append(f"after {each}: {len(program.graphs['forward'])}")

    run_passes(program(NEGATED_TWICE), [Canonicalize()], Shown())
    assert seen == ["before canonicalize: 2", "after canonicalize: 1"]


def test_a_run_that_ends_early_still_reports() -> None:
    run = Run(program(NEGATED_TWICE))
    run.step(Canonicalize())
    with pytest.raises(PassError):
        run.step(Specialize())
    assert [record.name for record in run.report().records] == ["canonicalize"]


def test_passes_as_text_and_back() -> None:
    passes = parse_passes("canonicalize, convert-dtype{to=f64},fuse-norms")
    assert [str(p) for p in passes] == ["canonicalize", 'convert-dtype{to="f64"}', "fuse-norms"]
    assert parse_passes(",".join(map(str, passes))) == passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canonicalise", "there is no pass 'canonicalise': did you mean 'canonicalize'?"),
        ("convert-dtype{two=f32}", "pass convert-dtype has no option 'two': did you mean 'to'?"),
        ("convert-dtype{to=f12}", "pass convert-dtype: option to=f12 is not one of 'f32', 'f64'"),
        ("convert-dtype{to}", "pass convert-dtype: option 'to' needs a value: to=…"),
        ("canonicalize{x=1}", "pass canonicalize has no option 'x'; it takes none"),
        ("fuse-norms;", "'fuse-norms;' is no pass: write name or name{option=value}, joined by commas"),
        ("  ", "no passes given"),
    ],
)
def test_misspelt_passes(text: str, message: str) -> None:
    with pytest.raises(PassError) as caught:
        parse_passes(text)
    assert str(caught.value) == message


def test_pipelines_are_made_of_registered_passes() -> None:
    for passes in PIPELINES.values():
        assert all(type(p) is REGISTRY[p.name] for p in passes)
    with pytest.raises(PassError, match="did you mean 'default'"):
        named_pipeline("defautl")


def test_every_pass_says_what_it_does() -> None:
    for name, cls in REGISTRY.items():
        assert name == cls.name
        assert (cls.__doc__ or "").strip(), name


def test_no_named_pipeline_is_lossy() -> None:
    assert not any(each.lossy for pipeline in PIPELINES.values() for each in pipeline)


def test_widening_is_exact_and_complete() -> None:
    before = program(
        """(%x: bf16[B, 4]) {
  %0 = cast(%x) {dtype=f32} : f32[B, 4]
  %1 = constant() {value=2.0, dtype=bf16} : bf16[]
  %2 = mul(%x, %1) : bf16[B, 4]
  %3 = cast(%2) {dtype=f32} : f32[B, 4]
  %4 = mul(%3, @w) : f32[B, 4]
  %5 = add(%4, %0) : f32[B, 4]
  return y=%5
}""",
        "weight @h : bf16[4] = data([0.5, 1.0, 1.5, 2.0]) : bf16[4]\n"
        "weight @w : f32[4] = cast(data([0.5, 1.0, 1.5, 2.0]) : bf16[4]) {dtype=f32}\n",
    )
    run_passes(before, [ConvertDType(), Canonicalize()])
    graph = before.graphs["forward"]
    assert "bf16" not in "".join(str(v.type) for op in graph for v in op.results)
    assert [op.name for op in graph] == ["constant", "mul", "mul", "add"]
