"""One parallel region a step: kernels taken apart into stages, and a launch plan of stages printed as code."""

from graphwright.backends.tvm.region.assemble import assemble
from graphwright.backends.tvm.region.flatten import flatten
from graphwright.backends.tvm.region.plan_code import plans_code
from graphwright.backends.tvm.region.stages import split_kernel
from graphwright.backends.tvm.region.step import StepFunctions
from graphwright.backends.tvm.region.tail import schedule_tail

__all__ = ["StepFunctions", "assemble", "flatten", "plans_code", "schedule_tail", "split_kernel"]
