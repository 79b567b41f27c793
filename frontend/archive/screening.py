"""What an archive says about its program, held to what torch writes, before torch reads it.

Torch takes a file's word for much: sizes are evaluated by sympy, names of values and arguments become lines of Python,
operators and types are looked up by name, conditions on sizes are run. Here every string of the file has a rule by the
name of its field. A field without one is refused.
"""

import json
import keyword
import re
from collections.abc import Callable
from typing import Any, cast

from graphwright.frontend.archive.expressions import SYMBOL, extent_of
from graphwright.frontend.archive.operators import require_operator
from graphwright.frontend.archive.tree_specs import require_tree_spec
from graphwright.frontend.expression_text import LARGEST, ExpressionError, quoted
from graphwright.frontend.guards import parse_guard

LARGEST_PROGRAM = 256 << 20
"""Bytes of the description of a program. One of 126 layers has some 40 MB, mostly stack traces."""

DEEPEST = 100
MOST_GUARDS = 1000
MOST_EXPRESSIONS = 2000
"""Different sizes in a program. Torch simplifies each; models have some dozens."""


def require_readable(content: bytes) -> None:
    """Raises `ExpressionError` for the description of a program that holds what torch does not write there."""
    if len(content) > LARGEST_PROGRAM:
        raise ExpressionError(f"it describes its program in {len(content)} bytes, {LARGEST_PROGRAM} at most are read")
    try:
        program: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ExpressionError("the description of its program is damaged") from None
    _Screening().screen(program)


