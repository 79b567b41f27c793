"""Writes artifacts for GPUs: a program in, a folder out with machine code and plans for each architecture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from graphwright.backends.artifact import (
    WEIGHTS_FILE,
    commit_artifact,
    dimension_names,
    main_graph,
    named_sizes,
    program_info,
)
from graphwright.backends.cuda.gpu import EMULATED, Gpu
from graphwright.backends.cuda.library.layouts import CODES
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.backends.cuda.program_file import target_entry
from graphwright.backends.interface import Companions
from graphwright.backends.lowered_text import lowered_text, stored_weights, with_unpacked
from graphwright.backends.plan import print_plans
from graphwright.backends.weights_file import write_weights
from graphwright.ir.convention import ENCODE, fixed_sizes, is_decoder, step_graphs
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, ArtifactWriter, FunctionSpec, Manifest

PROGRAM_FILE = "program.json"


def build_artifact(program: Program, folder: Path, companions: Companions, gpus: Sequence[Gpu]) -> Manifest:
    """Writes the artifact of a lowered program for these architectures and the emulator. See `Backend.build`."""
    if ENCODE in program.graphs:
        raise UnsupportedError(f"program '{program.name}' has an encoder, which the CUDA backend does not run yet")
    program = program.clone()
    main = main_graph(program)
    steps = step_graphs(program) if is_decoder(program) else [main]
    steps = sorted(steps, key=lambda graph: len(fixed_sizes(graph, main)), reverse=True)
    info = program_info(
        program,
        backend="cuda",
        dialect=" ".join(gpu.name for gpu in gpus),
        file=PROGRAM_FILE,
        weights=WEIGHTS_FILE,
        functions=tuple(FunctionSpec(name=step.name, fixed=named_sizes(fixed_sizes(step, main))) for step in steps),
        dimensions=dimension_names(main),
    )
    planned = [plan_graphs(steps, gpu) for gpu in (*gpus, EMULATED)]
    weights = planned[0].weights
    tasks = [Task(variant, each.gpu) for each in planned for variant in each.variants.values()]
    images = dict(zip(tasks, images_of(tasks), strict=True))
    with ArtifactWriter(folder) as writer:
        targets = {}
        for each in planned:
            targets[each.gpu.name], code = target_entry(
                each, {name: images[Task(v, each.gpu)] for name, v in each.variants.items()}
            )
            writer.add_bytes(f"{each.gpu.name}.kernels", code)
        writer.add_text(PROGRAM_FILE, json.dumps({"format": 1, "weight_bytes": weights.bytes, "targets": targets}))
        with remembering_quantized():
            write_weights(writer.folder / WEIGHTS_FILE, weights.stored, weights.layout)
            seeded = {weight.name: (weight.expression, weight.expression) for weight in weights.seeded}
            known = {**stored_weights(weights.stored, WEIGHTS_FILE), **seeded}
            writer.add_text(LOWERED_FILE, lowered_text(program, with_unpacked(program, known, [CODES])))
        writer.add_text(PLAN_FILE, print_plans(planned[0].plans.values()))
        return commit_artifact(writer, program, companions, info)
