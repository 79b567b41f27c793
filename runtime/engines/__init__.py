"""The libraries that execute programs, behind one interface."""

from graphwright.runtime.engines.engine import (
    Array,
    Call,
    CopiesRows,
    Device,
    Engine,
    EngineFactory,
    Executable,
    ManagesMemory,
    Signature,
    Value,
    start_engine,
)

__all__ = [
    "Array",
    "Call",
    "CopiesRows",
    "Device",
    "Engine",
    "EngineFactory",
    "Executable",
    "ManagesMemory",
    "Signature",
    "Value",
    "start_engine",
]
