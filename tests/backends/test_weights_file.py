"""The weights file: page aligned, a plain safetensors file, written one weight at a time."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from graphwright.backends.weights_file import PAGE, plan_weights, write_weights
from graphwright.ir import StoredArray, StoredFile, UnsupportedError, Weight, WeightError, ops, tensor
from graphwright.ir.safetensors_file import read_header
from graphwright.ir.weights import Applied
from tests.tensors import listed, load_file

SIZES = [(3, 5), (1024,), (7,), (2, 2, 2), (1,), (4096,)]


def _weights() -> list[Weight]:
    generator = torch.Generator().manual_seed(0)
    arrays = [torch.randn(size, generator=generator) for size in SIZES]
    arrays += [torch.randint(0, 100, (9,)), torch.randn(5).to(torch.bfloat16), torch.tensor([True, False])]
    return [Weight(f"w{i}", StoredArray.of(a)) for i, a in enumerate(arrays)]


def _write(path: Path, weights: list[Weight]) -> dict[str, tuple[int, int]]:
    layout = plan_weights(weights)
    write_weights(path, weights, layout)
    assert path.stat().st_size == layout.size
    return {name: (place.offset, place.length) for name, place in layout.places.items()}


def test_every_weight_begins_on_a_page_and_reads_back(tmp_path: Path) -> None:
    weights, path = _weights(), tmp_path / "w.safetensors"
    places = _write(path, weights)
    data = path.read_bytes()
    read = load_file(path)
    for weight in weights:
        value = weight.evaluate()
        assert torch.equal(read[weight.name], value)
        offset, length = places[weight.name]
        assert offset % PAGE == 0
        assert data[offset : offset + length] == bytes(value.contiguous().view(torch.uint8).flatten().numpy())


def test_other_readers_accept_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    _write(path, _weights())
    index = read_header(str(path))
    assert index["w0"] == tensor("f32", 3, 5)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends)), "the format allows no holes"


def test_lazy_transforms_are_applied_when_written(tmp_path: Path) -> None:
    base = StoredArray.of(torch.arange(6, dtype=torch.float32).reshape(2, 3))
    weight = Weight("t", Applied.of(ops.transpose, (base,), {"permutation": (1, 0)}))
    _write(tmp_path / "w.safetensors", [weight])
    assert listed(load_file(tmp_path / "w.safetensors")["t"]) == [[0, 3], [1, 4], [2, 5]]


def test_no_weights_make_a_valid_file(tmp_path: Path) -> None:
    _write(tmp_path / "w.safetensors", [])
    assert load_file(tmp_path / "w.safetensors") == {}


def test_one_weight_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[str] = []

    class Counting(Weight):
        def evaluate(self) -> torch.Tensor:
            alive.append(self.name)
            written = (tmp_path / "w.safetensors").stat().st_size
            assert written >= 4 * 65536 * (len(alive) - 2), "weights are gathered before they are written"
            return super().evaluate()

    weights = [Counting(f"w{i}", StoredArray.of(torch.full((65536,), float(i)))) for i in range(6)]
    _write(tmp_path / "w.safetensors", list(weights))
    assert alive == [w.name for w in weights]


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    gone = Weight("w", StoredFile(str(tmp_path / "gone.safetensors"), "w", tensor("f32", 2)))
    with pytest.raises(WeightError, match=r"gone\.safetensors: the file is missing"):
        _write(tmp_path / "w.safetensors", [gone])


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [("w", "f4e2m1", "cannot be stored"), ("padding.1", "f32", "names that begin with 'padding' are taken")],
)
def test_what_the_file_cannot_hold_is_refused(name: str, dtype: str, message: str) -> None:
    weight = Weight(name, StoredFile("nowhere", name, tensor(dtype, 2)))
    with pytest.raises(UnsupportedError, match=message):
        plan_weights([weight])
