"""The libraries that execute programs, behind one interface."""

from graphwright.runtime.engines.engine import (
    Array,
    Call,
    Device,
    Engine,
    EngineFactory,
    Executable,
    Signature,
    Value,
    start_engine,
)

__all__ = ["Array", "Call", "Device", "Engine", "EngineFactory", "Executable", "Signature", "Value", "start_engine"]
