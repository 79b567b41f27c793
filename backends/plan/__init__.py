"""The launch plan: an IR of buffers and launches, between a lowered graph and a backend's code.

Pure Python: it imports neither TVM nor torch until a plan is interpreted.
"""

from graphwright.backends.plan.hazards import with_waits
from graphwright.backends.plan.memory import with_slots
from graphwright.backends.plan.parser import parse_plan, parse_plans
from graphwright.backends.plan.plan import (
    Access,
    Buffer,
    Definition,
    Given,
    Launch,
    Plan,
    Stage,
    Stored,
    Temporary,
    defined,
)
from graphwright.backends.plan.printer import print_plan, print_plans
from graphwright.backends.plan.verifier import verify_plan

__all__ = [
    "Access",
    "Buffer",
    "Definition",
    "Given",
    "Launch",
    "Plan",
    "Stage",
    "Stored",
    "Temporary",
    "defined",
    "parse_plan",
    "parse_plans",
    "print_plan",
    "print_plans",
    "verify_plan",
    "with_slots",
    "with_waits",
]
