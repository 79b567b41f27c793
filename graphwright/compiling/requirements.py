"""The packages that only a part of Graphwright needs, and what to say where one is not installed."""

from importlib.util import find_spec

from graphwright.errors import UsageError

COMPILER = ("torch", "onnx", "networkx", "scipy")
EXTRAS = {
    **dict.fromkeys(COMPILER, "compile"),
    "transformers": "hf",
    "tvm": "tvm",
    "onnxruntime": "cpu",
}
"""The extra of pyproject.toml that brings a package, by the name under which it is imported."""


def require_compiler() -> None:
    """Raises UsageError where what compiles models is not installed. Imports none of it."""
    missing = [name for name in COMPILER if find_spec(name) is None]
    if missing:
        raise UsageError(how_to_install(missing[0]))


def how_to_install(package: str) -> str:
    """What to say of a package of `EXTRAS` that is not there. Graphwright is installed from a clone of it."""
    extra = EXTRAS[package]
    what = {
        "compile": "only what runs artifacts is installed, and this needs the compiler",
        "hf": "checkpoint directories need the package transformers",
        "tvm": "this needs the package apache-tvm",
        "cpu": "running models needs the package onnxruntime",
    }[extra]
    # A checkpoint, as most models are, needs both.
    extras = "compile,hf" if extra == "compile" else extra
    return (
        f"{what} ({package} is missing): in the clone of Graphwright, run `pip install -e '.[{extras}]'`, "
        "or with '.[all]' for everything"
    )
