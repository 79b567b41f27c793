"""The pass: formats for all weights, chosen within a budget of loss or of bits."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import PassError, Program
from graphwright.ir.machines import machine
from graphwright.ir.rewriting import NearMiss, Outcome
from graphwright.passes.base import Pass, register
from graphwright.passes.calibration import calibration_tokens
from graphwright.passes.compression.weights import chosen_weights
from graphwright.passes.quantization.mixed_precision.formats import FORMATS, KEPT, expression, parse_formats
from graphwright.passes.quantization.mixed_precision.search import within_bits, within_loss
from graphwright.passes.quantization.mixed_precision.task import Task
from graphwright.passes.quantization.weights import replace_linear_weight

RULE = "mixed-precision"


@register
@dataclass(frozen=True)
class MixedPrecision(Pass):
    """Each weight of a linear layer gets one of `formats` (joined by +; `float` leaves it), rounded to nearest.

    With `max_kl`, in nats a token, decoding becomes as fast as that loss allows, by the roofline on `machine`, else by
    bytes; with `bits` the loss becomes as small as so many bits a weight, scales included, allow. What a weight loses
    is measured on calibration `tokens`, a .npy file, and so is the loss of the whole, as losses need not add up.
    """

    name: ClassVar[str] = "mixed-precision"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE, *FORMATS)
    max_kl: float = 0.0
    bits: float = 0.0
    formats: str = "i4-g128+i4-g32+i8-g0+float"
    tokens: str = ""
    machine: str = ""

    def run(self, program: Program) -> Outcome:
        if (self.max_kl > 0) == (self.bits > 0) or min(self.max_kl, self.bits) < 0:
            raise PassError("mixed-precision: give max_kl=NATS or bits=NUMBER, one of them, more than 0")
        formats, on = parse_formats(self.formats), machine(self.machine) if self.machine else None
        tokens = calibration_tokens(program, self.tokens)
        outcome, chosen = Outcome(), chosen_weights(program, "all")
        if not chosen:
            return outcome
        task = Task.of(program, tokens, chosen, formats, on)
        picks = within_bits(task, self.bits) if self.bits else within_loss(task, self.max_kl)
        for name in chosen.keys() - task.options.keys():
            outcome.miss(RULE, chosen[name][0], 0, f"no calibration token reaches weight '{name}'")
        outcome.near_misses.append(NearMiss(RULE, "", 0, task.summary(picks)))
        for name, pick in zip(task.options, picks, strict=True):
            weight, layers = program.weights[name], chosen[name]
            if pick.format == KEPT:
                outcome.count(KEPT, 1, layers[0].location)
            else:
                replace_linear_weight(program, weight, f"{name}.{pick.format}", expression(weight, pick.format))
                outcome.hit(pick.format, layers[0], layers)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome
