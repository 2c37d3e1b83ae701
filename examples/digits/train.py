"""Trains the demo's network on the 8x8 handwritten digits of UCI and writes every file of this folder.

    python train.py [--out FOLDER]

Plain numpy, one thread, fixed seeds, some seconds. The network reads x = (pixel * SCALE - MEAN) / STD as
[batch, 1, 8, 8] and gives ten logits. Training runs in float64 and only its result is rounded to float32:
processors whose sums differ in the last bit then still write the same files. README.md says what the files
are for and where the data come from.
"""

import argparse
import os
import struct
from pathlib import Path

# Threads may split a sum differently from run to run. Must come before numpy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

SPLIT_SEED, WEIGHT_SEED = 20, 26
HELD_OUT, CALIBRATION = 500, 256
# Near the pixels' mean 0.305 and deviation 0.376, but dyadic: x = (pixel - 5) / 8 has no rounding error, in
# float32 or in fixed point.
SCALE, MEAN, STD = 1 / 16, 0.3125, 0.5
EPOCHS, BATCH, RATE, DECAY = 40, 32, 3e-3, 0.03
FRACTION_BITS, MARGIN = 12, 1.5


class Conv:
    """3x3 convolution, stride 1, zero padding 1. y = W . patches(x) + b, W as [out, in * 9]."""

    def __init__(self, rng, inputs, outputs):
        self.w = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs * 9))
        self.b = np.zeros(outputs)

    def forward(self, x):
        n, c, h, w = self.shape = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        taps = [padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)]
        self.cols = np.stack(taps, axis=2).reshape(n, c * 9, h * w)
        return (self.w @ self.cols + self.b[:, None]).reshape(n, -1, h, w)

    def backward(self, dy):
        n, c, h, w = self.shape
        dy = dy.reshape(n, -1, h * w)
        self.dw = np.tensordot(dy, self.cols, axes=([0, 2], [0, 2]))
        self.db = dy.sum(axis=(0, 2))
        taps = (self.w.T @ dy).reshape(n, c, 3, 3, h, w)
        dx = np.zeros((n, c, h + 2, w + 2))
        for i in range(3):
            for j in range(3):
                dx[:, :, i : i + h, j : j + w] += taps[:, :, i, j]
        return dx[:, :, 1:-1, 1:-1]


class Linear:
    """y = x W^T + b, W as [out, in]."""

    def __init__(self, rng, inputs, outputs):
        self.w = rng.normal(0, np.sqrt(2 / inputs), (outputs, inputs))
        self.b = np.zeros(outputs)

    def forward(self, x):
        self.x = x
        return x @ self.w.T + self.b

    def backward(self, dy):
        self.dw, self.db = dy.T @ self.x, dy.sum(axis=0)
        return dy @ self.w


class Relu:
    """y = max(x, 0)."""

    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backward(self, dy):
        return dy * self.on


