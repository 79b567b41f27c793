"""Runs a program on calibration tokens and says what its linear layers read."""

from graphwright.passes.calibration.statistics import InputStatistics
from graphwright.passes.calibration.tokens import read_tokens
from graphwright.passes.calibration.walk import (
    ROWS_AT_ONCE,
    Site,
    calibrate,
    calibration_graph,
    calibration_inputs,
    calibration_sites,
)

__all__ = [
    "ROWS_AT_ONCE",
    "InputStatistics",
    "Site",
    "calibrate",
    "calibration_graph",
    "calibration_inputs",
    "calibration_sites",
    "read_tokens",
]
