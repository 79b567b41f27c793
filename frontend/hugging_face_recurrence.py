"""Recurrent layers of the transformers library, whose loops over tokens no trace of any length can hold.

The library writes each recurrence as a function of its own, known by the name of the kernel that may take its place
(`mamba_chunk_scan_combined`, say) whatever the model. While a model is traced, these functions are replaced by ones
that call one operator of ours. A replacement takes part only after it gave the same numbers as the library's function
on random inputs, and it refuses every argument that it does not model.
"""

import inspect
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from graphwright.frontend.aten.recurrence import linear_recurrence, weighted_mean
from graphwright.ir import UnsupportedError

Arguments = dict[str, Any]

TOLERANCE = 1e-4
"""Of the largest result: two orders of summation in float32 over some tens of tokens stay two digits below it."""


class NotModelledError(Exception):
    """A library function is given an argument that its replacement does not model."""


@dataclass(frozen=True)
class Replacement:
    """What stands for one of the library's functions, and the calls on which both must agree."""

    function: Callable[..., Any]
    probes: Callable[[Callable[..., Tensor]], Sequence[Arguments]]
    """Takes a source of random tensors by shape."""


# -- the functions, with the library's names of their arguments


def selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """Mamba's scan (Gu & Dao 2023, algorithm 2): every channel a head with one value."""
    if delta_bias is not None:
        dt = dt + delta_bias.to(dt.dtype)[..., None]
    if delta_softplus:
        dt = F.softplus(dt)
    step = dt.float()
    k, q = (x.float().transpose(1, 2)[:, None] for x in (B, C))
    v = (step * hidden_states.float())[..., None]
    y = linear_recurrence(q, k, v, step[..., None], A.float()).squeeze(-1).to(hidden_states.dtype)
    if D is not None:
        y = y + hidden_states * D[None, :, None]
    return y if z is None else y * F.silu(z)


def chunk_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    dt_limit: tuple[float, float],
) -> Tensor:
    """Mamba-2's state space dual (Dao & Gu 2024), without its chunks."""
    if dt_bias is not None:
        dt = dt + dt_bias.to(dt.dtype)
    if dt_softplus:
        dt = F.softplus(dt)
    step = dt.clamp(dt_limit[0], dt_limit[1]).float()
    x = hidden_states.float()
    q, k, v = (y.transpose(1, 2) for y in (C.float(), B.float(), x * step[..., None]))
    decay = (A.float() * step).transpose(1, 2)[..., None]
    y = linear_recurrence(q, k, v, decay).transpose(1, 2).contiguous()
    return y if D is None else y + D[..., None] * x


