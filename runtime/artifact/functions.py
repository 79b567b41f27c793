"""A library of compiled functions: which one a call runs, and the sizes that each takes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

from pydantic import Field

from graphwright.runtime.artifact.strict import Positive, Strict

STEP, WORKSPACE = "graphwright_step_", "graphwright_workspace_"
"""Of a function `f` a library has two symbols: `int32_t graphwright_step_f(const tensor *given, int32_t threads)` runs
it, and `int64_t graphwright_workspace_f(const int64_t *sizes)` tells how many bytes of workspace it needs."""


class FunctionSpec(Strict):
    """One function of the library: its name there, and the sizes that it was compiled for by dimension."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    fixed: dict[str, Positive] = Field(default_factory=dict[str, int])

    def takes(self, sizes: Mapping[str, int]) -> bool:
        """Whether a call of these sizes can be run by it."""
        return all(sizes[dimension] == size for dimension, size in self.fixed.items())


def check_functions(functions: Iterable[FunctionSpec], dimensions: Collection[str]) -> None:
    """Raise ValueError unless the first function that takes a call's sizes can always be found and run."""
    *special, general = functions
    if len({each.name for each in (*special, general)}) != len(special) + 1:
        raise ValueError("two functions have the same name")
    if general.fixed:
        raise ValueError(f"the last function, {general.name}, must take all sizes, and has fixed ones")
    for index, each in enumerate(special):
        if not each.fixed or any(each.fixed.items() >= before.fixed.items() for before in special[:index]):
            raise ValueError(f"the function {each.name} hides those that follow, or is hidden by one before it")
        if not each.fixed.keys() <= set(dimensions):
            raise ValueError(f"the function {each.name} fixes sizes that are not among the dimensions")


def check_dimensions(
    dimensions: tuple[str, ...], given: Iterable[tuple[int | str, ...]], made: Iterable[tuple[int | str, ...]]
) -> None:
    """Raise ValueError unless `dimensions` are the dynamic ones of what a call is given and of what it makes.

    Shapes of what is given tell the sizes of a call, and those tell the shapes of its results.
    """
    named = {size for shape in given for size in shape if isinstance(size, str)}
    if len(set(dimensions)) != len(dimensions) or set(dimensions) != named:
        raise ValueError(
            f"the dimensions must be, once each, the dynamic ones of inputs and caches: {', '.join(sorted(named))}"
        )
    unknown = {size for shape in made for size in shape if isinstance(size, str)} - named
    if unknown:
        raise ValueError(f"the outputs have sizes that no input tells: {', '.join(sorted(unknown))}")
