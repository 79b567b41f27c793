"""What is known of the transformers library's mixtures of experts: their modules, and the registry that runs them."""

from importlib import import_module
from typing import Any

import torch

from graphwright.frontend.aten.experts import moe_experts
from graphwright.frontend.gates import Gate, identify
from graphwright.ir import UnsupportedError

IMPLEMENTATION = "graphwright"
FLAGS = ("has_gate", "has_bias", "is_transposed", "is_concatenated", "has_post_expert_norm", "_is_expert_parallel")
"""What the library's decorator leaves on each module of experts."""

GATE = "_graphwright_gate"
"""Where a prepared module keeps what its gate was found to be."""


def prepare_experts(model: Any) -> None:
    """Has each module of experts traced as one operator. Raises `UnsupportedError`, naming the module, for one that
    does more than the operator can say.
    """
    for path, module in model.named_modules():
        if all(hasattr(module, flag) for flag in (*FLAGS, "_apply_gate")):
            registry: Any = import_module("transformers.integrations.moe").ALL_EXPERTS_FUNCTIONS
            registry.register(IMPLEMENTATION, traced_experts)
            setattr(module, GATE, _gate(path, module))
            module.config._experts_implementation = IMPLEMENTATION


def traced_experts(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """The library's interface of an experts implementation: tokens [n, size], their experts and weights [n, k]."""
    gate: Gate = getattr(self, GATE)
    names = _parameter_names(self)
    gate_up, down, *biases = (getattr(self, name) for name in names)
    gate_up_bias, down_bias = biases or (None, None)
    return moe_experts(
        hidden_states,
        top_k_index,
        top_k_weights,
        gate_up,
        down,
        gate_up_bias,
        down_bias,
        gate.kind,
        gate.gated,
        gate.alpha,
        gate.limit,
        gate.up_offset,
        gate.interleaved,
        self.is_transposed,
    )


def _parameter_names(module: Any) -> list[str]:
    into = "gate_up_proj" if module.has_gate else "up_proj"
    return [into, "down_proj", *([f"{into}_bias", "down_proj_bias"] if module.has_bias else [])]


def _gate(path: str, module: Any) -> Gate:
    """What stands between the products of a module of experts, which does nothing else that is not in the operator."""
    problem = _problem(module)
    if problem is not None:
        raise UnsupportedError(f"{type(module).__name__} at {path}: {problem}")
    unit = _Unit(module)
    # A unit that reads parameters is not one of the candidates, whatever the values: make sure that it shows.
    unknown = {f"experts.{n}": torch.full((), float("nan")).expand(p.shape) for n, p in module.named_parameters()}

    def units(h: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.func.functional_call(unit, unknown, (h,))

    try:
        gate = identify(units, gated=module.has_gate)
    except Exception as failure:
        reason = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        raise UnsupportedError(f"{type(module).__name__} at {path}: its gate cannot be evaluated: {reason}") from None
    if gate is None:
        what = "gate" if module.has_gate else "activation function"
        raise UnsupportedError(f"{type(module).__name__} at {path}: its {what} is none that moe_experts has")
    if gate.gated and gate.interleaved == module.is_concatenated:
        raise UnsupportedError(f"{type(module).__name__} at {path}: its gate contradicts is_concatenated")
    return gate


def _problem(module: Any) -> str | None:
    if module._is_expert_parallel:
        return "its experts are spread over devices; load the model without expert parallelism"
    if module.has_post_expert_norm:
        return "a norm after each expert is not in moe_experts"
    found, known = {name for name, _ in module.named_parameters()}, set(_parameter_names(module))
    if found != known:
        return f"its parameters are {', '.join(sorted(found))}, expected {', '.join(sorted(known))}"
    buffers = [name for name, _ in module.named_buffers()]
    return f"buffer '{buffers[0]}' is not in moe_experts" if buffers else None


class _Unit(torch.nn.Module):
    """What a module of experts computes between its products."""

    def __init__(self, experts: Any) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.experts._apply_gate(h) if self.experts.has_gate else self.experts.act_fn(h)
