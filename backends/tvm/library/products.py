"""Kernels of products with weights or between tensors, of the rows of tables, and of experts."""

from __future__ import annotations

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.choices import (
    EMBEDDING,
    EXPERTS,
    EXPERTS_BY_CODES,
    EXPERTS_OF_TENSORS,
    LINEAR,
    LOOPS,
    MATMUL,
    ROUNDED,
    WEIGHT_ONLY,
)
from graphwright.backends.tvm.library.conditions import (
    DOUBLE,
    FLOATS,
    NARROW,
    SINGLE,
    known_groups,
    multiplied_table,
    rounded_table,
    stored_codes,
    stored_expert_codes,
    stored_experts,
    stored_rows,
    stored_weight,
)
from graphwright.backends.tvm.library.layouts import CODES, PAIRS, PANELS
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.bf16 import bf16_linear
from graphwright.ir.dialects.cpu.memory import STORED
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.types import DType

STORED_WEIGHTS = "graphwright.backends.tvm.emit.stored_weights"
TENSORS = "graphwright.backends.tvm.emit.matrix"
MIXED = "graphwright.backends.tvm.emit.experts"
TABLES = "graphwright.backends.tvm.emit.indexing"

PRODUCTS = (
    Kernel(
        ops.linear,
        NARROW,
        stored_codes,
        quantized=True,
        name="linear_by_codes",
        body=f"{STORED_WEIGHTS}:emit_linear_by_codes",
        layouts={"weight": CODES},
        choices=WEIGHT_ONLY,
    ),
    Kernel(
        ops.linear,
        NARROW,
        stored_weight,
        name="linear",
        body=f"{STORED_WEIGHTS}:emit_linear",
        layouts={"weight": PANELS},
        choices=LINEAR,
    ),
    Kernel(ops.linear, NARROW, name="linear_of_tensors", body=f"{TENSORS}:emit_linear_of_tensors", choices=MATMUL),
    Kernel(ops.linear, DOUBLE, name="linear_by_loops", body=f"{TENSORS}:emit_linear_by_loops", choices=LOOPS),
    Kernel(
        rounded_linear,
        NARROW,
        known_groups,
        quantized=True,
        name="rounded_linear",
        body=f"{STORED_WEIGHTS}:emit_rounded_linear",
        layouts={"weight": CODES},
        choices=ROUNDED,
    ),
    Kernel(
        bf16_linear,
        SINGLE,
        stored_weight,
        name="bf16_linear",
        body=f"{STORED_WEIGHTS}:emit_bf16_linear",
        layouts={"weight": PAIRS},
        choices=LINEAR,
    ),
    Kernel(ops.matmul, NARROW, name="matmul", body=f"{TENSORS}:emit_matmul", choices=MATMUL),
    Kernel(ops.matmul, DOUBLE, name="matmul_by_loops", body=f"{TENSORS}:emit_matmul_by_loops", choices=LOOPS),
    Kernel(ops.convolution, FLOATS, name="convolution", body=f"{TENSORS}:emit_convolution", choices=LOOPS),
    Kernel(
        ops.moe_experts,
        NARROW,
        stored_expert_codes,
        quantized=True,
        name="experts_by_codes",
        body=f"{MIXED}:emit_experts_by_codes",
        layouts={"gate_up": CODES, "down": CODES},
        choices=EXPERTS_BY_CODES,
    ),
    Kernel(
        ops.moe_experts,
        NARROW,
        stored_experts,
        name="experts",
        body=f"{MIXED}:emit_experts",
        layouts={"gate_up": PANELS, "down": PANELS},
        choices=EXPERTS,
    ),
    Kernel(
        ops.moe_experts,
        NARROW,
        name="experts_of_tensors",
        body=f"{MIXED}:emit_experts_of_tensors",
        choices=EXPERTS_OF_TENSORS,
    ),
)

ROWS_OF_TABLES = (
    Kernel(
        ops.embedding,
        NARROW,
        multiplied_table,
        name="embedding_of_panels",
        body=f"{TABLES}:emit_embedding_of_panels",
        layouts={"weight": PANELS},
        choices=EMBEDDING,
    ),
    Kernel(
        ops.embedding,
        SINGLE,
        rounded_table,
        name="embedding_of_pairs",
        body=f"{TABLES}:emit_embedding_of_pairs",
        layouts={"weight": PAIRS},
        choices=EMBEDDING,
    ),
    Kernel(
        ops.embedding,
        NARROW,
        stored_rows,
        name="embedding_of_rows",
        body=f"{TABLES}:emit_embedding_of_rows",
        choices=EMBEDDING,
    ),
    Kernel(ops.embedding, STORED, name="embedding", body=f"{TABLES}:emit_embedding", choices=LOOPS),
    Kernel(
        ops.quantized_embedding,
        frozenset({DType.I64}),
        stored_codes,
        quantized=True,
        name="quantized_embedding",
        body=f"{STORED_WEIGHTS}:emit_quantized_embedding",
        layouts={"weight": CODES},
    ),
)

KERNELS = (*PRODUCTS, *ROWS_OF_TABLES)
