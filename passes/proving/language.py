"""The trial of a language model: rows of tokens in one piece, in pieces, one by one, and as a ragged batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Interpreter, Program, Value
from graphwright.ir.convention import (
    BATCH,
    CHOSEN,
    CONTEXT,
    CONTEXT_LENGTH,
    DECODE,
    DECODER_INPUT_IDS,
    ENCODE,
    FORWARD,
    INPUT_IDS,
    LENGTH_AFTER,
    LOGIT_POSITIONS,
    LOGITS,
    POSITIONS,
    PREFILL,
    PRESENT,
    SEQUENCE,
    fixed_sizes,
    is_decoder,
    main_graph,
    step_graph,
    step_graphs,
)
from graphwright.ir.lazy import torch
from graphwright.passes.proving.answers import Answer, Step, Truth
from graphwright.passes.proving.cached import CachedRun, Context, encoded, padded
from graphwright.passes.proving.inputs import (
    as_declared,
    chosen,
    index_bound,
    random_input,
    result,
    smallest_rows,
)

if TYPE_CHECKING:
    from torch import Tensor

PIECES = (7, 1, 1, 3, 5, 1, 1, 9)
"""How many tokens a ragged batch takes at a time; the last is repeated."""
DECODED = 6
"""Tokens of the longest row that are decoded one by one."""
PADDING = 5
SEED = 3


@dataclass(frozen=True)
class LanguageTrial:
    """Rows of token ids (i64 [length], the longest first) and, for encoder-decoders, the context of each."""

    rows: list[Tensor]
    contexts: list[Context]

    # -- the truth

    def truth(self, program: Program, interpreter: Interpreter) -> Truth:
        """Logits [length, vocabulary] of each row by itself, and where there is no cache yet, of other shapes."""
        truth = {f"row {i}": self._alone(program, interpreter, i).values for i in range(len(self.rows))}
        if not is_decoder(program):
            truth |= {a.key: a.values for a in self._other_shapes(program, interpreter)}
        return truth

    def whole(self, program: Program, interpreter: Interpreter, key: str) -> Step | None:
        """The run of a row by itself."""
        name, _, row = key.partition(" ")
        return self._alone(program, interpreter, int(row)).step if name == "row" else None

    # -- the answers

    def answers(self, program: Program, interpreter: Interpreter) -> Iterator[Answer]:
        yield self._alone(program, interpreter, 0)
        if not is_decoder(program):
            yield from self._other_shapes(program, interpreter)
            return
        first = max(1, len(self.rows[0]) - DECODED)
        for name, rows, pieces in self._phases(program):
            yield from self._fed(program, interpreter, name, rows, pieces)
        yield from self._fed(
            program, interpreter, "prefill, then decode", [0], [first, *[1] * (len(self.rows[0]) - first)]
        )
        yield from self._fed(program, interpreter, "ragged batch", range(len(self.rows)), self._pieces())

    def _phases(self, program: Program) -> Iterator[tuple[str, Sequence[int], list[int]]]:
        """For each graph that takes a fixed number of tokens: how it is called, rows and pieces for which it runs.

        Where none takes a single one, `prefill` does, as `decode` would.
        """
        general, short = program.graphs[PREFILL], len(self.rows[-1])
        numbers = {graph: fixed_sizes(graph, general) for graph in step_graphs(program)}
        fixed = {graph: sizes[SEQUENCE] for graph, sizes in numbers.items() if SEQUENCE in sizes}
        if 1 not in fixed.values():
            yield DECODE, [len(self.rows) - 1], [1] * short
        for graph, tokens in fixed.items():
            for batch in range(1, len(self.rows) + 1):
                if step_graph(program, {BATCH: batch, SEQUENCE: tokens, POSITIONS: tokens}) is graph:
                    rows = range(len(self.rows) - batch, len(self.rows))
                    yield graph.name, rows, [tokens] * -(-short // tokens)
                    break

    def _pieces(self) -> list[int]:
        pieces: list[int] = []
        while (left := len(self.rows[0]) - sum(pieces)) > 0:
            pieces.append(min(left, PIECES[min(len(pieces), len(PIECES) - 1)]))
        return pieces

    def _alone(self, program: Program, interpreter: Interpreter, row: int) -> Answer:
        """A row in one piece; a cached program is asked for its logits from the last to the first."""
        ids, key = self.rows[row], f"row {row}"
        if not is_decoder(program):
            graph, inputs, logits = self._forward(program, interpreter, ids[None], [row])
            return Answer(FORWARD, key, torch.arange(len(ids)), logits[0], Step(graph, inputs, 0, 0, len(ids)))
        contexts = self.contexts[row : row + 1]
        run = CachedRun(program, interpreter, 1, len(ids) + 2, contexts)
        backwards = torch.arange(len(ids)).flip(0)
        ran = run.step(ids[None], torch.tensor([len(ids)]), backwards[None])
        chosen = LOGIT_POSITIONS in ran.inputs
        logits = ran.logits[0].flip(0) if chosen else ran.logits[0]
        return Answer(PREFILL, key, torch.arange(len(ids)), logits, Step(ran.graph, ran.inputs, 0, 0, len(ids)))

    def _other_shapes(self, program: Program, interpreter: Interpreter) -> Iterator[Answer]:
        """One token, and rows of the shortest one's length as a batch. Without a cache an answer may not depend on
        what follows it, but need not: these have a truth of their own."""
        length = len(self.rows[-1])
        batch = torch.stack([row[:length] for row in self.rows])
        for name, ids in (("one token", self.rows[0][None, :1]), ("batch", batch)):
            graph, inputs, logits = self._forward(program, interpreter, ids, [0] * len(ids))
            for row, each in enumerate(logits):
                step = Step(graph, inputs, row, 0, len(each))
                yield Answer(name, f"{name}, row {row}", torch.arange(len(each)), each, step)

    def _forward(
        self, program: Program, interpreter: Interpreter, ids: Tensor, contexts: Sequence[int]
    ) -> tuple[Graph, dict[str, Tensor], Tensor]:
        graph = program.graphs[FORWARD]
        given = {INPUT_IDS: ids, DECODER_INPUT_IDS: ids}
        if self.contexts:
            rows = [self.contexts[i] for i in contexts]
            if ENCODE in program.graphs:
                given |= encoded(program.graphs[ENCODE], interpreter, rows)
            else:
                given |= as_declared(graph, {name: padded([row[name] for row in rows]) for name in rows[0]})
        inputs = chosen(graph, given)
        return graph, inputs, result(graph, interpreter.run(graph, inputs), LOGITS)

    def _fed(
        self, program: Program, interpreter: Interpreter, case: str, rows: Sequence[int], pieces: Sequence[int]
    ) -> Iterator[Answer]:
        """The rows in pieces. Each takes one token less of a piece than the row before it, though at least one, until
        it ends: so rows go on behind padding, which must have left no trace."""
        tokens = [self.rows[row] for row in rows]
        contexts = [self.contexts[row] for row in rows] if self.contexts else ()
        run = CachedRun(program, interpreter, len(rows), len(tokens[0]) + max(pieces), contexts)
        past = [0] * len(rows)
        for size in pieces:
            parts = [t[p : p + max(size - i, 1)] for i, (t, p) in enumerate(zip(tokens, past, strict=True))]
            ids = torch.stack([torch.nn.functional.pad(part, (0, size - len(part)), value=PADDING) for part in parts])
            new = torch.tensor([len(part) for part in parts])
            ran = run.step(ids, new, torch.arange(size).expand(len(rows), size).contiguous())
            for i, part in enumerate(parts):
                places = past[i] + torch.arange(len(part))
                step = Step(ran.graph, ran.inputs, i, past[i], len(part))
                if len(part):
                    yield Answer(case, f"row {rows[i]}", places, ran.logits[i, : len(part)], step)
                past[i] += len(part)


def tokens_of(program: Program) -> Value | None:
    """The token ids that a program makes logits [B, S, V] of; None if it is not a language model."""
    graph = main_graph(program)
    if graph is None:
        return None
    if {name for name in graph.outputs if not name.startswith(PRESENT)} - {CHOSEN, LENGTH_AFTER} != {LOGITS}:
        return None
    by_name = {str(v.name): v for v in graph.inputs}
    tokens = by_name.get(DECODER_INPUT_IDS) or by_name.get(INPUT_IDS)
    if tokens is None or graph.outputs[LOGITS].type.rank != 3 or tokens.type.rank != 2:
        return None
    alone = graph.name == PREFILL or tokens.name == DECODER_INPUT_IDS
    others = [name for name in by_name if name != tokens.name and not name.startswith(CONTEXT)]
    return tokens if alone or not others else None


def language_trial(program: Program, lengths: Sequence[int]) -> LanguageTrial:
    """Rows of these lengths, longest first, with tokens whose embeddings are near zero among them."""
    generator = torch.Generator().manual_seed(SEED)
    tokens = tokens_of(program)
    assert tokens is not None, f"{program.name} is not a language model"
    graph = main_graph(program)
    assert graph is not None, "it has tokens"
    rows = [torch.randint(index_bound(graph, tokens) or 2, (n,), generator=generator) for n in lengths]
    for row in rows:
        for place, token in zip((0, len(row) // 2, len(row) - 2), smallest_rows(graph, tokens, 3), strict=False):
            row[max(0, place)] = token
    source = program.graphs.get(ENCODE) or (graph if tokens.name == DECODER_INPUT_IDS else None)
    contexts: list[Context] = []
    for length in (13, 21, 6) if source is not None else ():
        assert source is not None
        sizes = dict.fromkeys(source.symbols, length) | {BATCH: 1}
        given = [v for v in source.inputs if v is not tokens and v.name != CONTEXT_LENGTH]
        contexts.append({str(v.name): random_input(source, v, sizes, generator)[0] for v in given})
    return LanguageTrial(rows, contexts)
