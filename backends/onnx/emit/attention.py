"""Emission of attention and rotary embedding."""

from graphwright.backends.onnx.emit.emitter import MICROSOFT, Emission, Emitter
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.group_query import CODES_IN_A_BYTE, group_query_attention
from graphwright.ir.dialects.ort.operators import masked_attention, rotary_embedding
from graphwright.ir.graph import Op


def emit_rotary_embedding(e: Emitter, op: Op) -> None:
    type, pairs = op.inputs[0].tensor, op.required("cos").tensor.shape[1].evaluate({})
    heads = op.attribute("heads", int)
    size = type.shape[-1].evaluate({}) // (heads if type.rank == 3 else 1)
    # 0 stands for the whole head.
    turned = 2 * pairs if 2 * pairs < size else 0
    interleaved = int(op.attribute("interleaved", bool))
    e.results(
        op, "RotaryEmbedding", *e.operands(op), num_heads=heads, interleaved=interleaved, rotary_embedding_dim=turned
    )


def emit_masked_attention(e: Emitter, op: Op) -> None:
    e.results(
        op, "Attention", *e.operands(op), scale=op.attribute("scale", float), softcap=op.attribute("softcap", float)
    )


def emit_group_query_attention(e: Emitter, op: Op) -> None:
    query, past_key, past_value, last, total, query_length, key, value, cos, sin, sinks, *scales = e.operands(op)
    # position_ids and attention_bias, head_sink, k_scale and v_scale, norm weights
    between = ["", "", sinks, *scales, "", ""]
    window = op.attribute("window", int)
    e.results(
        op,
        "GroupQueryAttention",
        query,
        key,
        value,
        past_key,
        past_value,
        last,
        total,
        cos,
        sin,
        *between,
        query_length,
        domain=MICROSOFT,
        num_heads=op.attribute("heads", int),
        kv_num_heads=op.required("past_key").type.shape[1].evaluate({}),
        scale=op.attribute("scale", float),
        softcap=op.attribute("softcap", float),
        local_window_size=window if window else -1,
        do_rotary=int(bool(cos)),
        rotary_interleaved=int(op.attribute("interleaved", bool)),
        **_quantized(op),
    )


def _quantized(op: Op) -> dict[str, str | int]:
    """What says how the caches hold codes."""
    scale = op.operand("key_scale")
    if scale is None:
        return {}
    kind = "PER_CHANNEL" if scale.type.rank else "PER_TENSOR"
    bits = 8 // CODES_IN_A_BYTE[op.required("past_key").tensor.dtype]
    return {"k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": bits}


EMISSIONS: dict[OpDef, Emission] = {
    rotary_embedding: emit_rotary_embedding,
    masked_attention: emit_masked_attention,
    group_query_attention: emit_group_query_attention,
}