class _Screening:
    def __init__(self) -> None:
        self._expressions: set[str] = set()
        self._guards = 0
        self._rules: dict[str, Callable[[str], None]] = {
            "expr_str": self._expression,
            "guards_code": self._guard,
            "target": require_operator,
            "as_operator": require_operator,
            "in_spec": require_tree_spec,
            "out_spec": require_tree_spec,
            "type": _require_word,
            "class_fqn": _refuse_object,
            **dict.fromkeys(("as_float", "as_floats", "as_float_lists", "real", "imag"), _require_number),
            **dict.fromkeys(("name", "as_name", "forward_arg_names", "field_names", "user_input_name"), _require_name),
            **dict.fromkeys(
                ("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "fqn"), _require_path
            ),
            **dict.fromkeys(("as_string", "as_strings", "torch_version", "verifiers"), _accept),
        }

    def screen(self, program: Any) -> None:
        """Walks the whole description; not by recursion, as the file says how deep it is."""
        if not isinstance(program, dict):
            raise ExpressionError("the description of its program is damaged")
        waiting: list[tuple[str, Any, int]] = [("", program, 0)]
        while waiting:
            field, value, depth = waiting.pop()
            if depth > DEEPEST:
                raise ExpressionError(f"the description of its program is nested more than {DEEPEST} deep")
            if isinstance(value, dict):
                items = cast("dict[str, Any]", value)
                if field in self._rules:
                    raise ExpressionError(f"its field {quoted(field)} is not a text")
                if field in _BY_NAME:
                    for key in items:
                        _BY_NAME[field](key)
                    waiting += [(f"{field}.{key}", item, depth + 1) for key, item in items.items()]
                else:
                    unknown = items.keys() - _FIELDS - self._rules.keys() - _BY_NAME.keys()
                    if unknown:
                        raise ExpressionError(f"it has a field {quoted(min(unknown))}, which torch does not write")
                    waiting += [(key, item, depth + 1) for key, item in items.items()]
            elif isinstance(value, list):
                waiting += [(field, item, depth + 1) for item in cast("list[Any]", value)]
            elif isinstance(value, str):
                self._rule(field)(value)
            elif isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
                raise ExpressionError(f"its field {quoted(field)} has an integer of {value.bit_length()} bits")

    def _rule(self, field: str) -> Callable[[str], None]:
        if field.startswith("metadata."):
            return _NOTES.get(field.removeprefix("metadata."), _accept)
        return self._rules.get(field, _refuse_text(field))

    def _expression(self, text: str) -> None:
        if text not in self._expressions:
            extent_of(text)
            self._expressions.add(text)
            if len(self._expressions) > MOST_EXPRESSIONS:
                raise ExpressionError(f"it has more than {MOST_EXPRESSIONS} different sizes")

    def _guard(self, text: str) -> None:
        self._guards += 1
        if self._guards > MOST_GUARDS:
            raise ExpressionError(f"it has more than {MOST_GUARDS} conditions")
        parse_guard(text)


def _refuse_text(field: str) -> Callable[[str], None]:
    def refuse(text: str) -> None:
        raise ExpressionError(f"its field {quoted(field)} holds the text {quoted(text)}")

    return refuse


def _refuse_object(text: str) -> None:
    raise ExpressionError(f"it holds an object of the class {quoted(text)}; tensors alone are read")


def _require_name(text: str) -> None:
    """Names of values and arguments: torch writes them into the code of the module."""
    if text and (len(text) > 1000 or not text.isascii() or not text.isidentifier() or keyword.iskeyword(text)):
        raise ExpressionError(f"{quoted(text)} is not a name of a value")


_PATH = re.compile(r"[^\x00-\x1f\x7f\"'\\]{0,1000}")


def _require_path(text: str) -> None:
    """Paths of modules and weights, which torch writes into code between quotes."""
    if not _PATH.fullmatch(text):
        raise ExpressionError(f"{quoted(text)} is not a path of a module or weight")


def _require_word(text: str) -> None:
    if not re.fullmatch(r"[a-z_]{1,20}", text):
        raise ExpressionError(f"{quoted(text)} is not a device")


def _require_number(text: str) -> None:
    if text not in ("Infinity", "-Infinity", "NaN"):
        raise ExpressionError(f"{quoted(text)} is not a number")


def _require_range(text: str) -> None:
    """Torch counts from zero up to the number in the name of each size that data decide."""
    if not SYMBOL.fullmatch(text) or (text.startswith(("u", "zuf")) and int(text.lstrip("zuf")) > MOST_EXPRESSIONS):
        raise ExpressionError(f"{quoted(text)} is not a name of a size")


def _require_functions(text: str) -> None:
    """What the author called, which torch looks up and does not call: names, each with a path of modules."""
    if not re.fullmatch(r"(?:\w+,(?!__)\w+(?:[.:](?!__)\w+)*;?)*", text, re.ASCII):
        raise ExpressionError(f"{quoted(text)} names no functions")


def _require_printable(text: str) -> None:
    if not text.isprintable():
        raise ExpressionError(f"{quoted(text)} holds control characters")


def _accept(text: str) -> None:
    """Strings that are values, not names: they are never looked up, and written as code only within `repr`."""


def _require_note(text: str) -> None:
    if not re.fullmatch(r"\w{1,40}", text, re.ASCII):
        raise ExpressionError(f"{quoted(text)} is not a kind of note")


_NOTES: dict[str, Callable[[str], None]] = {
    "source_fn_stack": _require_functions,
    "nn_module_stack": _require_printable,
    "torch_fn": _require_printable,
}
"""The notes of torch on a node that it looks up or that we quote. Others are never looked at."""

_FIELDS = frozenset({
    # a program and its graph
    "graph_module", "opset_version", "schema_version", "major", "minor", "graph", "signature", "module_call_graph",
    "inputs", "outputs", "nodes", "is_single_tensor_return", "is_hop_single_tensor_return", "arg", "kind",
    # sizes and tensors
    "hint", "as_expr", "min_val", "max_val", "dtype", "sizes", "requires_grad", "device", "strides",
    "storage_offset", "layout", "index",
    # values
    "as_none", "as_tensor", "as_tensors", "as_int", "as_ints", "as_sym_int", "as_sym_ints", "as_scalar_type",
    "as_memory_format", "as_layout", "as_device", "as_bool", "as_bools", "as_sym_bool", "as_sym_bools", "as_graph",
    "as_optional_tensors", "as_optional_tensor", "as_sym_float", "as_sym_floats", "as_complex", "as_nested_tensors",
    "as_int_lists",
    # roles of inputs and outputs
    "input_specs", "output_specs", "user_input", "parameter", "buffer", "persistent", "tensor_constant", "token",
    "constant_input", "value", "user_output", "loss_output", "as_custom_obj", "custom_obj", "buffer_mutation",
    "parameter_mutation", "gradient_to_parameter", "gradient_to_user_input", "user_input_mutation",
})  # fmt: skip
"""The fields without text of their own, by torch's schema of its versions 2.11 to 2.13."""

_BY_NAME: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values"), _require_name),
    "as_string_to_argument": _require_name,
    "custom_obj_values": _require_name,
    "range_constraints": _require_range,
    "opset_version": _require_note,
    "metadata": _require_note,
    "treespec_namedtuple_fields": _require_path,
}
"""The fields that hold an object whose keys are names, with the rule for these."""
