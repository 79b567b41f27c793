"""The schemes of the table. Head and embedding stay as they are where the method is what is compared."""

_METHODS = ("-rtn", "", "-gptq", "-awq", "-awq-gptq")
_BODY = "+head=none+embedding=none"

SCHEMES: tuple[str, ...] = (
    *(f"w4a16-g32{method}{_BODY}" for method in _METHODS),
    *(f"w4a16-g128{method}{_BODY}" for method in _METHODS),
    *(f"w4a16-g32-asym{method}{_BODY}" for method in ("-rtn", "", "-gptq")),
    *(f"w3a16-g32{method}{_BODY}" for method in _METHODS),
    f"w4a16-g32-rotate{_BODY}",
    f"w4a16-g32-rotate-gptq{_BODY}",
    f"mxfp4{_BODY}",
    f"nvfp4{_BODY}",
    *("w8", "w8-sym-channel-rtn", "w8-sym-channel", "w8a8", "w8a8-smoothquant"),
    *("w4a16-g32", "w4a16-g32-gptq", "w4a8-g32", "w4a8-g128", "w4a8-g32-gptq", "w4a16-g32+head=w8"),
    *("kv8", "kv8-tensor", "kv4", "kv4-kivi", "w4a8-g32-gptq+kv8"),
)
