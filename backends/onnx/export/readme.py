"""The note that goes with a model for other runtimes: what to feed it and what comes out."""

from graphwright.backends.program_specs import shape_names
from graphwright.ir.convention import (
    ATTENTION_MASK,
    CONTEXT_LENGTH,
    INPUT_IDS,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST_LENGTH,
)
from graphwright.ir.graph import Graph, Value
from graphwright.ir.types import StateType

README_FILE = "README.txt"

NOTES = {
    INPUT_IDS: "new tokens of each row, padded on the right",
    PAST_LENGTH: "tokens already in each row's cache: new ones are written there",
    NEW_LENGTH: "how many of the new tokens are real, at least 1; the rest is padding",
    LOGIT_POSITIONS: "for which of the new tokens to compute logits: new_length - 1 to generate",
    CONTEXT_LENGTH: "how many tokens of each row's context are real; the rest is padding on the right",
    ATTENTION_MASK: "1 for real tokens, 0 for padding on either side; one column for each token so far",
    "position_ids": "ignored; positions follow from the mask",
    LOGITS: "scores of the next token",
}

STATES = {"contiguous": "cache", "ring": "ring cache", "recurrent": "recurrent state"}


def interface_note(graph: Graph, title: str, encoder: Graph | None = None) -> str:
    """The note as text."""
    lines = [title]
    if encoder is not None:
        lines += ["", "encoder.onnx runs once for each batch of contexts; its outputs are inputs of every step.", ""]
        lines += ["Inputs of encoder.onnx", *(_line(str(v.name), v) for v in encoder.inputs)]
    lines += ["", "Inputs"]
    lines += [_line(str(v.name), v) for v in graph.inputs]
    lines += ["", "Outputs"]
    lines += [_line(name, v) for name, v in graph.outputs.items()]
    layouts = {v.type.layout for v in graph.inputs if isinstance(v.type, StateType)}
    if "contiguous" in layouts:
        lines += [
            "",
            "A cache holds `capacity` tokens: at least the longest past plus all new tokens, padding included.",
            "Begin with zeros. Each present output is the past input with the new tokens written into it: bind both to",
            "one buffer.",
        ]
    if layouts - {"contiguous"}:
        lines += [
            "",
            "A ring cache or recurrent state has a fixed size. Begin with zeros. Bind its past input and its present",
            "output to two buffers, and feed the present one to the next step.",
        ]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Value) -> str:
    shape = ", ".join(map(str, shape_names(value.type.shape)))
    kept = STATES.get(value.type.layout, "") if isinstance(value.type, StateType) else ""
    note = NOTES.get(name, kept)
    return f"  {name}  {value.tensor.dtype}[{shape}]" + (f"  {note}" if note else "")
