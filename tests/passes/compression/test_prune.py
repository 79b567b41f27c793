"""Pruning as a pass: what it replaces in which graphs, by which scores, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphwright.ir import PassError, StoredArray, print_graph, print_program
from graphwright.ir.pricing import graph_cost
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.compression import Prune
from tests.passes.compression.model import language_model, logits, token_file, tokens_in
from tests.tensors import norm

PRUNED = """graph decode(%input_ids: i64[B, 1]) {
  %0 = embedding(@table, %input_ids) : f32[B, 1, 8]
  %1 = linear(%0, @up.pruned, bias=@bias) : f32[B, 1, 20]  at model.up
  %2 = activation(%1) {kind="silu"} : f32[B, 1, 20]
  %3 = linear(%2, @down.pruned) : f32[B, 1, 8]  at model.down
  %4 = add(%0, %3) : f32[B, 1, 8]
  %5 = linear(%4, @table) : f32[B, 1, 40]  at head
  return logits=%5
}"""


def test_the_body_is_pruned_in_all_graphs_at_the_same_price(tmp_path: Path) -> None:
    before, after = language_model(), language_model()
    (record,) = run_passes(after, parse_passes(f"prune{{tokens={token_file(tmp_path)}}}")).records
    assert record.lossy
    assert record.hits == {"prune": 2}
    assert print_graph(after.graphs["decode"]).strip() == PRUNED
    assert print_graph(after.graphs["prefill"]).count(".pruned") == 2
    assert set(after.weights) == {"table", "up.pruned", "bias", "down.pruned"}
    for name, graph in before.graphs.items():
        assert graph_cost(after.graphs[name]).ops == graph_cost(graph).ops


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_half_of_each_weight_is_zero(tmp_path: Path, method: str, pattern: str) -> None:
    before, after = language_model(), language_model()
    tokens = token_file(tmp_path)
    run_passes(after, parse_passes(f"prune{{method={method}, pattern={pattern}, tokens={tokens}}}"))
    for name in ("up", "down"):
        weight, original = after.weights[f"{name}.pruned"].evaluate(), before.weights[name].evaluate()
        zero = weight == 0
        assert int(zero.sum()) == weight.numel() // 2
        if pattern == "2:4":
            assert (zero.reshape(len(zero), -1, 4).sum(-1) == 2).all()
        elif method == "wanda":
            assert (zero.sum(1) == weight.shape[1] // 2).all()
        assert (method == "sparsegpt") or torch.equal(weight[~zero], original[~zero])
    ids = tokens_in(tokens)
    assert torch.isfinite(logits(after, ids)).all()


def test_wanda_weighs_by_what_the_layer_reads_and_the_second_sees_the_first_pruned(tmp_path: Path) -> None:
    before, after = language_model(), language_model()
    path = token_file(tmp_path)
    run_passes(after, [Prune(sparsity=0.25, tokens=str(path))])
    inputs = before.weights["table"].evaluate()[tokens_in(path).flatten()]
    inner = torch.nn.functional.silu(
        inputs @ after.weights["up.pruned"].evaluate().T + before.weights["bias"].evaluate()
    )
    for name, x in (("up", inputs), ("down", inner)):
        weight = before.weights[name].evaluate()
        scores = weight.abs() * norm(x, dim=0)
        threshold = scores.sort(1).values[:, weight.shape[1] // 4 - 1 : weight.shape[1] // 4]
        assert torch.equal(after.weights[f"{name}.pruned"].evaluate() == 0, scores <= threshold)


def test_sparsegpt_loses_least_of_what_the_layer_computes(tmp_path: Path) -> None:
    before = language_model()
    path = token_file(tmp_path)
    inputs = before.weights["table"].evaluate()[tokens_in(path).flatten()]
    errors: dict[str, float] = {}
    for method in ("wanda", "sparsegpt"):
        after = language_model()
        run_passes(after, parse_passes(f"prune{{method={method}, pattern=2:4, tokens={path}}}"))
        change = after.weights["up.pruned"].evaluate() - before.weights["up"].evaluate()
        errors[method] = float(norm(inputs @ change.T))
    assert errors["sparsegpt"] < errors["wanda"]


def test_head_and_all(tmp_path: Path) -> None:
    for layers, pruned in (("head", {"table.pruned"}), ("all", {"up.pruned", "down.pruned", "table.pruned"})):
        after = language_model()
        run_passes(after, parse_passes(f"prune{{method=magnitude, layers={layers}}}"))
        assert {name for name in after.weights if name.endswith(".pruned")} == pruned
        assert "table" in after.weights  # the embedding reads it still


def test_what_the_command_line_says_is_what_is_printed() -> None:
    (each,) = parse_passes("prune{method=sparsegpt, pattern=2:4, tokens=t.npy}")
    assert each == Prune(method="sparsegpt", pattern="2:4", tokens="t.npy")
    assert parse_passes(str(each)) == [each]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("sparsity=1.0, method=magnitude", "prune: sparsity=1.0 must be more than 0 and less than 1"),
        ("sparsity=-0.5, method=magnitude", "prune: sparsity=-0.5 must be more than 0 and less than 1"),
        ("sparsity=0.4, pattern=2:4", "prune: the pattern 2:4 leaves out half of the weights, not sparsity=0.4"),
        ("method=wanda", "this pass needs calibration tokens: give tokens=FILE.npy"),
        ("pattern=3:4", "pass prune: option pattern=3:4 is not one of 'unstructured', '2:4'"),
        ("tokens=nowhere.npy", "nowhere.npy: cannot be read as an array of tokens"),
    ],
)
def test_what_is_refused(options: str, wanted: str) -> None:
    program = language_model()
    text = print_program(program)
    with pytest.raises(PassError, match=f"^{wanted}"):
        run_passes(program, parse_passes(f"prune{{{options}}}"))
    assert print_program(program) == text


def test_a_damaged_weight_is_named() -> None:
    program = language_model()
    damaged = program.weights["down"].evaluate().clone()
    damaged[1, 2] = float("nan")
    program.weights["down"].expression = StoredArray.of(damaged)
    with pytest.raises(PassError, match=r"^weight 'down' holds NaN or infinite numbers"):
        run_passes(program, parse_passes("prune{method=magnitude}"))
