"""What a user does with a model, on the emulator as on the CPU: ONNX Runtime says what is right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.runtime import GenerationArguments
from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder, Ids
from graphwright.runtime.engines.cuda import CudaCall, CudaExecutable
from graphwright.runtime.engines.cuda_values import CudaValue
from graphwright.runtime.evaluation import RuntimeLanguageModel, score
from tests.emulator.tiny import driver, reference, tiny

GREEDY: GenerationArguments = {"max_new_tokens": 3, "ignore_eos": True, "temperature": 0}
DRAWN: GenerationArguments = {**GREEDY, "max_new_tokens": 6, "temperature": 1.5, "top_k": 30, "seed": 1}
BOUND = 1e-4
"""Of logits below 10: float32 sums of up to 96 products, in two layers of five, in another order."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[CudaCall]:
    """The calls that a test makes."""
    made: list[CudaCall] = []
    original = CudaExecutable.calls

    def noted(self: CudaExecutable, count: int) -> list[CudaCall]:
        made.extend(found := list(original(self, count)))
        return found

    monkeypatch.setattr(CudaExecutable, "calls", noted)
    return made


def step(decoder: Decoder, ids: list[list[int]]) -> npt.NDArray[np.float32]:
    array = np.array(ids, np.int64)
    lengths = np.full(len(array), array.shape[1], np.int64)
    every: Ids = np.tile(np.arange(array.shape[1], dtype=np.int64), (len(array), 1))
    found = decoder.step(array, lengths, every).copy()
    decoder.cache.advance(lengths)
    return found


@pytest.mark.parametrize(
    ("prompts", "graph"),
    [
        ([[3, 4, 5]], "decode_one_row"),
        ([[3, 4, 5], [7], [8, 9]], "decode_4_rows"),
    ],
)
def test_rows_are_continued_as_on_the_cpu(prompts: list[list[int]], graph: str, calls: list[CudaCall]) -> None:
    """A batch of 3 runs as one of 4, with a row that is not used."""
    emulator, _ = driver()
    before = emulator.counts()
    assert tiny().generate(prompts, **GREEDY) == reference().generate(prompts, **GREEDY)
    assert [call.graph for call in calls] == [graph]
    after = emulator.counts()
    assert after.graphs == before.graphs + 2, "both steps of one token are launches of a graph"


def test_samples_are_those_of_the_cpu() -> None:
    asked: GenerationArguments = {**GREEDY, "temperature": 0.8, "top_k": 12, "top_p": 0.9, "seed": 3}
    assert tiny().generate([[3, 4]], **asked) == reference().generate([[3, 4]], **asked)


def test_a_conversation_goes_on_is_taken_back_and_forked() -> None:
    found = list[object]()
    for model in (tiny(), reference()):
        conversation = model.conversation(max_context=32)
        conversation.append([3, 4])
        first = conversation.complete(**GREEDY)
        conversation.rewind(2)
        twin = conversation.fork()
        conversation.append([9])
        found.append((first, conversation.complete(**GREEDY), twin.complete(**DRAWN)))
    assert found[0] == found[1]


def test_several_tokens_of_each_row_are_verified_by_a_graph_of_their_own(calls: list[CudaCall]) -> None:
    found = list[npt.NDArray[np.float32]]()
    for model in (tiny(), reference()):
        decoder = Decoder(KVCache(model.loaded.session, 2, 16))
        step(decoder, [[3, 4], [5, 6]])
        found.append(step(decoder, [[1, 2, 3], [4, 5, 6]]))
    assert calls[0].graph == "verify"
    assert np.abs(found[0] - found[1]).max() < BOUND


@pytest.mark.emulated_full
def test_a_batch_beyond_the_largest_bucket_runs_too(calls: list[CudaCall]) -> None:
    ids = [[row] for row in range(17)]
    found = [step(Decoder(KVCache(model.loaded.session, 17, 8)), ids) for model in (tiny(), reference())]
    assert calls[0].graph == "decode"
    assert np.abs(found[0] - found[1]).max() < BOUND


def test_evaluation_is_that_of_the_cpu() -> None:
    rows = np.arange(12, dtype=np.int64).reshape(2, 6)
    one, other = (score(RuntimeLanguageModel(model), rows) for model in (tiny(), reference()))
    assert abs(one.nats - other.nats) < BOUND


def test_a_step_after_other_sizes_is_planned_anew(calls: list[CudaCall]) -> None:
    """A capture of one row must not be replayed for what came behind it."""
    one, other = (Decoder(KVCache(model.loaded.session, 1, 16)) for model in (tiny(), reference()))
    for ids in ([3], [4], [5, 6], [7], [8]):
        assert np.abs(step(one, [ids]) - step(other, [ids])).max() < BOUND
    assert calls[0].graph == "decode_one_row"


def test_tokens_are_chosen_on_the_device_and_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [[3, 4, 5], [7]]
    expected = [reference().generate(prompts, **asked) for asked in (GREEDY, DRAWN)]
    sent = list[str]()
    update = CudaValue.update_inplace

    def noted(self: CudaValue, data: object) -> None:
        sent.append(str(getattr(data, "shape", None)))
        update(self, data)

    def refuse(*_: object) -> None:
        raise AssertionError("logits came to the host")

    with monkeypatch.context() as patched:
        patched.setattr(Decoder, "step", refuse)
        patched.setattr(CudaValue, "update_inplace", noted)
        assert tiny().generate(prompts, **GREEDY) == expected[0]
        first = len(sent)
        assert tiny().generate(prompts, **DRAWN) == expected[1]
        # The prompts; then how many tokens are new and wanted of each row, once. Tokens and lengths are there.
        assert len(sent) - first == first, "three more steps are sent nothing"
        others: list[GenerationArguments] = [{**DRAWN, "typical_p": 0.9}, {**GREEDY, "repetition_penalty": 1.5}]
        for asked in others:
            with pytest.raises(AssertionError, match="logits came"):
                tiny().generate(prompts, **asked)
    assert tiny().generate(prompts, **GREEDY) == expected[0]


def test_a_row_that_has_ended_does_not_hold_others_up() -> None:
    """Its tokens and lengths on the device are not those of the host any more."""
    prompts = [[3, 4, 5], [7]]
    rows = reference().generate(prompts, max_new_tokens=6, temperature=0, ignore_eos=True)
    assert isinstance(rows[0], list)
    end = rows[0][1]
    asked: GenerationArguments = {"max_new_tokens": 6, "temperature": 0, "stop_tokens": [end]}
    expected = reference().generate(prompts, **asked)
    assert tiny().generate(prompts, **asked) == expected
    assert {len(row) for row in expected if isinstance(row, list)} == {2, 6}
