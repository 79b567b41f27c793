"""One parallel region a step: kernels taken apart into stages, memory planned, barriers placed."""

from graphwright.backends.tvm.region.constants import constant_weights
from graphwright.backends.tvm.region.flatten import flatten
from graphwright.backends.tvm.region.linearize import Linearizer
from graphwright.backends.tvm.region.stages import split_kernel
from graphwright.backends.tvm.region.step import StepFunctions
from graphwright.backends.tvm.region.tail import schedule_tail

__all__ = ["Linearizer", "StepFunctions", "constant_weights", "flatten", "schedule_tail", "split_kernel"]
