"""GPTQ's arithmetic written out number by number in float64, from the equations of Optimal Brain Quantization.

Frantar & Alistarh 2022, equations 2 and 3: rounding weight q changes the others by -(w_q - quant(w_q)) / [H^-1]_qq
times row q of H^-1, and takes row and column q out of H^-1. No blocks, no factors, one row of the weight after another.
"""

from __future__ import annotations

Matrix = list[list[float]]


def inverse(matrix: Matrix) -> Matrix:
    """By Gauss and Jordan, with pivots."""
    n = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for r in range(n):
            if r != i:
                factor = rows[r][i]
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[n:] for row in rows]


def damped(moment: Matrix, damping: float) -> Matrix:
    """With `damping` times the mean of the diagonal on it; inputs that were always zero get the mean."""
    n = len(moment)
    mean = sum(moment[i][i] for i in range(n)) / n
    return [
        [x + (i == j) * (damping * mean if moment[i][i] else mean) for j, x in enumerate(row)]
        for i, row in enumerate(moment)
    ]


def scale_of(weights: list[float], bits: int, signed: bool) -> tuple[float, float]:
    """Scale, as a float32 number, and zero point by the largest weight."""
    import struct

    if signed:
        scale, zero = max(map(abs, weights)) / (2 ** (bits - 1) - 1), 0.0
    else:
        scale = (max(0.0, *weights) - min(0.0, *weights)) / (2**bits - 1)
        zero = 0.0
    scale = struct.unpack("f", struct.pack("f", scale))[0] or 1.0
    if not signed:
        zero = min(max(round(-min(0.0, *weights) / scale), 0), 2**bits - 1)
    return scale, zero


def gptq(
    weight: Matrix, moment: Matrix, *, bits: int, signed: bool, group: int, damping: float, order: list[int]
) -> tuple[list[list[int]], Matrix]:
    """Codes and scales of a weight whose columns are rounded in this order.

    In natural order a group's scale is fitted when its first column is reached, else before anything is rounded.
    """
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    natural = order == sorted(order)
    all_codes: list[list[int]] = []
    all_scales: Matrix = []
    for row in weight:
        w = list(row)
        left = inverse(damped(moment, damping))
        scales = [scale_of(w[s : s + group], bits, signed) for s in range(0, len(w), group)]
        codes = [0] * len(w)
        for q in order:
            if natural and q % group == 0:
                scales[q // group] = scale_of(w[q : q + group], bits, signed)
            scale, zero = scales[q // group]
            codes[q] = int(min(max(round(w[q] / scale) + zero, low), high))
            error = (w[q] - (codes[q] - zero) * scale) / left[q][q]
            w = [x - error * left[q][j] for j, x in enumerate(w)]
            pivot = left[q][q]
            left = [
                [x - left[i][q] * left[q][j] / pivot if i != q != j else x for j, x in enumerate(r)]
                for i, r in enumerate(left)
            ]
        all_codes.append(codes)
        all_scales.append([scale for scale, _ in scales])
    return all_codes, all_scales
