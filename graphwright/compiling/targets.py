"""What a program can be compiled for, and the passes that are right for each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from graphwright.backends.interface import Backend, BackendOptions, option_fields
from graphwright.backends.registry import BACKENDS
from graphwright.errors import OptionError, UsageError
from graphwright.runtime.errors import SessionError

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.ir.targets import Target
    from graphwright.passes import Pass

CACHE_LAYOUTS = ("contiguous", "ring")


def check_choice(kind: str, value: str, known: Iterable[str]) -> None:
    """Raises OptionError, with the nearest name, unless `value` is among the known ones."""
    names = list(known)
    if value in names:
        return
    near = difflib.get_close_matches(value, names, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(map(repr, names)) or 'none'}"
    raise OptionError(f"there is no {kind} {value!r}: {hint}")


def find_backend(backend: str | Backend) -> Backend:
    """The backend of that name, or the one given. Raises OptionError for a name that no backend has."""
    if isinstance(backend, Backend):
        return backend
    check_choice("backend", backend, BACKENDS)
    return BACKENDS[backend]


def split_target(text: str) -> tuple[str, str | None]:
    """The target, and the names of machines behind its colon, joined by commas: of `cpu:v3,cpu:v4` they are `v3,v4`."""
    target, colon, machines = text.partition(":")
    return target, ",".join(each.removeprefix(f"{target}:") for each in machines.split(",")) if colon else None


def backend_for(target: str, *, by_machine: bool = False) -> Backend:
    """The backend of the target's name, or else the first for it; if `by_machine`, one that takes names of machines.

    Raises OptionError for a target of none.
    """
    check_choice("target", target, dict.fromkeys(each for backend in BACKENDS.values() for each in backend.targets))
    able = [backend for backend in BACKENDS.values() if target in backend.targets]
    if by_machine:
        able = [backend for backend in able if backend.machines] or able
    return next((backend for backend in able if backend.name == target), able[0])


def with_machines(backend: Backend, options: Mapping[str, object], machines: str | None) -> dict[str, object]:
    """The backend's options with the machines that a target names, if it does.

    Raises OptionError where the backend takes none, or where options name them too.
    """
    if machines is None:
        return {**options}
    if not backend.machines:
        raise OptionError(f"names {machines}, and the backend {backend.name!r} takes no machines by name", "target")
    if backend.machines in options:
        raise OptionError("are named in the target too: name them in one place", backend.machines)
    return {**options, backend.machines: machines}


def require_device(target: str) -> None:
    """Raises UsageError where this machine lacks the device of a target, which what is compiled is to be loaded on."""
    if target == "cuda":
        from graphwright.runtime.cuda_api import cuda

        try:
            cuda()
        except SessionError as problem:
            raise UsageError(f"{problem}; `graphwright compile` writes an artifact to be run elsewhere") from None


def require_backend(backend: Backend) -> None:
    """Raises UsageError where this machine lacks what building for the backend needs."""
    missing = backend.missing()
    if missing is not None:
        raise UsageError(f"the backend {backend.name!r} cannot build here: {missing}")


def backend_options(backend: Backend, given: Mapping[str, object]) -> BackendOptions:
    """The backend's options, with what is `given` of them by name.

    Raises OptionError for another backend's option, an unknown one, and a value that it cannot have.
    """
    own = {field.name: field for field in option_fields(backend)}
    for name, value in given.items():
        if name not in own:
            others = [other.name for other in BACKENDS.values() if name in {f.name for f in option_fields(other)}]
            if others:
                raise OptionError(f"is an option of the backend {others[0]!r}, not of {backend.name!r}", name)
            check_choice(f"option of the backend {backend.name!r} called", name, own)
        if type(value) is not type(own[name].default):
            kind = type(own[name].default).__name__
            raise OptionError(f"is {value!r}: must be of type {kind}", name)
        if values := cast("tuple[str, ...]", own[name].metadata["values"]):
            check_choice(name, str(value), values)
    return backend.options(**cast("Mapping[str, Any]", given))


def kernel_targets() -> dict[str, Target]:
    """What the kernels of each backend take, by the name of their library, for passes that ask."""
    libraries = [backend.library() for backend in BACKENDS.values()]
    return {library.name: library.target for library in libraries if library is not None}


def pipelines() -> dict[str, Sequence[Pass]]:
    """The named pipelines: those of `passes`, and each target's down to the ops of each backend (`cpu-onnx`)."""
    from graphwright.passes import PIPELINES

    found: dict[str, Sequence[Pass]] = dict(PIPELINES)
    for backend in BACKENDS.values():
        for target in backend.targets:
            found[backend.pipeline(target)] = (
                *PIPELINES[target],
                *backend.lowering(backend.for_target(backend.options(), target), decoder=True),
            )
    return found


def find_pipeline(name: str) -> Sequence[Pass]:
    """The pipeline of that name. Raises PassError, with the nearest one, for any other."""
    from graphwright.passes import named_pipeline

    return named_pipeline(name, pipelines())


def backend_behind(pipeline: str | None) -> Backend | None:
    """The backend whose ops a named pipeline goes down to, None for a pipeline that is for all."""
    lowering = {each.pipeline(target): each for each in BACKENDS.values() for target in each.targets}
    return None if pipeline is None else lowering.get(pipeline)


def choose_passes(
    program: Program, target: str, pipeline: str | Sequence[Pass] | None, *, function: bool
) -> Sequence[Pass]:
    """The passes to run: those asked for, or by default the target's for a program of this kind.

    A program with a graph `prefill` has been optimized before and by default stays as it is; a plain function is raised
    but gets no cache. Raises PassError for a pipeline that does not exist.
    """
    from graphwright.ir.convention import is_decoder
    from graphwright.passes import PIPELINES

    if pipeline is not None:
        return find_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    if is_decoder(program):
        return ()
    return PIPELINES["function" if function else target]


def requested_passes(passes: str | None, pipeline: str | None) -> Sequence[Pass] | None:
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
    from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache

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
