"""What a program can be compiled for, and the passes that are right for each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.ir.targets import Target
    from graphwright.passes import Pass

BACKENDS = ("onnx", "tvm")
TARGETS = ("cpu",)
CACHE_LAYOUTS = ("contiguous", "ring")


def check_choice(kind: str, value: str, known: Iterable[str]) -> None:
    """Raises OptionError, with the nearest name, unless `value` is among the known ones."""
    names = list(known)
    if value in names:
        return
    near = difflib.get_close_matches(value, names, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(map(repr, names)) or 'none'}"
    raise OptionError(f"there is no {kind} {value!r}: {hint}")


def kernel_targets() -> Mapping[str, Target]:
    """What the kernels of a target take, by its name, for passes that ask."""
    from graphwright.backends.tvm.library import CPU

    return {CPU.name: CPU}


def pipelines() -> Mapping[str, Sequence[Pass]]:
    """The named pipelines: those of `passes`, and each target's down to the ops of each backend (`cpu-onnx`)."""
    from graphwright.passes import PIPELINES
    from graphwright.passes.lowering.cpu import cpu_lowering
    from graphwright.passes.lowering.decoders import ONE_GRAPH, PHASES
    from graphwright.passes.lowering.ort import to_dialect

    kernels = cpu_lowering(kernel_targets()["cpu"])
    return {
        **PIPELINES,
        "cpu-onnx": (*PIPELINES["cpu"], *ONE_GRAPH, *to_dialect("ort")),
        "cpu-tvm": (*PIPELINES["cpu"], *PHASES, *kernels),
    }


def find_pipeline(name: str) -> Sequence[Pass]:
    """The pipeline of that name. Raises PassError, with the nearest one, for any other."""
    from graphwright.passes import named_pipeline

    return named_pipeline(name, pipelines())


def choose_passes(
    program: Program, target: str, pipeline: str | Sequence[Pass] | None, *, function: bool
) -> Sequence[Pass]:
    """The passes to run: those asked for, or by default the target's for a program of this kind.

    A program with a graph `prefill` has been optimized before and by default stays as it is; a plain function is raised
    but gets no cache. Raises PassError for a pipeline that does not exist.
    """
    from graphwright.ir.convention import is_decoder

    if pipeline is not None:
        return find_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    if is_decoder(program):
        return ()
    return find_pipeline("function" if function else target)


def asked_passes(passes: str | None, pipeline: str | None) -> Sequence[Pass] | None:
    """The passes of a text or of a named pipeline, None for neither. Raises OptionError for both, and PassError."""
    from graphwright.passes import parse_passes

    if passes is not None and pipeline is not None:
        raise OptionError("give --passes or --pipeline, not both")
    if pipeline is not None:
        return find_pipeline(pipeline)
    return None if passes is None else parse_passes(passes, kernel_targets())


def usual_pipeline(program: Program) -> str:
    """The pipeline that shows best what passes make of a program, in its own types where it generates."""
    return "default" if is_language_model(program) else "function"


def with_cache_layout(passes: Sequence[Pass], layout: str) -> Sequence[Pass]:
    """The passes, with caches of that layout where they insert caches. Raises UsageError for rings where none do."""
    from graphwright.passes.insert_kv_cache import InsertKVCache

    if layout != "ring":
        return passes
    if not any(isinstance(p, InsertKVCache) for p in passes):
        raise UsageError("no pass inserts caches here, so there can be no ring caches: compile a traced language model")
    return [InsertKVCache(layout="ring") if isinstance(p, InsertKVCache) else p for p in passes]


def is_language_model(program: Program) -> bool:
    """Whether the captured program goes from token ids, maybe beside one context, to logits."""
    from graphwright.ir.convention import DECODER_INPUT_IDS, FORWARD, INPUT_IDS, LANGUAGE_MODEL_PROBLEM, LOGITS

    forward = program.graphs.get(FORWARD)
    if forward is None:
        return True
    if LANGUAGE_MODEL_PROBLEM in program.metadata:
        return False
    names = [v.name for v in forward.inputs]
    beside_context = DECODER_INPUT_IDS in names and len(names) == 2
    if not (names == [INPUT_IDS] or beside_context) or list(forward.outputs) != [LOGITS]:
        return False
    return forward.outputs[LOGITS].type.rank == 3
