# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Which form of a product with panels of floats runs, by the number of rows."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.tvm_library import T


def by_count(tokens: int | None, most: int, by_panels: Any, by_tiles: Any) -> Any:
    """A script function `(x, weight, bias, y, count)`: up to `most` rows (4 or 8) by panels, more by tiles.

    `by_panels` is one `(x, weight, bias, y, count, rows)`, written for 1, 2, 4 or 8 `rows`, that takes no more than so
    many, `by_tiles` one as this. With `tokens`, as many rows are known to come, and there is code for no others.
    """

    @T.inline
    def whole(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any) -> None:
        if tokens is None:
            if count == 1:
                by_panels(x, weight, bias_vector, y, count, 1)
            elif count == 2:
                by_panels(x, weight, bias_vector, y, count, 2)
            elif count <= 4:
                by_panels(x, weight, bias_vector, y, count, 4)
            else:
                if most == 4:
                    by_tiles(x, weight, bias_vector, y, count)
                else:
                    if count <= 8:
                        by_panels(x, weight, bias_vector, y, count, 8)
                    else:
                        by_tiles(x, weight, bias_vector, y, count)
        else:
            if tokens <= most:
                by_panels(x, weight, bias_vector, y, count, 1 << (tokens - 1).bit_length())
            else:
                by_tiles(x, weight, bias_vector, y, count)

    return whole
