"""Single modules of PyTorch, as small as shows what they do: (name, module, shape of an image, why not for twoply)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

Case = tuple[str, nn.Module, tuple[int, ...], str | None]


class Do(nn.Module):
    """A function as a module, with a layer that it may use."""

    def __init__(self, function: Callable, *parts: nn.Module, **constants: torch.Tensor):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)
        for name, value in constants.items():
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.parts, *self.buffers(recurse=False))


PLANE, SERIES, ROW = (4, 8, 8), (4, 16), (12,)


def modules() -> Iterator[Case]:
    torch.manual_seed(0)
    for group in (linear, convolutions, normalisations, pools, activations, shapes, arithmetic, reductions, ends, others):
        for name, module, shape, *outside in group():
            yield name, module, shape, outside[0] if outside else None


def linear() -> Iterator:
    yield "linear", nn.Linear(12, 5), ROW
    yield "linear-no-bias", nn.Linear(12, 5, bias=False), ROW
    yield "linear-2-axes", nn.Linear(6, 5), (3, 6)
    yield "linear-2-axes-no-bias", nn.Linear(6, 5, bias=False), (3, 6)
    yield "linear-3-axes", nn.Linear(6, 5), (2, 3, 6)
    yield "linear-one-output", nn.Linear(12, 1), ROW
    yield "mlp", nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5)), ROW
    yield "matmul-parameter", Do(lambda x, w: x @ w, w=torch.randn(12, 5)), ROW


def convolutions() -> Iterator:
    conv = lambda *a, **k: nn.Conv2d(4, 6, *a, **k)  # noqa: E731
    yield "conv2d", conv(3), PLANE
    yield "conv2d-1x1-no-bias", conv(1, bias=False), PLANE
    yield "conv2d-stride-pad", conv(3, stride=2, padding=1), PLANE
    yield "conv2d-rectangular", conv((3, 5), stride=(2, 1), padding=(0, 2)), PLANE
    yield "conv2d-same", conv(3, padding="same"), PLANE
    yield "conv2d-same-even", conv(4, padding="same"), PLANE
    yield "conv2d-same-dilated", conv(2, padding="same", dilation=3), PLANE
    yield "conv2d-valid", conv(3, padding="valid"), PLANE
    yield "conv2d-dilated", conv(3, dilation=2), PLANE
    yield "conv2d-groups", conv(3, groups=2), PLANE
    yield "conv2d-depthwise", nn.Conv2d(4, 8, 3, groups=4, padding=1), PLANE
    for mode in ("reflect", "replicate", "circular"):
        yield f"conv2d-{mode}", conv(3, padding=1, padding_mode=mode), PLANE
    yield "conv1d", nn.Conv1d(4, 6, 3), SERIES
    yield "conv1d-options", nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2, groups=2, bias=False), SERIES
    yield "conv1d-same", nn.Conv1d(4, 6, 4, padding="same"), SERIES
    yield "conv-transpose2d", nn.ConvTranspose2d(4, 3, 2, stride=2), (4, 4, 4)
    yield "conv-transpose2d-options", nn.ConvTranspose2d(4, 6, 3, 2, padding=1, output_padding=1, groups=2), (4, 4, 4)
    yield "conv-transpose2d-dilated", nn.ConvTranspose2d(4, 3, 3, dilation=2, bias=False), (4, 4, 4)
    yield "conv-transpose2d-no-stride", nn.ConvTranspose2d(4, 3, (2, 3), padding=(1, 0)), (4, 4, 4)
    yield "conv-transpose1d", nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1), SERIES
    yield "conv-transpose1d-output-pad", nn.ConvTranspose1d(4, 3, 3, stride=3, output_padding=1), SERIES
    yield "weight-norm", weight_norm(conv(3)), PLANE
    yield "weight-norm-parametrized", parametrizations.weight_norm(conv(3)), PLANE
    yield "weight-norm-linear", parametrizations.weight_norm(nn.Linear(12, 5)), ROW
    yield "spectral-norm", parametrizations.spectral_norm(conv(3)), PLANE


def normalisations() -> Iterator:
    yield "batch-norm1d", nn.BatchNorm1d(12), ROW
    yield "batch-norm1d-series", nn.BatchNorm1d(4), SERIES
    yield "batch-norm2d", nn.BatchNorm2d(4), PLANE
    yield "batch-norm2d-plain", nn.BatchNorm2d(4, affine=False, eps=1e-3), PLANE
    yield "conv-batch-norm", nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()), PLANE
    yield "conv1d-batch-norm", nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), SERIES
    yield "linear-batch-norm", nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6)), ROW
    yield "transpose-batch-norm", nn.Sequential(nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6)), (4, 4, 4)
    yield "batch-norm-conv-padded", nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)), PLANE
    yield "relu-batch-norm", nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2)), PLANE


def pools() -> Iterator:
    odd = (4, 9, 7)
    yield "max-pool2d", nn.MaxPool2d(2), PLANE
    yield "max-pool2d-overlap", nn.MaxPool2d(3, 2, padding=1), PLANE
    yield "max-pool2d-ceil", nn.MaxPool2d(2, ceil_mode=True), odd
    yield "max-pool2d-ceil-overlap", nn.MaxPool2d(3, 2, ceil_mode=True), PLANE
    yield "max-pool2d-ceil-padded", nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), PLANE
    yield "max-pool2d-dilated", nn.MaxPool2d(2, stride=1, dilation=2), PLANE
    yield "max-pool2d-rectangular", nn.MaxPool2d((3, 1), (2, 1)), odd
    yield "max-pool1d", nn.MaxPool1d(3, 2, padding=1), SERIES
    yield "max-pool1d-ceil", nn.MaxPool1d(3, 2, ceil_mode=True), SERIES
    yield "avg-pool2d", nn.AvgPool2d(2), PLANE
    yield "avg-pool2d-pad", nn.AvgPool2d(3, 2, padding=1), PLANE
    yield "avg-pool2d-pad-not-counted", nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), PLANE
    yield "avg-pool2d-ceil", nn.AvgPool2d(2, ceil_mode=True), odd
    yield "avg-pool2d-ceil-padded", nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), PLANE
    yield "avg-pool2d-ceil-not-counted", nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), PLANE
    yield "avg-pool2d-divisor", nn.AvgPool2d(2, divisor_override=3), PLANE
    yield "avg-pool1d", nn.AvgPool1d(3, 2, padding=1), SERIES
    yield "adaptive-avg-pool2d-1", nn.AdaptiveAvgPool2d(1), PLANE
    yield "adaptive-avg-pool2d-2x4", nn.AdaptiveAvgPool2d((2, 4)), PLANE
    yield "adaptive-avg-pool2d-same", nn.AdaptiveAvgPool2d(8), PLANE
    yield "adaptive-avg-pool2d-uneven", nn.AdaptiveAvgPool2d((3, 5)), PLANE
    yield "adaptive-avg-pool2d-3-of-7", nn.AdaptiveAvgPool2d(3), (4, 7, 7)
    yield "adaptive-avg-pool2d-more", nn.AdaptiveAvgPool2d(10), (4, 7, 7)
    yield "adaptive-avg-pool1d-uneven", nn.AdaptiveAvgPool1d(5), SERIES
    yield "adaptive-avg-pool1d", nn.AdaptiveAvgPool1d(4), SERIES
    yield "adaptive-avg-pool1d-1", nn.AdaptiveAvgPool1d(1), SERIES
    yield "adaptive-max-pool2d-1", nn.AdaptiveMaxPool2d(1), PLANE
    yield "adaptive-max-pool2d-2x4", nn.AdaptiveMaxPool2d((2, 4)), PLANE
    yield "adaptive-max-pool1d", nn.AdaptiveMaxPool1d(4), SERIES
    # Neither exporter writes these two.
    yield "adaptive-max-pool2d-uneven", nn.AdaptiveMaxPool2d((3, 5)), PLANE
    yield "adaptive-max-pool1d-uneven", nn.AdaptiveMaxPool1d(5), SERIES
    yield "upsample-nearest", nn.Upsample(scale_factor=2), PLANE
    yield "upsample-nearest-rectangular", nn.Upsample(scale_factor=(3.0, 2.0)), PLANE
    yield "upsample-nearest-size", nn.Upsample(size=(16, 24)), PLANE
    yield "upsample-nearest-fraction", nn.Upsample(scale_factor=1.5), PLANE
    yield "upsample-nearest-exact", nn.Upsample(scale_factor=2, mode="nearest-exact"), PLANE
    yield "upsample-nearest1d", nn.Upsample(scale_factor=2), SERIES
    yield "interpolate-like", Do(lambda x: x + F.interpolate(F.max_pool2d(x, 2), size=x.shape[-2:])), PLANE
    yield "downsample-nearest", Do(lambda x: F.interpolate(x, scale_factor=0.5)), PLANE


def activations() -> Iterator:
    for layer in (nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 0.75), nn.Hardsigmoid(), nn.Hardswish()):
        yield type(layer).__name__.lower(), layer, PLANE
    yield "leakyrelu-default", nn.LeakyReLU(), ROW
    yield "prelu-one", nn.PReLU(), PLANE
    channels = nn.PReLU(4)
    channels.weight.data = torch.tensor([0.1, 0.25, 0.5, 0.9])
    yield "prelu-channels", channels, PLANE
    beyond = nn.PReLU(4)
    beyond.weight.data = torch.tensor([-0.3, 0.0, 1.0, 1.5])
    yield "prelu-any-slope", beyond, PLANE
    yield "prelu-series", nn.PReLU(4), SERIES
    yield "prelu-row", nn.PReLU(12), ROW
    yield "clamp-low", Do(lambda x: x.clamp(min=-0.5)), PLANE
    yield "clamp-high", Do(lambda x: x.clamp(max=0.5)), PLANE
    yield "clamp-both", Do(lambda x: torch.clamp(x, -0.25, 0.5)), PLANE
    yield "threshold-at-zero", nn.Threshold(0.0, 0.0), PLANE
    yield "threshold-half", nn.Threshold(0.5, 0.5), PLANE
    yield "where-leaky", Do(lambda x: torch.where(x > 0, x, 0.1 * x)), PLANE
    yield "where-steep", Do(lambda x: torch.where(x < 0.5, 3 * x - 1, x)), PLANE
    yield "relu-in-place", nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)), PLANE
    yield "dropout", nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 4), nn.Dropout(0.2)), ROW
    yield "dropout2d", nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout2d(0.5)), PLANE
    yield "identity", nn.Sequential(nn.Identity(), nn.ReLU()), PLANE


def shapes() -> Iterator:
    yield "flatten", nn.Flatten(), PLANE
    yield "flatten-from-2", nn.Flatten(2), PLANE
    yield "view", Do(lambda x: x.view(x.size(0), -1)), PLANE
    yield "reshape-product", Do(lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])), PLANE
    yield "reshape-minus-one-first", Do(lambda x: x.reshape(-1, 64, 4)), PLANE
    yield "unflatten", nn.Unflatten(1, (3, 4)), ROW
    yield "permute", Do(lambda x: x.permute(0, 2, 3, 1)), PLANE
    yield "transpose", Do(lambda x: x.transpose(1, 2)), SERIES
    yield "chunk-cat", Do(lambda x: torch.cat([x.chunk(2, 1)[1], x.chunk(2, 1)[0]], 1)), PLANE
    yield "chunk-uneven", Do(lambda x: torch.cat(x.chunk(3, 1)[::-1], 1)), PLANE
    yield "split", Do(lambda x: (lambda a, b, c: a + F.relu(c) - b)(*x.split([1, 1, 1], 1))), (3, 8, 8)
    yield "split-planes", Do(lambda x: torch.cat(x.split([3, 5], 2)[::-1], 2)), PLANE
    yield "cat-width", Do(lambda x: torch.cat([x, F.relu(x)], 3)), PLANE
    yield "cat-series", Do(lambda x: torch.cat([x, F.relu(x)], 2)), SERIES
    yield "stack", Do(lambda x: torch.stack([x, F.relu(x)], 1)), ROW
    yield "slice", Do(lambda x: x[:, 1:3, ::2, -4:]), PLANE
    yield "select", Do(lambda x: x[:, 0] + x[:, -1]), PLANE
    yield "select-last-step", Do(lambda x: x[:, :, -1]), SERIES
    yield "index-list", Do(lambda x: x[:, [2, 0, 3]]), PLANE
    yield "index-rows", Do(lambda x: x[:, :, [2, 0, 3]]), PLANE
    yield "index-two-axes", Do(lambda x: x[:, [2, 0], [1, 3]]), PLANE
    yield "index-after-permute", Do(lambda x: x.view(-1, 3, 4).permute(1, 0, 2)[1]), ROW
    yield "unbind", Do(lambda x: torch.cat(x.unbind(1)[::-1], 1)), PLANE
    yield "masked-fill", Do(lambda x, m: x.masked_fill(m > 0, -3.0), m=torch.eye(8)), PLANE
    yield "where-mask", Do(lambda x, m: torch.where(m > 0, x, F.relu(x)), m=torch.eye(8)), PLANE
    yield "flip", Do(lambda x: x.flip(3)), PLANE
    yield "roll", Do(lambda x: x.roll(1, 2)), PLANE
    yield "squeeze-unsqueeze", Do(lambda x: F.relu(x.unsqueeze(1)).squeeze(1)), PLANE
    yield "expand", Do(lambda x: x + x.mean(1, keepdim=True).expand_as(x)), PLANE
    yield "channel-shuffle", nn.ChannelShuffle(2), PLANE
    yield "pixel-shuffle", nn.PixelShuffle(2), PLANE
    yield "pixel-unshuffle", nn.PixelUnshuffle(2), PLANE
    yield "repeat", Do(lambda x: x.repeat(1, 2, 1, 1)), PLANE
    yield "unfold-space-to-depth", Do(lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)), PLANE
    yield "pad-zero", nn.ZeroPad2d((1, 2, 3, 0)), PLANE
    yield "pad-zero1d", nn.ConstantPad1d((2, 1), 0.0), SERIES
    yield "pad-constant", nn.ConstantPad2d(1, 0.5), PLANE
    yield "pad-reflect", nn.ReflectionPad2d((1, 2, 2, 1)), PLANE
    yield "pad-replicate", nn.ReplicationPad2d((1, 2, 2, 1)), PLANE
    yield "pad-circular", nn.CircularPad2d((1, 2, 2, 1)), PLANE
    yield "pad-crop", nn.ZeroPad2d((-1, -2, 1, 0)), PLANE
    yield "pad-channels", Do(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))), PLANE
    yield "pad-row", Do(lambda x: F.pad(x, (1, 2))), ROW


def arithmetic() -> Iterator:
    yield "residual", Do(lambda x, f: F.relu(x + f(x)), nn.Conv2d(4, 4, 3, padding=1)), PLANE
    yield "difference", Do(lambda x, f: f(x) - x, nn.Conv2d(4, 4, 3, padding=1)), PLANE
    yield "sum-of-three", Do(lambda x: x + F.relu(x) + x), PLANE
    yield "double", Do(lambda x: x + x), PLANE
    yield "scalars", Do(lambda x: (2 - x * 3) / 4 + 0.5), PLANE
    yield "negative", Do(lambda x: F.relu(-x)), PLANE
    yield "scale-per-channel", Do(lambda x, a, b: x * a + b, a=torch.randn(1, 4, 1, 1), b=torch.randn(4, 1, 1)), PLANE
    yield "constant-plane", Do(lambda x, a: x + a, a=torch.randn(1, 1, 8, 8)), PLANE
    yield "constant-image", Do(lambda x, a, b: x * a - b, a=torch.randn(4, 8, 8), b=torch.randn(4, 8, 8)), PLANE
    yield "constant-row", Do(lambda x, a: x / a, a=torch.rand(12) + 0.5), ROW
    yield "constant-last-axis", Do(lambda x, a: x * a, a=torch.randn(16)), SERIES
    yield "product-of-wires", Do(lambda x, f: x * f(x), nn.Conv2d(4, 4, 1)), PLANE
    yield "square", Do(lambda x: x * x), PLANE
    yield "power-2", Do(lambda x: x**2), PLANE
    yield "gate-per-channel", Do(lambda x: x * F.hardsigmoid(x.mean((2, 3), keepdim=True))), PLANE
    yield "squeeze-excite-hard", SqueezeExcite(nn.Hardsigmoid()), PLANE
    yield "squeeze-excite-relu6", SqueezeExcite(nn.ReLU6()), PLANE
    yield "maximum", Do(lambda x, f: torch.maximum(x, f(x)), nn.Conv2d(4, 4, 1)), PLANE
    yield "minimum", Do(lambda x, f: torch.minimum(x, f(x)), nn.Conv2d(4, 4, 1)), PLANE
    yield "maximum-constant", Do(lambda x, a: torch.maximum(x, a), a=torch.tensor(0.3)), PLANE
    yield "minimum-channels", Do(lambda x, a: torch.minimum(x, a), a=torch.rand(4, 1, 1)), PLANE
    yield "absolute", Do(lambda x: x.abs()), PLANE
    yield "maxout", Do(lambda x: x.view(x.size(0), 2, 2, 8, 8).amax(2)), PLANE


class SqueezeExcite(nn.Module):
    def __init__(self, gate: nn.Module):
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


def reductions() -> Iterator:
    for what in ("mean", "sum", "amax", "amin"):
        yield f"{what}-planes", Do(lambda x, what=what: getattr(x, what)((2, 3))), PLANE
        yield f"{what}-channels-kept", Do(lambda x, what=what: getattr(x, what)(1, keepdim=True)), PLANE
        yield f"{what}-last", Do(lambda x, what=what: getattr(x, what)(-1)), SERIES
    yield "mean-all", Do(lambda x: x.mean((1, 2, 3))), PLANE
    yield "mean-all-kept", Do(lambda x: x.mean((1, 2, 3), keepdim=True)), PLANE
    yield "max-values", Do(lambda x: x.max(2).values), SERIES
    yield "argmax", Do(lambda x: x.argmax(1)), ROW
    yield "argmax-kept", Do(lambda x: x.argmax(1, keepdim=True)), ROW
    yield "argmax-planes", Do(lambda x: x.argmax(1)), PLANE


def ends() -> Iterator:
    body = lambda end: nn.Sequential(nn.Linear(12, 5), end)  # noqa: E731
    yield "end-softmax", body(nn.Softmax(1)), ROW
    yield "end-softmax-last", body(nn.Softmax(-1)), ROW
    yield "end-log-softmax", body(nn.LogSoftmax(1)), ROW
    yield "end-sigmoid", nn.Sequential(nn.Linear(12, 1), nn.Sigmoid()), ROW
    yield "end-sigmoids", body(nn.Sigmoid()), ROW
    yield "end-softmax-planes", nn.Sequential(nn.Conv2d(4, 3, 1), nn.Softmax2d()), PLANE


def others() -> Iterator:
    """What no list promises: the reason for refusing must be clear, or the import right."""
    for layer in (nn.GELU(), nn.SiLU(), nn.Tanh(), nn.ELU(), nn.Softplus(), nn.Mish()):
        yield type(layer).__name__.lower(), nn.Sequential(layer, nn.ReLU()), PLANE, "activation"
    yield "threshold-jump", nn.Threshold(0.5, 2.0), PLANE, "jump"
    yield "hardshrink", nn.Hardshrink(0.5), PLANE, "jump"
    yield "sigmoid-inside", nn.Sequential(nn.Sigmoid(), nn.Linear(12, 4)), ROW, "activation"
    yield "softmax-inside", nn.Sequential(nn.Softmax(1), nn.Linear(12, 4)), ROW, "activation"
    yield "layer-norm", nn.LayerNorm(12), ROW, "normalisation"
    yield "group-norm", nn.GroupNorm(2, 4), PLANE, "normalisation"
    yield "instance-norm", nn.InstanceNorm2d(4), PLANE, "normalisation"
    yield "local-response-norm", nn.LocalResponseNorm(3), PLANE, "normalisation"
    yield "lstm", Do(lambda x, f: f(x)[0], nn.LSTM(4, 3, batch_first=True)), (5, 4), "recurrent"
    yield "attention", Do(lambda x, f: f(x, x, x)[0], nn.MultiheadAttention(4, 2, batch_first=True)), (5, 4), "attention"
    yield "upsample-bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), PLANE, "interpolation"
    yield "upsample-bilinear-corners", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), PLANE, "interpolation"
    yield "conv3d", nn.Conv3d(2, 3, 2), (2, 4, 4, 4), "three axes"
    yield "embedding-bag", Do(lambda x: torch.sort(x, 1).values), ROW, "order"
