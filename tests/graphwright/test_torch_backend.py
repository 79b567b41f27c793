"""torch.compile with this backend: numbers against eager, dynamic sizes, several graphs, and what is refused."""

from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from graphwright.errors import UsageError
from graphwright.torch_backend import graphwright
from tests.models.encoders import ENCODERS, make
from tests.tensors import manual_seed


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.project = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.register_buffer("shift", torch.randn(8))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, int, torch.Tensor]:
        h = torch.relu(self.norm(self.project(x)) + self.shift + y.sum())
        return h.flatten(1), x.shape[0] * 2 + 1, h.mean()


class Broken(nn.Module):
    """A graph break between two products."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        torch._dynamo.graph_break()
        return self.second(x).relu()


@pytest.fixture(autouse=True)
def _fresh() -> Generator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Callable[..., Any], dynamic: bool | None = None, **options: Any) -> Callable[..., Any]:
    library = cast(Any, torch)  # `compile` is partly untyped
    return library.compile(function, backend=graphwright, dynamic=dynamic, options={"threads": 1, **options})


@pytest.mark.parametrize("freeze", [False, True])
def test_sizes_that_were_not_compiled(freeze: bool) -> None:
    module = Block().eval()
    fast = compiled(module, freeze=freeze)
    with torch.no_grad():
        for batch, length in ((3, 4), (5, 4), (6, 7), (1, 4)):
            x, y = torch.randn(batch, length, 8), torch.randn(2)
            found, wanted = fast(x, y), module(x, y)
            assert found[1] == wanted[1]
            torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=2e-6)
            torch.testing.assert_close(found[2], wanted[2], rtol=1e-5, atol=2e-6)


@pytest.mark.slow
def test_a_transformer() -> None:
    module = make("bert")
    fast = compiled(module, dynamic=True, freeze=True)
    with torch.no_grad():
        for batch, length in ((2, 11), (4, 23)):
            inputs = ENCODERS["bert"].inputs(batch, length)
            torch.testing.assert_close(fast(**inputs).logits, module(**inputs).logits, rtol=1e-4, atol=1e-5)


def test_several_graphs() -> None:
    module = Broken().eval()
    fast, x = compiled(module), torch.randn(3, 4)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), module(x), rtol=1e-5, atol=1e-6)


def test_narrow_types_come_back() -> None:
    module = nn.Linear(4, 4).to(torch.bfloat16).eval()
    fast, x = compiled(module), torch.randn(3, 4, dtype=torch.bfloat16)
    with torch.no_grad():
        found = fast(x)
        assert found.dtype is torch.bfloat16
        torch.testing.assert_close(found, module(x))


def test_weights_that_change() -> None:
    module, x = nn.Linear(4, 4).eval(), torch.randn(3, 4)
    following, frozen = compiled(module), compiled(module, freeze=True)
    with torch.no_grad():
        following(x)
        module.weight.mul_(2)
        torch.testing.assert_close(following(x), module(x), rtol=1e-5, atol=1e-6)
        frozen(x)
        module.weight.mul_(2)
        with pytest.raises(UsageError, match="a frozen weight has changed"):
            frozen(x)


def test_numbers_that_change() -> None:
    def scaled(x: torch.Tensor, k: float) -> torch.Tensor:
        return x * k + 1

    fast, x = compiled(scaled, dynamic=True), torch.randn(3, 4)
    with torch.no_grad():
        for k in (0.5, 0.25, 3.0, 0.5):
            torch.testing.assert_close(fast(x, k), x * k + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "runs forward passes only: call the compiled module under torch.no_grad"),
        ({"speed": 9}, "has no option 'speed'; it has dialect, freeze, threads"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendCompilerFailed, match=message) as failure, torch.set_grad_enabled(not options):
        compiled(nn.Linear(4, 4), **options)(torch.randn(2, 4))
    assert isinstance(failure.value.inner_exception, UsageError)


def test_an_operator_without_importer_is_named() -> None:
    def medians(x: torch.Tensor) -> torch.Tensor:
        return x.median(-1).values

    with pytest.raises(BackendCompilerFailed, match=r"aten\.median\.dim.* there is no importer"), torch.no_grad():
        compiled(medians)(torch.randn(2, 4))