class MaxPool:
    """Largest of each 2x2 window, stride 2; the gradient goes to the first of equals."""

    def forward(self, x):
        n, c, h, w = self.shape = x.shape
        cells = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
        cells = cells.reshape(n, c, h // 2, w // 2, 4)
        self.best = cells.argmax(axis=-1)[..., None]
        return np.take_along_axis(cells, self.best, axis=-1)[..., 0]

    def backward(self, dy):
        n, c, h, w = self.shape
        cells = np.zeros((n, c, h // 2, w // 2, 4))
        np.put_along_axis(cells, self.best, dy[..., None], axis=-1)
        cells = cells.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
        return cells.reshape(n, c, h, w)


class Flatten:
    """[batch, c, h, w] -> [batch, c * h * w]."""

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)


def build():
    """The network as (name, layer); the names become node and weight names in the graph file."""
    rng = np.random.RandomState(WEIGHT_SEED)  # RandomState: its stream is frozen across numpy versions
    return [
        ("conv1", Conv(rng, 1, 8)), ("relu1", Relu()), ("pool1", MaxPool()),
        ("conv2", Conv(rng, 8, 16)), ("relu2", Relu()), ("pool2", MaxPool()),
        ("flatten", Flatten()),
        ("fc1", Linear(rng, 64, 32)), ("relu3", Relu()), ("fc2", Linear(rng, 32, 10)),
    ]  # fmt: skip


def linear_layers(net):
    """The layers that have weights."""
    return [(name, layer) for name, layer in net if hasattr(layer, "w")]


def forward(net, x, peaks=None):
    """Logits of x; `peaks` collects the largest magnitude that leaves each layer with weights."""
    for name, layer in net:
        x = layer.forward(x)
        if peaks is not None and hasattr(layer, "w"):
            peaks[name] = max(peaks.get(name, 0.0), float(np.abs(x).max()))
    return x


def normalise(pixels):
    """What the network reads, from pixels 0..16."""
    return (pixels[:, None].astype(np.float64) * SCALE - MEAN) / STD


def split():
    """((training pixels, labels), (held-out pixels, labels)), shuffled with a fixed seed."""
    data = load_digits()
    pixels, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    train, held = order[:-HELD_OUT], order[-HELD_OUT:]
    return (pixels[train], labels[train]), (pixels[held], labels[held])


def train(net, x, labels):
    """Cross-entropy, Adam with decoupled weight decay, the rate falling linearly to zero."""
    rng = np.random.RandomState(WEIGHT_SEED + 1)
    moments = {}
    for name, layer in linear_layers(net):
        moments[name] = [np.zeros_like(a) for a in (layer.w, layer.w, layer.b, layer.b)]
    steps, step = EPOCHS * (len(x) // BATCH), 0
    for epoch in range(EPOCHS):
        order, total = rng.permutation(len(x)), 0.0
        for at in range(len(x) // BATCH):
            rows = order[at * BATCH : (at + 1) * BATCH]
            total += gradients(net, x[rows], labels[rows])
            step += 1
            for name, layer in linear_layers(net):
                adam(layer, moments[name], RATE * (1 - step / (steps + 1)), step)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: training loss {total / (len(x) // BATCH):.4f}")


def gradients(net, x, labels):
    """Leaves the gradients of the mean cross-entropy in the layers and returns its value."""
    z = forward(net, x)
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    grad = p / len(x)
    for _, layer in reversed(net):
        grad = layer.backward(grad)
    return loss


def adam(layer, moments, rate, step):
    """One step on a layer's weights and bias; only the weights decay."""
    weights, bias = (layer.w, layer.dw, *moments[:2], DECAY), (layer.b, layer.db, *moments[2:], 0.0)
    for a, g, m, v, decay in (weights, bias):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        a -= rate * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + decay * a)


def to_float32(net):
    """Rounds the weights to what the graph file holds: ranges and logits are then those of the file."""
    for _, layer in linear_layers(net):
        layer.w, layer.b = (a.astype(np.float32).astype(np.float64) for a in (layer.w, layer.b))


def graph(net):
    """The network as an ONNX model, opset 20, batch size left open."""
    nodes, weights, wire = [], [], "image"
    for name, layer in net:
        out = "logits" if layer is net[-1][1] else name
        inputs = [wire]
        if hasattr(layer, "w"):
            shape = (len(layer.w), -1, 3, 3) if isinstance(layer, Conv) else layer.w.shape
            for part, a in (("weight", layer.w.reshape(shape)), ("bias", layer.b)):
                inputs.append(f"{name}.{part}")
                weights.append(numpy_helper.from_array(a.astype("<f4"), inputs[-1]))
        op, attributes = {
            Conv: ("Conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}),
            Relu: ("Relu", {}),
            MaxPool: ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            Flatten: ("Flatten", {"axis": 1}),
            Linear: ("Gemm", {"transB": 1}),
        }[type(layer)]
        nodes.append(helper.make_node(op, inputs, [out], name=name, **attributes))
        wire = out
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    body = helper.make_graph(nodes, "digits", [image], [logits], weights)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(body, opset_imports=opset, ir_version=9, producer_name="twoply digits demo")
    onnx.checker.check_model(model, full_check=True)
    return model


def write_idx(path, a):
    """IDX of unsigned bytes, as MNIST uses it: 00 00 08 rank, big-endian 32-bit extents, the bytes."""
    path.write_bytes(struct.pack(f">I{a.ndim}I", 0x0800 | a.ndim, *a.shape) + a.astype(np.uint8).tobytes())


def write_npy(path, a):
    """float32, C order, little endian."""
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(a, dtype="<f4"))


def report(peaks, right):
    """Prints accuracy and ranges; stops where the demo's fixed-point contract would not hold."""
    print(f"held-out: {right} of {HELD_OUT} right, {100 * right / HELD_OUT:.1f} %")
    # The contract before a truncation, |x| <= 2^(n-2) - 2^f at 2f fraction bits with n = 32, in real terms.
    bound = 2.0 ** (30 - 2 * FRACTION_BITS) - 2.0**-FRACTION_BITS
    for name, peak in peaks.items():
        print(f"{name}: largest |pre-activation| {peak:.3f}, x {MARGIN} = {peak * MARGIN:.3f} of {bound:.3f}")
        if peak * MARGIN > bound:
            raise SystemExit(f"{name} leaves the range of fixed point")
    if right < 0.97 * HELD_OUT:
        raise SystemExit("accuracy below 97 %: nothing written")


def main():
    """Train, check, write."""
    parser = argparse.ArgumentParser(description="Train the digits demo and write its files.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: here)")
    out = parser.parse_args().out
    (pixels, labels), (held_pixels, held_labels) = split()
    net = build()
    parameters = sum(layer.w.size + layer.b.size for _, layer in linear_layers(net))
    print(f"{parameters} parameters, {len(pixels)} training images")
    train(net, normalise(pixels), labels)
    to_float32(net)
    peaks = {}
    forward(net, normalise(pixels), peaks)
    logits = forward(net, normalise(held_pixels), peaks)
    report(peaks, int((logits.argmax(axis=1) == held_labels).sum()))
    out.mkdir(parents=True, exist_ok=True)
    (out / "digits.onnx").write_bytes(graph(net).SerializeToString(deterministic=True))
    write_idx(out / "digits-images.idx", held_pixels)
    write_idx(out / "digits-labels.idx", held_labels)
    write_idx(out / "calibration-images.idx", pixels[:CALIBRATION])
    write_npy(out / "digits.logits.npy", logits)


if __name__ == "__main__":
    main()
