"""`graphwright.quantize`: a model into a program in few bits, with what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphwright.compiling.compiler import Options, prepared_with_assets
from graphwright.compiling.report import Stopwatch
from graphwright.errors import OptionError
from graphwright.quantizing.quantization import Quantization, requested_quantization
from graphwright.sources.models import ModelOptions, Source, resolve

if TYPE_CHECKING:
    from graphwright.api import ModelLike
    from graphwright.ir import DType, Program
    from graphwright.passes import Pass
    from graphwright.quantizing.quantization_report import QuantizationReport
    from graphwright.runtime.token_rows import TokenSource


def quantize(
    model: ModelLike | Source,
    scheme: str | Quantization,
    *,
    calibration: TokenSource | None = None,
    pipeline: str | Sequence[Pass] | None = None,
    dtype: DType | str | None = None,
    max_context: int | None = None,
    assets: str | Path | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    logits: str | None = None,
    measure: bool = True,
    on_stage: Callable[[str], object] | None = None,
) -> tuple[Program, QuantizationReport]:
    """The program that `compile` would write, quantized, and what each step did to size and answers.

    `scheme` is a name, as `w4a16-g128`, `w4a8-g32-gptq`, `w8a8`, `w4a8-g128+kv8` (docs/quantization.md has the
    grammar), or a `Quantization`, which has more options. `calibration` is a text (UTF-8), a `.npy` of token ids, an
    array of them, or `self`; methods that look at what the model computes need one. With `measure`, the model writes
    some text before it is quantized, and the report says how far its predictions there have moved after every lossy
    step. The other arguments are those of `compile`, which takes the program.

    Raises errors for which `graphwright.is_user_error` holds, each one line that says what to do.
    """
    quantization = requested_quantization(scheme, calibration)
    if quantization is None:
        raise OptionError("there is no scheme to quantize to: name one, as in w4a16-g128")
    options = Options(pipeline=pipeline, dtype=dtype, max_context=max_context, assets=assets, quantization=quantization)
    source = resolve(model, ModelOptions(ignore_remote_code, logits, adapter))
    with prepared_with_assets(source, options, Stopwatch(on_stage), measure=measure) as prepared:
        assert prepared.quantization is not None, "it was asked for"
        return prepared.program, prepared.quantization
