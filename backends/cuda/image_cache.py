"""Cubins, kept between compiles: to make one takes seconds, and models share most of them."""

from __future__ import annotations

import ast
import json
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from graphwright.backends.cuda.emit import TailVariant, Variant
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.images import Image
from graphwright.backends.cuda.toolchain import Toolchain
from graphwright.ir.cache_folder import Cache

CUBINS = Cache("cubins", most_bytes=256 << 20)
"""A cubin has some 20 KiB."""
KERNELS = "graphwright.backends.cuda.kernels"


def content_name(variant: Variant | TailVariant, gpu: Gpu, tools: Toolchain) -> str:
    """A name of which equal cubins alone have the same: of the variant, its kernel's source and all that this calls,
    the architecture and the versions of what compiles it."""
    if isinstance(variant, TailVariant):
        content = repr((variant, gpu.number, tools.nvrtc))
        return f"tail_{sha256(content.encode()).hexdigest()[:24]}"
    module, _, function = variant.body.partition(":")
    made = variant.parameters, sorted(variant.constants), variant.warps, variant.stages
    content = repr((variant.body, made, gpu.number, tools.triton, tools.ptxas, kernel_source(module)))
    return f"{function}_{sha256(content.encode()).hexdigest()[:24]}"


def kept_image(name: str) -> Image | None:
    """What is kept under this name, if anything whole."""
    content = CUBINS.kept(name)
    if content is None:
        return None
    facts, _, code = content.partition(b"\n")
    return Image(code, **json.loads(facts))


def keep_image(name: str, image: Image) -> None:
    """Keep this under the name, if there is a place that can be written to."""
    facts = {field: value for field, value in vars(image).items() if field != "code"}
    CUBINS.keep(name, json.dumps(facts).encode() + b"\n" + image.code)


@cache
def kernel_source(module: str) -> str:
    """The source of a module of kernels and of those that it imports, with how they are compiled, as a hash."""
    digest = sha256((Path(__file__).parent / "images.py").read_bytes())
    waiting, seen = [module], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        source = _path(name).read_bytes()
        digest.update(name.encode() + b"\n" + source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{KERNELS}."):
                waiting.append(str(node.module))
    return digest.hexdigest()


def _path(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None, f"{module} is a module of kernels"
    assert spec.origin is not None, f"{module} has a file"
    return Path(spec.origin)
