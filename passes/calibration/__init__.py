"""Runs a program on calibration tokens and says what its linear layers read."""

from graphwright.passes.calibration.sites import Site, calibration_graph, calibration_sites
from graphwright.passes.calibration.tokens import calibration_tokens, read_tokens
from graphwright.passes.calibration.walk import InputStatistics, calibrate, calibration_inputs

__all__ = [
    "InputStatistics",
    "Site",
    "calibrate",
    "calibration_graph",
    "calibration_inputs",
    "calibration_sites",
    "calibration_tokens",
    "read_tokens",
]
