"""Each operator that has an importer, against eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graphwright.frontend import capture
from graphwright.ir import UnsupportedError, run
from tests.frontend.compare import Small, assert_round_trip, operators, tokens
from tests.tensors import norm, unflatten, vector_norm

Function = Callable[[Small, Tensor, Tensor], Tensor]

ARITHMETIC: dict[str, Function] = {
    "add alpha": lambda m, x, i: torch.add(x, x.abs(), alpha=2.5),
    "add int and float": lambda m, x, i: i[..., None] + x,
    "add sequence length": lambda m, x, i: x + x.shape[1],
    "sub alpha": lambda m, x, i: torch.sub(x, 2, alpha=3),
    "rsub": lambda m, x, i: 1 - x,
    "rsub alpha": lambda m, x, i: torch.rsub(x, 2.0, alpha=0.5),
    "mul bool": lambda m, x, i: (x > 0) * x,
    "div int": lambda m, x, i: i / 7,
    "div floor": lambda m, x, i: torch.div(x, 0.3, rounding_mode="floor"),
    "floor_divide": lambda m, x, i: (i - 100) // 7,
    "remainder": lambda m, x, i: (i - 100) % 7,
    "pow": lambda m, x, i: x.abs() ** 1.5,
    "pow of scalar": lambda m, x, i: 2.0**x,
    "pow tensors": lambda m, x, i: x.abs() ** x,
    "square": lambda m, x, i: x.square(),
    "neg abs": lambda m, x, i: -x.abs(),
    "exp log": lambda m, x, i: (x.exp() + 1).log(),
    "log1p softplus": lambda m, x, i: x.exp().log1p() + F.softplus(9 * x - 8) + F.softplus(x, beta=0.5, threshold=1),
    "sqrt rsqrt reciprocal": lambda m, x, i: (x * x + 1).sqrt() * (x * x + 2).rsqrt() * (x * x + 3).reciprocal(),
    "sin cos": lambda m, x, i: x.sin() + x.cos(),
    "tanh sigmoid erf": lambda m, x, i: x.tanh() + x.sigmoid() + x.erf(),
    "exp of int": lambda m, x, i: (i * 0.01).exp() + (i // 100).exp(),
    "expm1": lambda m, x, i: torch.expm1(x) + torch.expm1(x * 1e-4) * 1e4,
    "floor": lambda m, x, i: (3 * x).floor(),
    "clamp": lambda m, x, i: x.clamp(-0.5, 0.25),
    "clamp above": lambda m, x, i: x.clamp(max=0.25),
    "clamp_min": lambda m, x, i: x.clamp_min(0),
    "clamp_max": lambda m, x, i: x.clamp_max(0),
    "hardtanh": lambda m, x, i: F.hardtanh(x),
    "relu6": lambda m, x, i: F.relu6(x * 9),
    "maximum minimum": lambda m, x, i: torch.maximum(x, x * 2) + torch.minimum(x, x * 3),
    "comparisons": lambda m, x, i: (x < 0).int() + (x <= 0.5) + (x > 0.1) + (x >= 1) + (i[..., None] == 3) + (x != 0),
    "compare int with float": lambda m, x, i: i > 99.5,
    "logic": lambda m, x, i: (x > 0) & (x < 1) | ~(x > -1),
    "logical functions": lambda m, x, i: torch.logical_and(x > 0, i[..., None]).logical_not(),
    "where": lambda m, x, i: torch.where(x > 0, x, 0.5),
    "where scalars": lambda m, x, i: torch.where(x > 0, 1.0, -1.0),
    "where promotes": lambda m, x, i: torch.where(x > 0, x, i[..., None]),
    "masked_fill": lambda m, x, i: x.masked_fill(i[..., None] > 99, 7),
    "addcmul": lambda m, x, i: torch.addcmul(x, x, x, value=0.5),
    "lerp": lambda m, x, i: torch.lerp(x, x * x, 0.3),
    "cast": lambda m, x, i: (x * 10).to(torch.int64).double().type_as(x) + i[..., None].bool(),
    "tensor constant": lambda m, x, i: x * torch.tensor(2.5),
    "in place": lambda m, x, i: (x * 1).add_(1).mul_(x).clamp_(min=0),
}
SHAPES: dict[str, Function] = {
    "view": lambda m, x, i: x.view(x.shape[0], -1, 2, 4).view(-1, 4),
    "unsqueeze squeeze": lambda m, x, i: x.unsqueeze(-2).squeeze(2)[None].squeeze((0,)),
    "flatten unflatten": lambda m, x, i: unflatten(x.flatten(1), -1, (-1, 4)),
    "transposes": lambda m, x, i: x.transpose(0, -1).permute(1, 2, 0).mT,
    "movedim": lambda m, x, i: x.movedim(0, -1),
    "movedim several": lambda m, x, i: x.movedim((0, 1), (1, 2)),
    "expand": lambda m, x, i: x[:, :, None].expand(-1, -1, 3, -1),
    "expand_as": lambda m, x, i: x[:1].expand_as(x) + x,
    "repeat": lambda m, x, i: x.repeat(2, 1, 3),
    "repeat adds axes": lambda m, x, i: x.repeat(2, 1, 1, 1),
    "repeat_interleave": lambda m, x, i: x.repeat_interleave(3, dim=-1),
    "repeat_interleave flat": lambda m, x, i: x.repeat_interleave(2),
    "slices": lambda m, x, i: x[..., 1:-1:2] + x[..., -6::2],
    "slice of the sequence": lambda m, x, i: torch.cat([x[:, -1:], x[:, :-1]], 1),
    "slice to the length": lambda m, x, i: m.lower[: x.shape[1], : x.shape[1]],
    "narrow": lambda m, x, i: x.narrow(2, 1, 3),
    "select": lambda m, x, i: x[:, -1] + x.select(1, 0) + x[:, :, 3].sum(1, keepdim=True),
    "split": lambda m, x, i: torch.cat(torch.split(x, 3, -1)[::-1], -1),
    "split sizes": lambda m, x, i: torch.split(x, [2, 6], -1)[1],
    "chunk": lambda m, x, i: x.chunk(2, -1)[0] * x.chunk(2, -1)[1],
    "unbind": lambda m, x, i: unflatten(x, -1, (2, 4)).unbind(2)[1],
    "cat promotes": lambda m, x, i: torch.cat([x, i[..., None]], -1),
    "cat of an empty leftover": lambda m, x, i: torch.cat([torch.zeros(0), x], -1),
    "stack": lambda m, x, i: torch.stack([x, x * 2], 1),
    "rotate half": lambda m, x, i: torch.cat((-x[..., 4:], x[..., :4]), -1),
    "roll of features": lambda m, x, i: torch.cat([x[..., 1:], x[..., :1]], -1).contiguous().clone(),
}
FACTORIES: dict[str, Function] = {
    "arange": lambda m, x, i: torch.arange(x.shape[1]),
    "arange floats": lambda m, x, i: torch.arange(x.shape[1], dtype=torch.float32) * x[..., 0],
    "arange start": lambda m, x, i: torch.arange(3, x.shape[1] + 3),
    "arange step": lambda m, x, i: torch.arange(1, 9, 2) * i[..., None],
    "arange step float": lambda m, x, i: torch.arange(0.5, 4.5, 0.5) * x,
    "full": lambda m, x, i: torch.full((x.shape[1], 2), -1.5) + x[:, :, :2],
    "full_like": lambda m, x, i: torch.full_like(x, 3) * x,
    "full of the length": lambda m, x, i: torch.full((2,), x.shape[1]),
    "ones zeros": lambda m, x, i: x.new_ones(x.shape) + torch.zeros_like(x) + x.new_zeros(8) + torch.ones(8),
    "new_full": lambda m, x, i: x.new_full((x.shape[0], 1, 8), 2) * x,
    "empty is filled": lambda m, x, i: torch.empty_like(x).fill_(2) * x,
    "tril triu": lambda m, x, i: torch.tril(x) + torch.triu(x, diagonal=2) + x.tril(-1),
    "eye": lambda m, x, i: torch.eye(x.shape[1]) @ x,
}
REDUCTIONS: dict[str, Function] = {
    "sum": lambda m, x, i: x.sum(1) + x.sum((0, 1)) + x.sum(),
    "sum keeps": lambda m, x, i: x.sum(-1, keepdim=True),
    "sum bool": lambda m, x, i: (x > 0).sum(-1),
    "sum dtype": lambda m, x, i: i.sum(-1, dtype=torch.float32),
    "mean": lambda m, x, i: x.mean(-1) + x.mean(),
    "extremes": lambda m, x, i: x.amax(-1) + x.amin(1, keepdim=True)[..., 0] + x.max() - x.min(),
    "max values": lambda m, x, i: x - x.max(-1, keepdim=True).values + x.min(1, keepdim=True)[0],
    "any all": lambda m, x, i: (x > 1).any(-1) & (x > -5).all(-1) | (x > 3).any(),
    "var": lambda m, x, i: x.var(-1, correction=0),
    "var unbiased": lambda m, x, i: x.var(-1),
    "std over the batch": lambda m, x, i: torch.cat([x, x + 1], 1).std((0, 1)),
    "norm": lambda m, x, i: norm(x, dim=-1) + vector_norm(x, 1, -1),
    "softmax": lambda m, x, i: x.softmax(-1) + F.softmax(x, dim=1),
    "softmax dtype": lambda m, x, i: F.softmax(x.half(), dim=-1, dtype=torch.float32),
    "log_softmax": lambda m, x, i: F.log_softmax(100 * x, dim=-1),
    "logsumexp of two axes": lambda m, x, i: torch.logsumexp(x, (0, 1), keepdim=True),
    "var of all": lambda m, x, i: x.var() + x.var(False) + x.var(-1, False, True).sum(),
    "logsumexp": lambda m, x, i: torch.logsumexp(100 * x, -1),
    "cumsum": lambda m, x, i: x.cumsum(1),
    "cumsum bool": lambda m, x, i: (x > 0).cumsum(1),
}
PRODUCTS: dict[str, Function] = {
    "matmul": lambda m, x, i: x @ x.mT,
    "matmul weight": lambda m, x, i: x @ m.weight,
    "matmul vector": lambda m, x, i: x @ m.bias,
    "vector matmul": lambda m, x, i: m.bias @ x.mT,
    "mm": lambda m, x, i: torch.mm(x.flatten(0, 1), m.weight.t()),
    "mv": lambda m, x, i: torch.mv(x.flatten(0, 1), m.bias),
    "dot": lambda m, x, i: torch.dot(x[0, 0], m.bias),
    "outer": lambda m, x, i: torch.outer(x[:, 0, 0], m.bias),
    "bmm": lambda m, x, i: torch.bmm(x, x.transpose(1, 2)),
    "addmm": lambda m, x, i: torch.addmm(m.bias, x.flatten(0, 1), m.weight),
    "addmm scaled": lambda m, x, i: torch.addmm(m.bias, x.flatten(0, 1), m.weight, beta=0.5, alpha=2),
    "bilinear": lambda m, x, i: F.bilinear(x, x + 1, m.weight[None].expand(3, -1, -1)),
    "baddbmm": lambda m, x, i: torch.baddbmm(x[..., :1], x, x.mT, beta=0, alpha=0.3),
    "linear": lambda m, x, i: F.linear(x, m.weight, m.bias),
    "linear of a slice": lambda m, x, i: F.linear(x, m.weight[:3]),
    "einsum weight": lambda m, x, i: torch.einsum("bsd,do->bso", x, m.weight),
    "einsum scores": lambda m, x, i: torch.einsum("bqd,bkd->bqk", x, x),
    "einsum transposed": lambda m, x, i: torch.einsum("bqd, bkd -> kbq", x, x),
    "einsum outer": lambda m, x, i: torch.einsum("bsd,o->sbod", x, m.bias),
    "einsum ellipsis": lambda m, x, i: torch.einsum("...d,od->...o", x, m.weight),
    "einsum trace": lambda m, x, i: torch.einsum("bsd->bd", x),
    "einsum of three": lambda m, x, i: torch.einsum("bsd,do,o->bso", x, m.weight, m.bias),
}
NEURAL: dict[str, Function] = {
    "activations": lambda m, x, i: F.silu(x) + F.relu(x) + F.gelu(x) + F.gelu(x, approximate="tanh"),
    "leaky_relu": lambda m, x, i: F.leaky_relu(x, 0.2),
    "hardswish": lambda m, x, i: F.hardswish(x),
    "glu": lambda m, x, i: F.glu(x),
    "dropout off": lambda m, x, i: F.dropout(x, 0.5, training=m.training),
    "layer_norm": lambda m, x, i: F.layer_norm(x, (8,), m.bias, m.bias, 1e-3),
    "layer_norm bare": lambda m, x, i: F.layer_norm(x, (8,)),
    "layer_norm of two axes": lambda m, x, i: F.layer_norm(unflatten(x, -1, (2, 4)), (2, 4), m.bias.view(2, 4)),
    "rms_norm": lambda m, x, i: F.rms_norm(x, (8,), m.bias, 1e-4),
    "rms_norm bare": lambda m, x, i: F.rms_norm(x, (8,)),
    "embedding": lambda m, x, i: F.embedding(i % 8, m.weight, padding_idx=0),
    "one hot product": lambda m, x, i: (i[..., None] == torch.arange(256)).float() @ m.embed.weight,
}
CONVOLUTIONS: dict[str, Function] = {
    "pad": lambda m, x, i: F.pad(x, (1, 2, 3, 0)) + F.pad(x, (2, 1, 2, 1), value=0.5),
    "pad that cuts": lambda m, x, i: F.pad(x, (-1, 2)) + F.pad(x, (3, -2)) + F.pad(x, (0, 1, 0, 0, 0, 0)),
    "convolution over tokens": lambda m, x, i: F.conv1d(x.mT, m.weight.view(8, 2, 4), m.bias, padding=3, groups=4),
    "depthwise": lambda m, x, i: F.conv1d(F.pad(x.mT, (3, 0)), m.weight[:, None, :4], groups=8),
    "dilated, the same length": lambda m, x, i: F.conv1d(x.mT, m.weight[..., None][:4].expand(4, 8, 4), padding="same"),
    "without a batch": lambda m, x, i: F.conv1d(x.flatten(0, 1).t(), m.weight[:, :, None], padding="valid"),
    "images": lambda m, x, i: F.conv2d(
        unflatten(x, -1, (2, 4))[:, :, None].flatten(0, 1), m.weight.view(16, 1, 2, 2), stride=(1, 2), dilation=(1, 3)
    ),
    "convolution": lambda m, x, i: torch.convolution(
        x.mT, m.weight[:, :, None], m.bias, (1,), (1,), (1,), False, (0,), 1
    ),
}
INDEXING: dict[str, Function] = {
    "rows": lambda m, x, i: m.weight[i % 8],
    "negative rows": lambda m, x, i: m.weight[i % 8 - 8],
    "middle axis": lambda m, x, i: x[:, torch.zeros(3, dtype=torch.int64)],
    "last axis": lambda m, x, i: x[..., torch.tensor([3, -1, 0])],
    "two axes": lambda m, x, i: m.weight[i % 8, i % 3],
    "two axes apart": lambda m, x, i: x[torch.zeros(2, dtype=torch.int64), :, torch.tensor([1, 5])],
    "positions": lambda m, x, i: x[torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])],
    "index_select": lambda m, x, i: x.index_select(2, torch.tensor([4, 1])),
    "gather": lambda m, x, i: x.gather(2, i[..., None] % 8),
    "top k": lambda m, x, i: x.topk(3).values + x.topk(3, dim=-1, largest=False, sorted=True).values,
    "top k indices": lambda m, x, i: x.topk(3).indices,
    "sort": lambda m, x, i: x.sort(-1).values + x.sort(-1, descending=True)[0],
    "sort stable": lambda m, x, i: (i[..., None] % torch.arange(1, 9)).sort(dim=-1, stable=True).indices,
    "argsort": lambda m, x, i: x.argsort(-1, descending=True) + x.argsort(dim=-1),
    "scatter": lambda m, x, i: x.scatter(2, i[..., None] % 8, x[..., 3:] * 2),
    "scatter value": lambda m, x, i: torch.zeros_like(x).scatter_(-1, x.topk(2).indices, 1),
    "scatter_add": lambda m, x, i: x.scatter_add(-1, i[..., None].expand_as(x) % 8, x.abs()),
    "one hot": lambda m, x, i: F.one_hot(i % 7, 7),
    "relative positions": lambda m, x, i: m.lower[
        torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])[None] + 32, 5
    ],
}
COMPOSED: dict[str, Function] = {
    "ceil trunc": lambda m, x, i: (3 * x).ceil() + (3 * x).trunc() + x.frac(),
    "round to even": lambda m, x, i: (4 * x).round() + (i[..., None] * 0.5).round() + i[..., None].round(),
    "sign": lambda m, x, i: x.sign() + (i - 100).sign()[..., None] + torch.zeros(8).sign(),
    "fmod": lambda m, x, i: torch.fmod(x, 0.3) + torch.fmod(i - 100, 7)[..., None],
    "div trunc": lambda m, x, i: torch.div(x, 0.3, rounding_mode="trunc"),
    "div trunc of integers": lambda m, x, i: torch.div(i - 100, -7, rounding_mode="trunc"),
    "isnan isinf": lambda m, x, i: (x / (x - x)).isnan() | (1 / x.floor()).isinf() | i[..., None].isinf(),
    "nan_to_num": lambda m, x, i: (1 / x.floor()).nan_to_num(0.5, 1, -1),
    "xor": lambda m, x, i: (x > 0) ^ (x < 1),
    "expm1 log1p": lambda m, x, i: torch.expm1(x * 1e-3) + torch.log1p(x.abs() * 1e-4),
    "ends of expm1 and log1p": lambda m, x, i: torch.expm1((x - 0.1) * 1e3).log1p() + torch.log1p(x * 0 - 1),
    "elu selu celu": lambda m, x, i: F.elu(x, 0.7) + F.selu(x) + F.celu(x, 0.3),
    "softplus mish": lambda m, x, i: F.softplus(x) + F.mish(x) + F.logsigmoid(x),
    "other bases": lambda m, x, i: x.exp2() + (x.abs() + 1).log2() + (x.abs() + 1).log10(),
    "tan cosh": lambda m, x, i: (x * 0.5).tan() + x.cosh(),
    "argmax argmin": lambda m, x, i: x.argmax(-1) + x.argmin(-1) + i.argmax(),
    "argmax along the sequence": lambda m, x, i: (i % 3).argmax(-1, keepdim=True) + (i % 3).argmin(-1, keepdim=True),
    "extremes and their places": lambda m, x, i: x.max(-1).indices + x.min(-1, keepdim=True).indices[..., 0],
    "group_norm": lambda m, x, i: F.group_norm(x.mT, 2, m.bias, m.bias) + F.group_norm(x.mT, 4),
    "batch_norm": lambda m, x, i: F.batch_norm(x.mT, m.bias * 0.5, m.bias.abs() + 1, m.bias, m.bias),
    "instance_norm": lambda m, x, i: F.instance_norm(x.mT.repeat(1, 1, 2), weight=m.bias, bias=m.bias),
    "native_layer_norm": lambda m, x, i: torch.native_layer_norm(x, [8], m.bias, None, 1e-5)[0],
    "var_mean": lambda m, x, i: torch.var_mean(x, -1)[0] + torch.var_mean(x, -1)[1],
    "pad by reflection": lambda m, x, i: F.pad(x, (2, 3), mode="reflect"),
    "pad by replication": lambda m, x, i: F.pad(x.mT, (2, 3), mode="replicate"),
    "pad around": lambda m, x, i: F.pad(x, (1, 2), mode="circular") + F.pad(x.mT, (1, 0), mode="circular").sum(),
    "pad two axes": lambda m, x, i: F.pad(x[:, None], (2, 3, 1, 1), mode="replicate"),
    "nearest": lambda m, x, i: F.interpolate(x[:, None], scale_factor=2),
    "flip": lambda m, x, i: x.flip(-1) + x.flip((1, 2)),
    "roll": lambda m, x, i: x.roll(3, -1) + x.roll((1, -2), (1, 2)),
    "diagonal": lambda m, x, i: torch.diagonal(x @ x.mT, dim1=1, dim2=2),
    "diagonal beside": lambda m, x, i: torch.diagonal(m.weight, 2) + torch.diagonal(m.weight, -2) + x[..., :6],
}
COMPLEX: dict[str, Function] = {
    "rotation": lambda m, x, i: torch.view_as_real(pairs(x) * torch.polar(m.bias[:4].abs(), m.bias[4:])).flatten(2),
    "parts": lambda m, x, i: pairs(x).real + pairs(x).imag + pairs(x).abs(),
    "arithmetic": lambda m, x, i: torch.view_as_real((pairs(x) + 1 - pairs(x).conj()) / (pairs(x) * 2j + 3)),
    "made of reals": lambda m, x, i: torch.view_as_real(torch.complex(x, m.bias.expand_as(x)) * x).sum(-1),
    "exponential": lambda m, x, i: torch.view_as_real(torch.exp(1j * x)).flatten(2),
    "views": lambda m, x, i: torch.view_as_real(
        pairs(x)[:, :, None].expand(-1, -1, 2, -1).transpose(1, 2)[:, 0, :, 1:]
    ),
    "conversions": lambda m, x, i: (
        torch.view_as_real(pairs(x).to(x.device) + pairs(x).type_as(pairs(x)) * x[..., :4].to(torch.complex64))
        + torch.view_as_real(pairs(x).to(dtype=torch.complex128).to(torch.complex64))
        + pairs(x).real.to(torch.complex64).to(x.dtype)[..., None]
    ),
    "joins": lambda m, x, i: torch.view_as_real(torch.cat([pairs(x), -pairs(x)], -1).sum(1)),
    "mean of slices": lambda m, x, i: torch.view_as_real(torch.stack(pairs(x).chunk(2, -1)).mean(0)),
}


def pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(unflatten(x, -1, (4, 2)))


ALL = {**ARITHMETIC, **SHAPES, **FACTORIES, **REDUCTIONS, **PRODUCTS, **NEURAL, **CONVOLUTIONS, **INDEXING}


@pytest.mark.parametrize("name", ALL)
def test_operator(name: str) -> None:
    model = Small(ALL[name]).eval()
    program = capture(model, function=True)
    assert_round_trip(program)
    for batch, length in ((3, 7), (2, 5), (1, 1)):
        ids = tokens(batch, length)
        with torch.no_grad():
            wanted = model(ids)
        (got,) = run(program.graphs["forward"], {"input_ids": ids}).values()  # `logits` or `output`, by its shape
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if wanted.is_floating_point():
            # Each is a handful of float32 operations, the longest sum over 56 terms.
            scale = float(wanted[wanted.isfinite()].abs().max()) if wanted.isfinite().any() else 1.0
            torch.testing.assert_close(got, wanted, rtol=2e-6, atol=4e-7 * scale, equal_nan=True)
        else:
            assert torch.equal(got, wanted)


FORMS: dict[str, tuple[Function, list[str]]] = {
    "weight on the right": (lambda m, x, i: x @ m.weight, ["embedding", "linear"]),
    "transposed weight": (lambda m, x, i: x @ m.weight.t(), ["embedding", "transpose", "linear"]),
    "contraction with a weight": (
        lambda m, x, i: torch.einsum("bsd,do->bso", x, m.weight),
        ["embedding", "reshape", "linear", "reshape"],
    ),
    "views that change nothing": (lambda m, x, i: x.contiguous().view(x.shape).transpose(1, 1).float(), ["embedding"]),
    "dropout and aliases": (lambda m, x, i: F.dropout(x.detach(), 0.5, training=False).clone(), ["embedding"]),
    "square": (lambda m, x, i: x.square(), ["embedding", "mul"]),
    "power": (lambda m, x, i: x**2, ["embedding", "constant", "pow"]),
    "whole slices": (lambda m, x, i: x[:, :, 0:8][:, :], ["embedding"]),
    "positions need no wrapping": (lambda m, x, i: m.weight[torch.arange(8)], ["iota", "gather"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_normal_form(name: str) -> None:
    function, wanted = FORMS[name]
    found = operators(capture(Small(function)))
    assert [op for op in found if op != "transpose"] == [op for op in wanted if op != "transpose"]


REFUSED: dict[str, tuple[Callable[[Small, Tensor, Tensor], object], str]] = {
    "active dropout": (lambda m, x, i: F.dropout(x, 0.5), r"aten\.dropout\.default.*dropout is active"),
    "dropout in attention": (
        lambda m, x, i: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=0.1),
        "dropout inside attention is active",
    ),
    "sorted sequence": (lambda m, x, i: x.sort(1).values, r"aten\.sort\.default: the number .* must be fixed"),
    "classes set by the data": (lambda m, x, i: F.one_hot(i), r"one_hot.*depends on the data|cannot be traced"),
    "bitwise logic of integers": (lambda m, x, i: i & 7, "bitwise logic of i64"),
    "a complex result": (lambda m, x, i: pairs(x), "is complex; return torch.view_as_real of it"),
    "complex numbers as logic": (lambda m, x, i: pairs(x).to(torch.bool), "complex numbers become bool"),
    "a product of complex matrices": (
        lambda m, x, i: (pairs(x) @ pairs(x).mT).real,
        "aten.matmul.default: this operator is not known for complex numbers",
    ),
    "batch norm over the batch": (lambda m, x, i: F.batch_norm(x.mT, None, None, training=True), "relates its rows"),
    "roll of everything": (lambda m, x, i: x.roll(1), "a roll without axes"),
    "stretched by a fraction": (lambda m, x, i: F.interpolate(x[:, None, :, :], size=(12, 12)), "whole multiples"),
    "uncommon norm": (lambda m, x, i: vector_norm(x, 3, -1), "norm of order 3"),
    "halved sequence": (lambda m, x, i: x[:, : x.shape[1] // 2], "holds only where .axis 1 of input 0 // 2"),
    "every second token": (lambda m, x, i: x[:, ::2], "is not made of batch and sequence|holds only where"),
    "chunks of the sequence": (lambda m, x, i: x.view(x.shape[0], -1, 11, 8).sum(2), "fixes|holds only where"),
    "fixed length": (lambda m, x, i: x + torch.zeros(11, 1), "fixes the sequence length .axis 1 of .input_ids.. to 11"),
    "batch and sequence alike": (lambda m, x, i: x + x.transpose(0, 1), "must match the size"),
    "branch on the data": (
        lambda m, x, i: x if x.sum() > 0 else -x,
        "cannot be traced: its code branches on the values of a tensor",
    ),
    "shape set by the data": (lambda m, x, i: x[i > 3], r"aten\.index\.Tensor: size u\d+ depends on the data"),
    "a long sequence only": (lambda m, x, i: x[:, 6] if x.shape[1] > 6 else x[:, 0], "takes 7 or more"),
    "nothing": (lambda m, x, i: None, "returns nothing"),
    "a mistake of its own": (lambda m, x, i: cast(Any, x).no_such_method(), "AttributeError.*no_such_method"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message) as failure:
        capture(Small(function))
    assert "\n" not in str(failure.value)
