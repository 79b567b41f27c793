"""A fresh trace made functional in place, and operators without an importer broken up where they stand.

torch's own way, `run_decompositions`, traces the whole program a second time, which costs more than the first. Here
only the nodes in question are looked at. What this file is not sure of it leaves as it is, for torch to do.

Whether two nodes share memory is read from their fake tensors, which share it too while they are those of the trace.
"""

from collections.abc import Iterable
from importlib import import_module
from itertools import pairwise
from typing import Any, cast

import torch
from torch.export import ExportedProgram

from graphwright.frontend.traced_graph import Node, definition, gives_tensors, is_mutating, traced_value

aten: Any = torch.ops.aten
_map_nodes: Any = import_module("torch.fx.node").map_arg

_SCATTER: dict[Any, Any] = {aten.slice.Tensor: aten.slice_scatter.default, aten.select.int: aten.select_scatter.default}
"""For an operator that gives a view of its operand, the one that puts such a part back."""


def replace_in_place_operators(exported: ExportedProgram) -> None:
    """Replaces operators that write to tensors which the trace made, up to the first where that is not plain."""
    writes = [node for node in exported.graph.nodes if is_mutating(node)]
    memory = {node: _memory(node) for node in exported.graph.nodes}
    for write in writes:
        if not _replaced(exported.graph, write, memory):
            break
    _finish(exported)


def break_up(exported: ExportedProgram, nodes: Iterable[Node]) -> bool:
    """Replaces nodes that torch defines in terms of others by those others; False if it could not replace them all."""
    done = all(_inlined(exported.graph, node) for node in nodes)
    _finish(exported)
    return done


def _finish(exported: ExportedProgram) -> None:
    results: Any = next(node for node in reversed(exported.graph.nodes) if node.op == "output").args[0]
    for specification, result in zip(exported.graph_signature.output_specs, results, strict=True):
        if isinstance(result, Node):
            specification.arg.name = result.name
    exported.graph_module.recompile()


# -- in-place operators


def _memory(node: Node) -> set[int]:
    """What tells in whose memory a node's tensors lie."""
    value = traced_value(node)
    several = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [value]
    return {item.untyped_storage()._cdata for item in several if isinstance(item, torch.Tensor)}


def _replaced(graph: torch.fx.Graph, write: Node, memory: dict[Node, set[int]]) -> bool:
    """Whether an in-place operator could be replaced by one that gives what was written."""
    target = write.args[0]
    functional = _functional(write)
    if functional is None or not isinstance(target, Node):
        return False
    nodes = list(graph.nodes)
    places = {node: i for i, node in enumerate(nodes)}
    sharing = [node for node in nodes if memory[node] & memory[target]]
    if any(node.op != "call_function" for node in sharing) or not all(map(gives_tensors, sharing)):
        return False  # it is the user's tensor or a weight
    chain = [target]
    while chain[-1].target in _SCATTER and memory[chain[-1].all_input_nodes[0]] & memory[target]:
        chain.append(chain[-1].all_input_nodes[0])

    def read_later(node: Node) -> bool:
        return any(places[user] > places[write] for user in node.users)

    before = [node for node in sharing if places[node] < places[write] and read_later(node)]
    if not set(before) <= set(chain):
        return False

    def add(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Node:
        with graph.inserting_before(write):
            new = graph.create_node("call_function", function, arguments, named)
        values = _map_nodes((arguments, new.kwargs), traced_value)
        mode: Any = traced_value(target).fake_mode
        with mode, torch.no_grad():
            new.meta["val"] = function(*values[0], **values[1])
        for key in ("stack_trace", "nn_module_stack"):
            if key in write.meta:
                new.meta[key] = write.meta[key]
        memory[new] = memory[target]
        return new

    whole = add(functional, write.args, dict(write.kwargs))
    if not _same_type(traced_value(whole), traced_value(target)):
        graph.erase_node(whole)
        return False
    if not set(before) - {target}:
        chain = chain[:1]  # nobody reads what it is part of
    for part, of in pairwise(chain):
        whole = add(_SCATTER[part.target], (of, whole, *part.args[1:]), dict(part.kwargs))
    # what later readers read shares memory as before: a later write may be to another part
    current = {chain[-1]: whole}
    for of, part in pairwise(reversed(chain)):
        current[part] = add(part.target, (current[of], *part.args[1:]), dict(part.kwargs))
    for node, new in current.items():
        node.replace_all_uses_with(new, delete_user_cb=lambda user: places.get(user, -1) > places[write])
    write.replace_all_uses_with(current[target])
    graph.erase_node(write)
    return True


def _functional(write: Node) -> Any:
    """The operator that gives what this one writes to its first operand; None if it is not that simple."""
    target: Any = write.target
    schema = target._schema
    written = [a for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    packet, overload = schema.name.removeprefix("aten::"), schema.overload_name or "default"
    if not schema.name.startswith("aten::") or not packet.endswith("_") or written != schema.arguments[:1]:
        return None
    found: Any = getattr(getattr(aten, packet[:-1], None), overload, None)
    if found is None or found._schema.is_mutable or len(found._schema.returns) != 1:
        return None
    same = [(a.name, str(a.type)) for a in schema.arguments] == [(a.name, str(a.type)) for a in found._schema.arguments]
    return found if same else None


def _same_type(a: Any, b: Any) -> bool:
    def described(tensor: Any) -> tuple[Any, ...]:
        sizes = [s if isinstance(s, int) else s.node.expr for s in tensor.shape]
        return (tensor.dtype, tensor.layout, sizes)

    return isinstance(a, torch.Tensor) and described(a) == described(b)


# -- operators broken up


def _inlined(graph: torch.fx.Graph, node: Node) -> bool:
    """Whether a node could be replaced by what torch's definition of its operator asks for on its operands."""
    function = definition(node)
    assert function is not None
    tree: Any = import_module("torch.utils._pytree")
    flat, shape = tree.tree_flatten((node.args, node.kwargs))
    operands = [item for item in flat if isinstance(item, Node)]

    def call(*values: Any) -> Any:
        given = iter(values)
        args, kwargs = tree.tree_unflatten([next(given) if isinstance(i, Node) else i for i in flat], shape)
        return function(*args, **kwargs)

    value: Any = traced_value(node)
    mode: Any = getattr(value if isinstance(value, torch.Tensor) else value[0], "fake_mode", None)
    make_fx: Any = import_module("torch.fx.experimental.proxy_tensor").make_fx
    with mode, torch.no_grad():
        traced = make_fx(call)(*map(traced_value, operands))
    parts: list[Node] = list(traced.graph.nodes)
    if any(part.op not in ("placeholder", "call_function", "output") for part in parts):
        return False
    known: dict[Node, Any] = dict(zip((p for p in parts if p.op == "placeholder"), operands, strict=True))
    made: list[Node] = []
    for part in parts:
        if part.op == "call_function":
            with graph.inserting_before(node):
                known[part] = graph.node_copy(part, known.__getitem__)
            made.append(known[part])
            for key in ("stack_trace", "nn_module_stack"):
                known[part].meta.pop(key, None)
                if key in node.meta:
                    known[part].meta[key] = node.meta[key]
    result: Any = _map_nodes(parts[-1].args[0], known.__getitem__)
    if isinstance(result, Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):
            user.replace_all_uses_with(result[cast("int", user.args[1])])
            graph.erase_node(user)
    graph.erase_node(node)
    return True
