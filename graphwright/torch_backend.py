"""`torch.compile(module, backend="graphwright")`: forward passes by ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._guards import tracing

from graphwright.api import compile_function
from graphwright.compiling.compiled import CompiledFunction
from graphwright.errors import UsageError
from graphwright.frontend.graph_module import capture_graph_module, sort_inputs
from graphwright.frontend.traced_graph import expression
from graphwright.ir.convention import FORWARD
from graphwright.ir.torch_types import torch_dtype

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
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    results = list(output.args[0])
    if not any(map(_is_tensor, results)):
        return graph.forward
    compiled = _Compiled(graph, results, chosen)
    compiled.variant(example_inputs)
    return compiled


class _Compiled:
    """A traced graph, compiled once for each set of values of the numbers among its inputs."""

    def __init__(self, graph: torch.fx.GraphModule, results: Sequence[Any], options: dict[str, Any]) -> None:
        self._inputs = sort_inputs(graph, freeze=options.pop("freeze", False))
        self._options = options
        self._graph = graph
        self._results = list(results)
        self._kept = [i for i, result in enumerate(results) if _is_tensor(result)]
        fakes = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
        self._sizes = {i: expression(fake) for i, fake in enumerate(fakes) if isinstance(fake, torch.SymInt)}
        self._variants: dict[tuple[float, ...], tuple[CompiledFunction, list[torch.dtype]]] = {}
        self._weights: dict[int, tuple[int, int]] = {}

    def variant(self, inputs: Sequence[Any]) -> tuple[CompiledFunction, list[torch.dtype]]:
        """The function for the numbers among these inputs, and the element types of its results in the graph."""
        _check_inputs(inputs)
        key = tuple(float(inputs[i]) for i in self._inputs.numbers)
        state = {i: _state(inputs[i]) for i in self._inputs.frozen}
        if self._weights and state != self._weights:
            raise UsageError("a frozen weight has changed: call torch.compiler.reset(), or leave out freeze")
        self._weights = state
        if key not in self._variants:
            # Dynamo's own trace may be under way; the capture traces anew, by itself.
            with tracing(None), torch.no_grad():
                program = capture_graph_module(self._graph, self._inputs, inputs, self._kept)
            dtypes = [torch_dtype(value.tensor.dtype) for value in program.graphs[FORWARD].outputs.values()]
            self._variants[key] = compile_function(program, **self._options), dtypes
        return self._variants[key]

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        function, dtypes = self.variant(inputs)
        found = function(**{f"input.{i}": _array(inputs[i]) for i in self._inputs.tensors})
        # The function computes in float32 and exchanges it, whatever the graph's own element types are.
        made = [torch.as_tensor(array).to(dtype) for array, dtype in zip(found.values(), dtypes, strict=True)]
        tensors = dict(zip(self._kept, made, strict=True))
        values = {size: inputs[i] for i, size in self._sizes.items()}
        return tuple(tensors[i] if i in tensors else _number(result, values) for i, result in enumerate(self._results))


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


def _is_tensor(result: Any) -> bool:
    return isinstance(result, torch.fx.Node) and isinstance(result.meta.get("example_value"), torch.Tensor)


def _array(x: torch.Tensor) -> Any:
    x = x.detach()
    return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).contiguous().numpy()


def _state(weight: torch.Tensor) -> tuple[int, int]:
    """What changes when a tensor is replaced or written in place; tensors made in inference mode are not counted."""
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version


def _number(result: Any, values: Mapping[Any, Any]) -> Any:
    """A result that is not a tensor: a constant of the graph, or a number made of sizes."""
    if not isinstance(result, torch.fx.Node):
        return result
    size = result.meta.get("example_value")
    return int(expression(size).subs(values)) if isinstance(size, torch.SymInt) else size
