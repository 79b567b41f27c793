"""The passes: one idea a file, a manager that checks them, and pipelines that name them in order."""

from graphwright.ir.text.difference import difference
from graphwright.passes import compression, lowering, quantization
from graphwright.passes.base import REGISTRY, Pass
from graphwright.passes.manager import Observer, PassRecord, Report, Run, run_passes
from graphwright.passes.pipelines import PIPELINES, named_pipeline, parse_passes
from graphwright.passes.quantization import mixed_precision

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
