"""The passes: one idea a file, a manager that checks them, and pipelines that name them in order."""

from graphwright.passes import compression, lowering, mixed_precision, quantization
from graphwright.passes.base import REGISTRY, Pass
from graphwright.passes.difference import difference
from graphwright.passes.manager import Observer, PassRecord, Report, Run, run_passes
from graphwright.passes.pipelines import PIPELINES
from graphwright.passes.spelling import named_pipeline, parse_passes

__all__ = [
    "PIPELINES",
    "REGISTRY",
    "Observer",
    "Pass",
    "PassRecord",
    "Report",
    "Run",
    "compression",
    "difference",
    "lowering",
    "mixed_precision",
    "named_pipeline",
    "parse_passes",
    "quantization",
    "run_passes",
]
