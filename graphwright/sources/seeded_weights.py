"""Models of which only the sizes matter: their weights are random numbers that a seed and their names tell.

A checkpoint's configuration is enough. Its weights are not read if they are there, and are never written: the program
has for each the op `seeded`, which whoever needs the numbers computes.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from graphwright.errors import OptionError

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.ir.types import QuantizedType
    from graphwright.ir.weights import Applied, StoredArray, StoredFile, WeightExpression

WEIGHTS = ("stored", "seed")
SPREAD = 2.0**-5
"""Of matrices, so that their standard deviation is 0.018: about what models are initialized with. Vectors, which scale
and shift, have it around 1."""
_TYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@contextmanager
def sized_checkpoint(directory: Path, asked: object = None) -> Generator[Path]:
    """A folder with the files of a checkpoint, and weights of its configuration's sizes that take no room on the disk.

    They are of the type that is asked for (`bf16`), else of the configuration's: what is converted is no seeded number.

    Raises what `frontend.capture` does for a configuration.
    """
    import torch

    from graphwright.frontend import hugging_face, hugging_face_inputs
    from graphwright.frontend.empty_model import empty_model
    from graphwright.frontend.weight_files import read_json

    settings = read_json(directory / "config.json")
    if "quantization_config" in settings:
        raise OptionError("fills the weights of a model of floats, and this checkpoint is quantized", "weights")
    config = hugging_face.read_config(directory, settings)
    named = str(settings.get("dtype", settings.get("torch_dtype", "float32"))).removeprefix("torch.")
    stored = str(asked).upper() if str(asked).upper() in _TYPES.values() else _TYPES.get(named, "F32")
    dtype = getattr(torch, next(name for name, short in _TYPES.items() if short == stored))
    build = hugging_face_inputs.model_class(config, settings, directory)
    model: Any = empty_model(build, config, directory, dtype)
    with TemporaryDirectory(prefix="graphwright-") as folder:
        for file in directory.iterdir():
            if file.is_file() and not file.name.endswith((".safetensors", ".bin", ".index.json", ".gguf", ".pth")):
                Path(folder, file.name).symlink_to(file.resolve())
        shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        _write_sparse(Path(folder, "model.safetensors"), shapes, stored)
        yield Path(folder)


def _write_sparse(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    from math import prod

    header: dict[str, object] = {}
    size = 0
    for name, shape in shapes.items():
        end = size + prod(shape) * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [size, end]}
        size = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)


def seed_codes(program: Program) -> None:
    """Makes the parts of each weight that is rounded from seeded numbers seeded numbers too.

    Then nobody has to make the numbers to round them. Values are about as large as before. Weights whose codes or
    scales are of other types than `seeded` makes stay.
    """
    from graphwright.ir import ops
    from graphwright.ir.types import QuantizedType
    from graphwright.ir.weights import Applied, sources

    for weight in program.weights.values():
        rounded, type = weight.expression, weight.type
        if not isinstance(rounded, Applied) or rounded.definition is not ops.round_to_nearest:
            continue
        assert isinstance(type, QuantizedType)
        if next(sources(rounded), None) is None and not type.tensor_scale:
            weight.expression = _seeded_parts(rounded, type) or rounded


def _seeded_parts(rounded: Applied, type: QuantizedType) -> WeightExpression | None:
    from graphwright.ir import ops
    from graphwright.ir.ops.seeded import WHOLE
    from graphwright.ir.types import DType
    from graphwright.ir.weights import Applied, expression_text

    if type.element not in WHOLE or type.scale_dtype not in (DType.F16, DType.BF16, DType.F32):
        return None
    least, largest = WHOLE[type.element]
    spread = float((largest - least + 1) // 2)
    middle = least + spread
    scale = SPREAD / spread
    numbers = {
        "codes": (spread, middle),
        "scales": (scale / 4, scale),
        "zero_points": (1.0, middle),
        "minimums": (SPREAD / 16, -SPREAD),
    }
    text = expression_text(rounded)
    parts: list[WeightExpression | None] = []
    for operand in ops.quantized.operands:
        part = type.parts.get(operand.name)
        if part is None:
            parts.append(None)
            continue
        spread, middle = numbers[operand.name]
        attributes = {
            "seed": _seed(f"{text} {operand.name}"), "spread": spread, "middle": middle, "dtype": part.dtype,
            "shape": part.shape,
        }  # fmt: skip
        parts.append(Applied.of(ops.seeded, (), attributes))
    made = Applied.of(ops.quantized, tuple(parts), {"group": type.group or 0, "axis": type.axis})
    assert made.type == type, f"{made.type} in place of {type}"
    return made


def _seed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4], "little") >> 1


def seed_weights(program: Program, seed: int = 0) -> None:
    """Makes each tensor of a file that the program's weights read random numbers of its name."""
    from graphwright.ir.weights import with_sources

    def seeded(source: StoredFile | StoredArray) -> WeightExpression:
        from graphwright.ir import ops
        from graphwright.ir.types import TensorType
        from graphwright.ir.weights import Applied, StoredFile

        if not isinstance(source, StoredFile) or not source.type.dtype.is_float:
            return source
        type = source.type
        assert isinstance(type, TensorType)
        number = _seed(f"{seed} {source.key}")
        middle = 0.0 if type.rank > 1 else 1.0
        attributes = {"seed": number, "spread": SPREAD, "middle": middle, "dtype": type.dtype, "shape": type.shape}
        return Applied.of(ops.seeded, (), attributes)

    for weight in program.weights.values():
        weight.expression = with_sources(weight.expression, seeded)
