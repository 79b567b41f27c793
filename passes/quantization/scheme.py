"""What a scheme of quantization asks for, and the passes that do it; `scheme_text.py` reads its name.

The passes go behind a pipeline, in this order: what moves scales between weights without loss (a rotation, AWQ,
SmoothQuant), then weights, the embedding, activations, and the KV cache.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, get_type_hints

from graphwright.ir import PassError, Program, ops
from graphwright.ir.attributes import Attribute, attribute_text, normalize
from graphwright.passes.base import REGISTRY, Pass

Rounding = Literal["rtn", "mse", "gptq"]
Fold = Literal["rotate", "awq", "smoothquant"]

ROUNDINGS: dict[Rounding, str] = {"rtn": "absmax", "mse": "mse", "gptq": "gptq"}
"""Methods that choose codes, as `quantize-weights` calls them."""
FOLDS: tuple[Fold, ...] = ("rotate", "awq", "smoothquant")
"""Methods that move scales before weights are rounded, in the order in which they run."""


@dataclass(frozen=True)
class Format:
    """How weights are stored (codes of `to`, one scale of type `scale` for each `group` inputs, 0: one a row, and a
    `minimum` if there is one), what the products over them round activations to (`i8`, or nothing), and how codes are
    chosen."""

    to: str
    group: int
    scale: str = "f32"
    activations: Literal["", "i8"] = ""
    rounding: Rounding = "mse"
    minimum: bool = False

    @property
    def stored(self) -> dict[str, Attribute]:
        minimum: dict[str, Attribute] = {"minimum": True} if self.minimum else {}
        return {"to": self.to, "group": self.group, "scale": self.scale, **minimum}


@dataclass(frozen=True)
class CacheFormat:
    """Bits of a number in the KV cache, and what has a scale of its own: by default each channel of a head.

    16 bits are f16, which has no scales.
    """

    bits: Literal[4, 8, 16]
    keys: Literal["tensor", "channel"] = "channel"
    values: Literal["tensor", "channel", "token"] = "channel"


@dataclass(frozen=True)
class Budget:
    """Formats are chosen layer by layer: at most so much KL divergence (nats a token), or so many bits a weight."""

    max_kl: float | None = None
    bits: float | None = None


@dataclass(frozen=True)
class Step:
    """A pass to make: its name and options."""

    name: str
    options: dict[str, Attribute]

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={attribute_text(value)}" for key, value in self.options.items())
        return f"{self.name}{{{shown}}}" if shown else self.name

    def make(self) -> Pass:
        """The pass. Raises `PassError` where there is none of the name, or it lacks an option."""
        if self.name not in REGISTRY:
            raise PassError(f"there is no pass '{self.name}'")
        cls = REGISTRY[self.name]
        hints = get_type_hints(cls)
        try:
            return cls(**{key: normalize(value, hints[key]) for key, value in self.options.items()})
        except (KeyError, TypeError) as problem:
            raise PassError(f"there is no pass {self}: {problem}") from None


@dataclass(frozen=True)
class Scheme:
    """Formats of the linear layers of the body, of the output head, of the embedding and of the KV cache (None: left as
    they are). `text` is the name that it was read from.

    `tied` says that an embedding is stored as the head is where both are one weight, and otherwise left as it is.
    """

    text: str
    body: Format | None = None
    head: Format | None = None
    embedding: Format | None = None
    tied: bool = False
    folds: tuple[Fold, ...] = ()
    cache: CacheFormat | None = None
    mixed: bool = False

    @property
    def needs_tokens(self) -> bool:
        """Whether a method looks at what a model computes, so that calibration tokens are needed."""
        looks = any(f is not None and f.rounding == "gptq" for f in (self.body, self.head))
        looks = looks or (self.cache is not None and self.cache.bits < 16)
        return looks or self.mixed or any(fold != "rotate" for fold in self.folds)

    def steps(self, tied: bool, tokens: str = "", folder: str = "", budget: Budget | None = None) -> Iterator[Step]:
        """The passes, in order, for a program whose embedding is the head's weight, or is not (`tied`).

        `tokens` names the `.npy` file of calibration tokens, `folder` where a long method keeps what is done.
        """
        yield from self._folds(tokens)
        for layers, each in self._layers():
            yield _weights(each, layers, tokens, folder)
        if self.mixed:
            assert budget is not None, "a mixed scheme is run with a budget"
            given = {"max_kl": budget.max_kl, "bits": budget.bits}
            chosen = {key: value for key, value in given.items() if value is not None}
            yield Step("mixed-precision", {**chosen, "tokens": tokens})
        embedding = self.head if self.tied and tied else self.embedding
        if embedding is not None:
            yield Step("quantize-embedding", {**embedding.stored, "method": _search(embedding)})
        for layers, each in self._layers():
            if each.activations:
                yield Step("quantize-activations", {"to": each.activations, "group": each.group, **_covering(layers)})
        if self.cache is not None and self.cache.bits == 16:
            yield Step("halve-cache", {})
        elif self.cache is not None:
            yield Step("quantize-cache", {**asdict(self.cache), "tokens": tokens})

    def _layers(self) -> list[tuple[str, Format]]:
        if self.body == self.head:
            return [] if self.body is None else [("all", self.body)]
        return [(layers, each) for layers, each in (("body", self.body), ("head", self.head)) if each is not None]

    def _folds(self, tokens: str) -> Iterator[Step]:
        for fold in self.folds:
            assert self.body is not None, "folds prepare weights that are rounded"
            given: dict[str, Attribute] = {"tokens": tokens, **_covering("all" if self.head == self.body else "body")}
            if fold == "rotate":
                yield Step("rotate-residual", {})
            elif fold == "awq":
                yield Step("awq", {**self.body.stored, "method": _search(self.body), **given})
            else:
                yield Step("smooth-quant", given)


def _weights(each: Format, layers: str, tokens: str, folder: str) -> Step:
    options: dict[str, Attribute] = {**each.stored, "method": ROUNDINGS[each.rounding], **_covering(layers)}
    if each.rounding == "gptq":
        options["tokens"] = tokens
        if folder:
            options["folder"] = f"{folder}/{layers}"
    return Step("quantize-weights", options)


def _covering(layers: str) -> dict[str, Attribute]:
    return {} if layers == "all" else {"layers": layers}


def _search(each: Format) -> str:
    """How scales are chosen where GPTQ does not choose codes: rows of an embedding are looked up one by one."""
    return ROUNDINGS["mse" if each.rounding == "gptq" else each.rounding]


def shares_embedding(program: Program) -> bool:
    """Whether the weight that token ids pick from is one that a linear layer multiplies by."""
    picked, multiplied = set[str](), set[str]()
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is ops.embedding and (weight := op.inputs[0].weight) is not None:
                picked.add(weight.name)
            if op.definition is ops.linear and (weight := op.required("weight").weight) is not None:
                multiplied.add(weight.name)
    return bool(picked & multiplied)
