"""The intermediate representation: types, graphs, op declarations, text, verifier, interpreter, rewriting, targets."""

from graphwright.ir import dialects, ops
from graphwright.ir.builder import Builder
from graphwright.ir.dims import Dim
from graphwright.ir.errors import (
    IRTypeError,
    PassError,
    TextError,
    UnsupportedError,
    UserError,
    VerificationError,
    WeightError,
)
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.interpreter import Interpreter, run
from graphwright.ir.notices import Notice, notify
from graphwright.ir.program import Program, clone_graph
from graphwright.ir.text import parse_program, print_graph, print_program, read_program
from graphwright.ir.types import DType, QuantizedType, StateType, TensorType, Type, tensor
from graphwright.ir.verifier import verify, verify_graph
from graphwright.ir.weights import StoredArray, StoredFile, Weight

__all__ = [
    "Builder",
    "DType",
    "Dim",
    "Graph",
    "IRTypeError",
    "Interpreter",
    "Notice",
    "Op",
    "PassError",
    "Program",
    "QuantizedType",
    "StateType",
    "StoredArray",
    "StoredFile",
    "TensorType",
    "TextError",
    "Type",
    "UnsupportedError",
    "UserError",
    "Value",
    "VerificationError",
    "Weight",
    "WeightError",
    "clone_graph",
    "dialects",
    "notify",
    "ops",
    "parse_program",
    "print_graph",
    "print_program",
    "read_program",
    "run",
    "tensor",
    "verify",
    "verify_graph",
]
