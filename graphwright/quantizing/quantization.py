"""Quantization of an optimized program: a scheme becomes passes, which run one by one and are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.compiling.pass_progress import PassProgress
from graphwright.errors import OptionError
from graphwright.files.temporary_folders import temporary_folder
from graphwright.ir import PassError
from graphwright.ir.convention import PREFILL, is_decoder
from graphwright.ir.pricing import prefill_forms
from graphwright.passes import Run
from graphwright.passes.quantization import Budget, parse_scheme, shares_embedding
from graphwright.quantizing.calibration import Calibration, write_tokens
from graphwright.quantizing.quantization_report import (
    DivergenceMeter,
    QuantizationReport,
    StepRow,
    cache_bits,
    weight_bytes,
)

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import Pass, PassRecord
    from graphwright.passes.quantization import Scheme
    from graphwright.runtime.token_rows import TokenSource

MIXED = "mixed"


@dataclass(frozen=True, eq=False)
class Quantization:
    """How to quantize: a scheme's name, and what its methods need.

    - `scheme`: as `w4a16-g128-gptq`; `docs/quantization.md` has the grammar
    - `calibration`: a text (UTF-8), a `.npy` of token ids, an array of them ([rows, length] or a stream), or `self`:
      text that the model writes itself; `calibration_rows` of `calibration_length` tokens, by default at most 32 of 512
    - `work`: a folder in which a long method keeps what is done, and takes up from there
    - `max_kl` (nats a token) or `bits` (a weight): for the scheme `mixed`, what it may cost
    """

    scheme: str = MIXED
    calibration: TokenSource | None = None
    calibration_rows: int | None = None
    calibration_length: int | None = None
    work: str | Path | None = None
    max_kl: float | None = None
    bits: float | None = None

    @property
    def tokens(self) -> Calibration:
        return Calibration(self.calibration, self.calibration_rows, self.calibration_length)

    @property
    def budget(self) -> Budget | None:
        return None if self.max_kl is None and self.bits is None else Budget(self.max_kl, self.bits)

    def check(self) -> None:
        """Raises PassError for a scheme that does not exist, OptionError for what it lacks, before any work is done."""
        scheme = parse_scheme(self.scheme)
        self.tokens.check()
        if scheme.needs_tokens and self.calibration is None:
            raise OptionError(
                f"{self.scheme} looks at what the model computes: give calibration (--calibration), a text or a .npy "
                "of token ids, or 'self', which lets the model write its own text"
            )
        if scheme.mixed and self.budget is None:
            raise OptionError("mixed precision needs a budget: give max_kl (nats a token) or bits (a weight)")
        if self.budget is not None and not scheme.mixed:
            raise OptionError(f"max_kl and bits choose formats by layer: the scheme is {MIXED}, not {self.scheme}")
        if self.max_kl is not None and self.bits is not None:
            raise OptionError("give max_kl or bits, not both")
        if any(number is not None and not number > 0 for number in (self.max_kl, self.bits)):
            raise OptionError("max_kl and bits must be greater than 0")


def requested_quantization(
    scheme: str | Quantization | None, calibration: TokenSource | None = None, **options: Any
) -> Quantization | None:
    """What the arguments of a function or command ask for, checked; None for nothing. Raises OptionError, PassError.

    A budget without a scheme is for the scheme `mixed`.
    """
    every: dict[str, Any] = {"calibration": calibration, **options}
    given = {name: value for name, value in every.items() if value is not None}
    if isinstance(scheme, Quantization):
        if given:
            raise OptionError(f"the Quantization says what to do already: leave out {', '.join(given)}")
        made = scheme
    elif scheme is None and given.keys().isdisjoint(("max_kl", "bits")):
        if given:
            raise OptionError(f"{', '.join(given)}: this is for quantization; name a scheme, as in w4a16-g128-gptq")
        return None
    else:
        made = Quantization(scheme or MIXED, **given)
    made.check()
    return made


def quantize_program(
    program: Program,
    quantization: Quantization,
    assets: str | Path | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
    *,
    measure: bool = False,
) -> tuple[QuantizationReport, list[PassRecord]]:
    """Quantizes an optimized program in place; `assets` is the folder with its tokenizer.

    With `measure`, its KL divergence from what it was is taken after every lossy step. Raises PassError where a pass
    refuses, and what reading calibration tokens raises.
    """
    scheme = parse_scheme(quantization.scheme)
    before = weight_bytes(program), cache_bits(program)
    meter = DivergenceMeter.of(program, on_stage) if measure else None
    rows: list[StepRow] = []
    with ExitStack() as stack:
        run = Run(program, PassProgress(on_stage))
        for each in _passes(program, scheme, quantization, assets, stack, on_stage):
            size = weight_bytes(program)
            run.step(each)
            kl = meter.divergence(program, on_stage) if meter is not None and each.lossy else None
            rows.append(StepRow(_shown(each), each.lossy, size, weight_bytes(program), kl))
        records = run.report().records
    notes = [*(meter.notes if meter is not None else ()), *_prefill_note(program)]
    after = weight_bytes(program), cache_bits(program)
    return QuantizationReport.of(scheme.text, before, after, rows, records, notes), records


def _prefill_note(program: Program) -> Iterator[str]:
    """What weights take in prefill as decode reads them, and what they would take in the other forms."""
    forms = prefill_forms(program.graphs[PREFILL], 1) if is_decoder(program) else ()
    if forms:
        packed, unpacked, copied = (round(form.weight_bytes / 1e6, 1) for form in forms)
        yield (
            f"prefill multiplies packed weights, as decode does: {packed} MB for both; unpacking them once a call "
            f"would hold {unpacked} MB, a second copy in float32 {copied} MB"
        )


def _shown(each: Pass) -> str:
    """The pass as the command line spells it, without the files that it works with."""
    files = [field.name for field in fields(each) if field.name in ("tokens", "folder")]
    return str(replace(each, **dict.fromkeys(files, "")))


def _passes(
    program: Program,
    scheme: Scheme,
    quantization: Quantization,
    assets: str | Path | None,
    stack: ExitStack,
    on_stage: Callable[[str], object],
) -> Sequence[Pass]:
    """The scheme's passes; the tokens that they read lie in a folder that `stack` clears away, or in the given one."""
    tokens, work = "", quantization.work
    if scheme.needs_tokens:
        on_stage("calibrate")
        rows = quantization.tokens.read(program, assets)
        folder = stack.enter_context(temporary_folder()) if work is None else work
        tokens = str(write_tokens(rows, Path(folder)))
    steps = scheme.steps(shares_embedding(program), tokens, "" if work is None else str(work), quantization.budget)
    passes = [step.make() for step in steps]
    if not passes:
        raise PassError(f"scheme '{scheme.text}' leaves everything as it is")
    return passes
