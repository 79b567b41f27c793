"""Capture of an nn.Module that is in memory."""

import contextlib
from collections.abc import Mapping

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.build import build_program, stored_array
from graphwright.frontend.calling import call_with, token_call
from graphwright.frontend.export import TraceFailure
from graphwright.frontend.inputs import (
    OTHER_LENGTHS,
    TRACED_SEQUENCE,
    Examples,
    dynamic_axes,
    example_tokens,
    is_one_sequence,
    is_token_ids,
    named_examples,
    sequence_of_length,
    tokens_of_length,
    without_fixed,
)
from graphwright.frontend.logits import NoLogits
from graphwright.frontend.skeleton import skeleton
from graphwright.ir import Program, UserError
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import ARCHITECTURE, PARAMETERS
from graphwright.ir.weights import WeightExpression


def capture_module(
    module: torch.nn.Module,
    examples: Examples | None,
    dtype: torch.dtype | None,
    logits: str | None = None,
    *,
    function: bool = False,
) -> Program:
    """See `capture`."""
    pretrained = hugging_face.is_pretrained(module)
    persistent = set(module.state_dict())

    def wanted(name: str, tensor: torch.Tensor) -> torch.dtype:
        # Loading a checkpoint in a dtype leaves computed buffers (rotary frequencies) alone; `Module.to` does not.
        converted = tensor.is_floating_point() and not (pretrained and name not in persistent)
        return dtype if dtype is not None and converted else tensor.dtype

    model = skeleton(module, wanted)
    beside_context = pretrained and hugging_face.reads_context(module)
    if beside_context and examples is None:
        from graphwright.frontend.hugging_face_inputs import example_inputs

        examples = example_inputs(model, type(module).__name__)
    examples, fixed = without_fixed(module, examples)
    if pretrained and fixed:
        listed = ", ".join(fixed)
        raise UserError(f"{type(module).__name__} is called with its own defaults: leave {listed} out of the examples")
    named = named_examples(module, examples)
    facts = hugging_face.metadata(module) if beside_context else facts_of(module)
    others = []
    name, weights = type(module).__name__, _weights(module)
    if is_one_sequence(named) and not pretrained and not function:
        call = token_call(module, named, fixed)
        with contextlib.suppress(NoLogits, TraceFailure):
            length = max(3, *(min(TRACED_SEQUENCE, len(e)) for e in named.values()))
            return build_program(name, model, call, sequence_of_length(length), weights, facts, logits)
    if is_token_ids(named):
        inputs = example_tokens(named)
        if not pretrained:
            call = token_call(module, named, fixed)
            if examples is None:
                others = [tokens_of_length(n) for n in OTHER_LENGTHS]
                others += [sequence_of_length(n) for n in (TRACED_SEQUENCE, *OTHER_LENGTHS) if not function]
        else:
            hugging_face.prepare(model)
            call, facts = hugging_face.calling_convention(model), hugging_face.metadata(model)
    else:
        inputs = dynamic_axes(named)
        by_name = isinstance(examples, Mapping)
        call = call_with(list(named) if by_name else (), fixed)
        call = hugging_face.call_with(model, list(named)) if pretrained else call
    return build_program(name, model, call, inputs, weights, facts, logits, others, function=function)


def _weights(module: torch.nn.Module) -> dict[str, WeightExpression]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: stored_array(tensor) for name, tensor in tensors}


def facts_of(module: torch.nn.Module) -> dict[str, Attribute]:
    """What is known of any module."""
    return {ARCHITECTURE: type(module).__name__, PARAMETERS: sum(p.numel() for p in module.parameters())}