def gated_delta_rule(
    query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor, use_qk_l2norm_in_kernel: bool
) -> tuple[Tensor, None]:
    """The gated delta rule with a decay for each head, or for each key of a head."""
    q, k, v, rate, decay = (x.float().transpose(1, 2) for x in (query, key, value, beta, g))
    if use_qk_l2norm_in_kernel:
        q, k = (x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    decay = decay if decay.dim() == 4 else decay[..., None]
    y = linear_recurrence(q * q.shape[-1] ** -0.5, k, v, decay, None, rate)
    return y.transpose(1, 2).to(query.dtype), None


def wkv(time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
    """RWKV's attention."""
    y = weighted_mean(key.float(), value.float(), -time_decay.exp().float(), time_first.float())
    return y.to(key.dtype), None


# -- calls to compare


def _mamba_probes(random: Callable[..., Tensor]) -> list[Arguments]:
    def case(tokens: int, **more: Any) -> Arguments:
        shape = (2, 6, tokens)
        inputs = {"hidden_states": random(*shape), "dt": random(*shape), "A": -random(6, 4).abs()}
        return {**inputs, "B": random(2, 4, tokens), "C": random(2, 4, tokens), **more}

    whole = {"D": random(6), "z": random(2, 6, 5), "delta_bias": random(6), "delta_softplus": True}
    return [case(1), case(5, **whole), case(9, delta_softplus=True), case(7, D=random(6))]


def _mamba2_probes(random: Callable[..., Tensor]) -> list[Arguments]:
    def case(tokens: int, **more: Any) -> Arguments:
        inputs = {"hidden_states": random(2, tokens, 6, 4), "dt": random(2, tokens, 6), "A": -random(6).abs()}
        keys = {"B": random(2, tokens, 3, 5), "C": random(2, tokens, 3, 5)}
        return {**inputs, **keys, "chunk_size": 4, "dt_softplus": True, **more}

    limits = {"dt_limit": (0.3, 0.7), "D": random(6), "dt_bias": random(6)}
    return [case(1), case(11, **limits), case(8, D=random(6)), case(3, dt_softplus=False, dt_limit=(-1.0, 1.0))]


def _delta_probes(*decay: int) -> Callable[[Callable[..., Tensor]], Sequence[Arguments]]:
    def probes(random: Callable[..., Tensor]) -> list[Arguments]:
        def case(tokens: int, **more: Any) -> Arguments:
            # A key of norm one keeps the rule stable, whether or not it is normalized once more.
            key = F.normalize(random(2, tokens, 4, 5), dim=-1)
            inputs = {"query": random(2, tokens, 4, 5), "key": key, "value": random(2, tokens, 4, 3)}
            gates = {"g": -random(2, tokens, 4, *decay).abs(), "beta": random(2, tokens, 4).sigmoid()}
            return {**inputs, **gates, "chunk_size": 4, **more}

        return [case(1), case(11, use_qk_l2norm_in_kernel=True), case(8)]

    return probes


def _wkv_probes(random: Callable[..., Tensor]) -> list[Arguments]:
    def case(tokens: int, scale: float) -> Arguments:
        inputs = {"key": scale * random(2, tokens, 6), "value": random(2, tokens, 6)}
        return {"time_decay": random(6), "time_first": random(6), **inputs}

    return [case(1, 1.0), case(7, 1.0), case(9, 60.0)]


REPLACEMENTS: dict[str, Replacement] = {
    "selective_scan_fn": Replacement(selective_scan, _mamba_probes),
    "mamba_chunk_scan_combined": Replacement(chunk_scan, _mamba2_probes),
    "chunk_gated_delta_rule": Replacement(gated_delta_rule, _delta_probes()),
    "chunk_kda": Replacement(gated_delta_rule, _delta_probes(5)),
    "rwkv_linear_attention": Replacement(wkv, _wkv_probes),
}
"""By the role of the function: the name of its kernel, or its own name if it has none."""

IMMATERIAL = frozenset({"chunk_size", "use_mambapy", "use_associative_scan"})
"""Arguments that say how to compute, not what."""


# -- putting them in


@contextmanager
def recurrences_as_operators(model: torch.nn.Module) -> Generator[None]:
    """While open, the library's recurrences that the model's classes see are operators of ours.

    Raises `UnsupportedError` where the library's function does not compute what its name says.
    """
    replaced: list[tuple[ModuleType, str, Any]] = []
    try:
        for module in _modules(model):
            for name, function in list(vars(module).items()):
                role = _role(function)
                if role in REPLACEMENTS:
                    _prove(function, role)
                    replaced.append((module, name, function))
                    setattr(module, name, _guarded(inspect.unwrap(function), role))
        yield
    finally:
        for module, name, function in replaced:
            setattr(module, name, function)


def _modules(model: torch.nn.Module) -> list[ModuleType]:
    """The library's Python modules whose names the methods of the model's classes see."""
    names = {cls.__module__ for part in model.modules() for cls in type(part).__mro__}
    return [sys.modules[name] for name in sorted(names) if name.startswith("transformers.models.")]


def _role(function: Any) -> str | None:
    """What a function of the library is for: the name of the kernel that its decorator was given, or its own name."""
    if not inspect.isfunction(function) or not function.__module__.startswith("transformers."):
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    kernel = cells["func_name"].cell_contents if "func_name" in cells else None
    return kernel if isinstance(kernel, str) else function.__name__


def _guarded(library: Callable[..., Any], role: str) -> Callable[..., Any]:
    """The replacement under the library's signature; raises `NotModelledError` for what it does not model."""
    replacement = REPLACEMENTS[role].function
    modelled = inspect.signature(replacement).parameters.keys()
    signature = inspect.signature(library)
    rest = next((p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD), "")

    @wraps(library)
    def call(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        bound.apply_defaults()
        given: Mapping[str, Any] = bound.arguments
        # What the signature does not name, the library drops: models pass their own options on to every layer.
        dropped: Mapping[str, Any] = given.get(rest, {})
        refused = [n for n, v in dropped.items() if isinstance(v, Tensor)]
        for name, value in given.items():
            if name not in {*modelled, *IMMATERIAL, rest} and value is not signature.parameters[name].default:
                refused.append(name)
        if refused:
            raise NotModelledError(f"{role} is given '{refused[0]}', which capture does not model")
        return replacement(**{name: given[name] for name in modelled})

    return call


def _prove(function: Any, role: str) -> None:
    problem = _difference(inspect.unwrap(function), role)
    if problem is not None:
        raise UnsupportedError(f"{function.__module__}.{function.__name__} is not the {role} that is known: {problem}")


@lru_cache
def _difference(library: Callable[..., Any], role: str) -> str | None:
    """What keeps the replacement from standing for the library's function; None if they agree on every probe."""
    generator = torch.Generator().manual_seed(0)
    call = _guarded(library, role)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    parameters = inspect.signature(library).parameters
    for probe in REPLACEMENTS[role].probes(random):
        arguments = {n: v for n, v in probe.items() if n in parameters or n not in IMMATERIAL}
        try:
            with torch.no_grad():
                wanted, found = (_first(f(**arguments)) for f in (library, call))
        except Exception as problem:
            return f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        bound = TOLERANCE * float(wanted.abs().max())
        if found.shape != wanted.shape or found.dtype != wanted.dtype or not _close(found, wanted, bound):
            return f"on {', '.join(arguments)} it gives other numbers"
    return None


def _first(result: Any) -> Tensor:
    return cast("tuple[Any, ...]", result)[0] if isinstance(result, tuple) else result


def _close(found: Tensor, wanted: Tensor, bound: float) -> bool:
    return bool(wanted.isfinite().all()) and float((found - wanted).abs().max()) <= bound
