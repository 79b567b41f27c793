"""`torch.compile(module, backend="graphwright")`: forward passes by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from graphwright.api import compile_function
from graphwright.compiled import CompiledFunction
from graphwright.errors import UsageError
from graphwright.frontend.graph_module import capture_graph_module
from graphwright.frontend.traced_graph import expression
from graphwright.ir import Program
from graphwright.ir.weights import torch_dtype

OPTIONS = ("dialect", "freeze", "threads")


def graphwright(
    graph: torch.fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **_: Any
) -> Callable[..., Any]:
    """The backend as torch.compile calls it, once for each graph that it traces.

    Options: `freeze` (default False) makes the weights constants of the compiled graph, which is faster. A weight that
    has changed since is an error, unless it was written through `.data`, which torch does not record. Otherwise weights
    are inputs of each call. `dialect` and `threads` are those of `graphwright.compile_function`.

    Raises UsageError for a graph whose gradients are wanted and for another device than the CPU, UnsupportedError for
    operators that cannot be captured.
    """
    chosen = dict(options or {})
    for name in chosen:
        if name not in OPTIONS:
            raise UsageError(f"the backend graphwright has no option '{name}'; it has {', '.join(OPTIONS)}")
    _check_inputs(example_inputs)
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    fakes = [
        node.meta.get("example_value", example) for node, example in zip(placeholders, example_inputs, strict=True)
    ]
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    results = list(output.args[0])
    kept = [i for i, result in enumerate(results) if _is_tensor(result)]
    if not kept:
        return graph.forward
    frozen = _weights(placeholders) if chosen.pop("freeze", False) else {}
    # Dynamo's own trace is under way; the capture traces anew, by itself.
    with torch._guards.tracing(None), torch.no_grad():
        program = capture_graph_module(graph, fakes, example_inputs, frozen, kept)
    function = compile_function(program, **chosen)
    return _Callable(program, function, {i: _state(example_inputs[i]) for i in frozen}, kept, results, fakes)


class _Callable:
    """A compiled graph with tensors in and out. Safe to use from several threads."""

    def __init__(
        self,
        program: Program,
        function: CompiledFunction,
        frozen: Mapping[int, object],
        kept: Sequence[int],
        results: Sequence[Any],
        fakes: Sequence[Any],
    ) -> None:
        self._function = function
        self._frozen = dict(frozen)
        self._results = list(results)
        self._sizes = {i: expression(fake) for i, fake in enumerate(fakes) if isinstance(fake, torch.SymInt)}
        # The function computes in float32 and exchanges it: these are the element types of the graph itself.
        outputs = program.graphs["forward"].outputs
        dtypes = [torch_dtype(value.tensor.dtype) for value in outputs.values()]
        self._tensors = {i: (name, dtype) for i, name, dtype in zip(kept, outputs, dtypes, strict=True)}

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        _check_inputs(inputs)
        for i, state in self._frozen.items():
            if _state(inputs[i]) != state:
                raise UsageError("a frozen weight has changed: call torch.compiler.reset(), or leave out freeze")
        tensors = [x for i, x in enumerate(inputs) if isinstance(x, torch.Tensor) and i not in self._frozen]
        found = self._function(**{f"input.{i}": _array(x) for i, x in enumerate(tensors)})
        values = {size: inputs[i] for i, size in self._sizes.items()}
        return tuple(
            torch.from_numpy(found[self._tensors[i][0]]).to(self._tensors[i][1])
            if i in self._tensors
            else _number(result, values)
            for i, result in enumerate(self._results)
        )


def _check_inputs(inputs: Sequence[Any]) -> None:
    for x in inputs:
        if not isinstance(x, torch.Tensor):
            continue
        if x.requires_grad and torch.is_grad_enabled():
            raise UsageError(
                "the backend graphwright runs forward passes only: call the compiled module under torch.no_grad()"
            )
        if x.device.type != "cpu":
            raise UsageError(f"the backend graphwright runs on the CPU; a tensor is on {x.device}: move the module")


def _weights(placeholders: Sequence[torch.fx.Node]) -> dict[int, str]:
    """The inputs that are parameters or buffers of the module, by index."""
    found: dict[int, str] = {}
    for i, node in enumerate(placeholders):
        source = getattr(node.meta.get("grapharg"), "source", None)
        if source is not None and source.guard_source.is_unspecialized_nn_module():
            found[i] = node.name
    return found


def _is_tensor(result: Any) -> bool:
    return isinstance(result, torch.fx.Node) and isinstance(result.meta.get("example_value"), torch.Tensor)


def _array(x: torch.Tensor) -> Any:
    x = x.detach()
    return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).contiguous().numpy()


def _state(weight: torch.Tensor) -> tuple[int, int]:
    """What changes when a tensor is replaced or written in place; tensors made in inference mode are not counted."""
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version


def _number(result: Any, values: Mapping[Any, Any]) -> Any:
    """A result that is no tensor: a constant of the graph, or a number made of sizes."""
    if not isinstance(result, torch.fx.Node):
        return result
    size = result.meta.get("example_value")
    return int(expression(size).subs(values)) if isinstance(size, torch.SymInt) else size
