"""Which layers another stands for, and that what is left computes as before."""

from __future__ import annotations

from graphwright.ir import Interpreter, Program, verify
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.select_logits import SelectLogits
from graphwright.passes.kv_cache.specialize import Specialize
from graphwright.passes.proving.language import language_trial
from graphwright.passes.proving.layers import layers, without_repeats
from tests.passes.proving.models import CAUSAL, SLIDING, language_model


def paths(program: Program, graph: str = "forward") -> list[str]:
    return [layer.path for group in layers(program.graphs[graph]).values() for layer in group]


def test_of_equal_layers_two_stay_of_each_kind() -> None:
    program = language_model((CAUSAL, SLIDING, CAUSAL, CAUSAL, SLIDING, SLIDING, CAUSAL))
    smaller, dropped = without_repeats(program)
    assert dropped == ["layers.3", "layers.5", "layers.6"]
    verify(smaller)
    assert paths(smaller) == ["layers.0", "layers.1", "layers.2", "layers.4"]
    assert len(paths(program)) == 7
    assert "q.3" in program.weights
    assert "q.3" not in smaller.weights


def test_one_of_each_kind_if_that_is_wanted() -> None:
    smaller, dropped = without_repeats(language_model((CAUSAL, SLIDING, CAUSAL)), kept=1)
    assert dropped == ["layers.2"]
    assert paths(smaller) == ["layers.0", "layers.1"]


def test_what_is_left_is_the_model_without_those_layers() -> None:
    smaller, _ = without_repeats(language_model((CAUSAL,) * 4))
    direct = language_model((CAUSAL,) * 2)
    trial = language_trial(direct, [12])
    found, wanted = (trial.truth(p, Interpreter()) for p in (smaller, direct))
    assert all(bool((found[key] == wanted[key]).all()) for key in wanted)


def test_layers_with_caches_take_them_along() -> None:
    program = language_model((CAUSAL,) * 4)
    run_passes(program, [InsertKVCache(), SelectLogits(), Specialize()])
    smaller, dropped = without_repeats(program)
    assert dropped == ["layers.2"]  # the last one also picks the tokens whose logits are wanted
    verify(smaller)
    for graph in smaller.graphs.values():
        assert [n for n in graph.outputs if n.startswith("present.")] == [
            f"present.{i}.{role}" for i in (0, 1, 3) for role in ("key", "value")
        ]
        assert [str(v.name) for v in graph.inputs if str(v.name).startswith("past.")] == [
            f"past.{i}.{role}" for i in (0, 1, 3) for role in ("key", "value")
        ]


def test_a_layer_that_gives_more_than_the_stream_stays() -> None:
    program = language_model((CAUSAL,) * 4)
    graph = program.graphs["forward"]
    inner = next(op for op in graph if op.location == "layers.2.norm").result
    graph.outputs["inner"] = inner
    _, dropped = without_repeats(program)
    # Its norm is asked for, so the layer itself must stay; the one after it is equal to two before and goes.
    assert "layers.2" not in dropped
