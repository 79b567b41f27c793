"""What a run of a graph costs: FLOPs, bytes, launches and memory, and the time that a machine takes for them."""

from graphwright.ir.pricing.buffers import Buffers, Memory, Part, memory
from graphwright.ir.pricing.graph_cost import GraphCost, OpCost, Work, declared_cost, graph_cost
from graphwright.ir.pricing.prefill_forms import PrefillForm, prefill_forms
from graphwright.ir.pricing.roofline import Limit, roofline, total_time

__all__ = [
    "Buffers",
    "GraphCost",
    "Limit",
    "Memory",
    "OpCost",
    "Part",
    "PrefillForm",
    "Work",
    "declared_cost",
    "graph_cost",
    "memory",
    "prefill_forms",
    "roofline",
    "total_time",
]
