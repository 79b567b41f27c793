"""What carries a recurrent state along the tokens."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import FEW, Constant, Emitter, fixed, power_of_two
from graphwright.backends.plan import Buffer
from graphwright.ir.graph import Op
from graphwright.ir.types import DType

KERNELS = "graphwright.backends.cuda.kernels.recurrence"
LEAST_TILE = 16
"""The least side of a tile that products take."""
MOST_KEYS = 128
"""With more of them the tiles of products do not fit registers."""


def emit_causal_conv(e: Emitter, op: Op) -> None:
    weight = op.required("weight").type
    batch, channels, tokens = op.required("x").type.shape
    width, dilation = fixed(weight.shape[2], "width"), op.attribute("dilation", int)
    least = 1 << (tokens.constant - 1).bit_length() if tokens.constant else e.settings["tokens"]
    across = min(e.settings["tokens"], least)
    # As many numbers a block where there are few tokens.
    block = e.settings["channels"] * (e.settings["tokens"] // across)
    constants: dict[str, Constant] = {
        "CHANNELS": fixed(channels, "channels"),
        "WIDTH": width,
        "DILATION": dilation,
        "PADDED_PAST": 1 << ((width - 1) * dilation - 1).bit_length(),
        "BC": block,
        "BT": across,
    }
    e.launch(
        "graphwright.backends.cuda.kernels.causal_conv:causal_conv",
        batch * e.quotient(channels, block) * e.quotient(tokens, across),
        _pointers(e, op, "x", "weight", "bias", "state", "new_length"), {"S": tokens}, constants,
        writes=("y", "last"), warps=e.settings["warps"],
    )  # fmt: skip


def emit_linear_recurrence(e: Emitter, op: Op) -> None:
    k, v = op.required("k").type, op.required("v").type
    batch, heads, tokens, values = v.shape
    groups, s = k.shape[1], e.settings
    shared: dict[str, Constant] = {
        "HEADS": fixed(heads, "heads"),
        "GROUPS": fixed(groups, "groups"),
        "KEYS": fixed(k.shape[3], "keys"),
        "VALUES": fixed(values, "values"),
    }
    if goes_by_products(op):
        constants: dict[str, Constant] = {
            "PADDED_KEYS": power_of_two(fixed(k.shape[3], "keys")),
            "BT": s["tile_tokens"],
            "BV": s["tile_values"],
            "EMULATED": e.gpu.emulated,
        }
        e.launch(
            f"{KERNELS}:by_products", batch * heads * e.quotient(values, s["tile_values"]),
            _pointers(e, op, "q", "k", "v", "decay", "rates", "state", "new_length"), {"S": tokens},
            {**shared, **constants}, writes=("y", "last"), warps=s["tile_warps"], stages=s["ahead"],
        )  # fmt: skip
        return
    decay, rates = op.operand("decay"), op.operand("rates")
    columns = fixed(heads, "heads") // fixed(groups, "groups") * fixed(values, "values")
    constants = {
        "DECAYS": 0 if decay is None else fixed(decay.type.shape[3], "decays"),
        "RATES": 0 if rates is None else fixed(rates.type.shape[1], "rates"),
        "PADDED_KEYS": 1 << (fixed(k.shape[3], "keys") - 1).bit_length(),
        "BC": s["columns"],
        "AHEAD": s["ahead"],
    }
    e.launch(
        f"{KERNELS}:token_by_token", batch * groups * -(-columns // s["columns"]),
        _pointers(e, op, "q", "k", "v", "decay", "rates", "beta", "state", "new_length"), {"S": tokens},
        {**shared, **constants}, writes=("y", "last"), warps=s["warps"],
    )  # fmt: skip


def goes_by_products(op: Op) -> bool:
    """Whether many tokens of an op go through products of tiles.

    Differences of sums of logarithms, of which the decays of a tile are made, are off by more than float32 allows.
    """
    k, v, decay, rates = op.required("k").type, op.required("v"), op.operand("decay"), op.operand("rates")
    tokens = v.type.shape[2].constant
    return (
        (tokens is None or tokens > FEW)
        and v.tensor.dtype is not DType.F32
        and op.operand("beta") is None
        and (decay is None or decay.type.shape[3].constant == 1)
        and (rates is None or rates.type.shape[1].constant == 1)
        and LEAST_TILE <= fixed(k.shape[3], "keys") <= MOST_KEYS
        and fixed(v.type.shape[3], "values") >= LEAST_TILE
    )


def emit_weighted_mean(e: Emitter, op: Op) -> None:
    batch, tokens, channels = op.required("key").type.shape
    constants: dict[str, Constant] = {
        "CHANNELS": fixed(channels, "channels"),
        "BC": e.settings["channels"],
        "AHEAD": e.settings["ahead"],
    }
    e.launch(
        f"{KERNELS}:weighted_mean", batch * e.quotient(channels, e.settings["channels"]),
        _pointers(e, op, "key", "value", "decay", "bonus", "state", "new_length"), {"S": tokens}, constants,
        writes=("y", "last"), warps=e.settings["warps"],
    )  # fmt: skip


def _pointers(e: Emitter, op: Op, *names: str) -> dict[str, Buffer | None]:
    given = {name: op.operand(name) for name in names}
    found = {name: None if v is None else e.buffer(v) for name, v in given.items()}
    return {**found, "y": e.make(op.results[0]), "last": e.make(op.results[1])}
