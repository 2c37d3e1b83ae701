"""Writes the corpus of Keras 3, on the backend of the environment variable KERAS_BACKEND, and that of tf2onnx.

Variants: `export-BACKEND` is model.export(path, format="onnx") as written by default, a number behind it its opset; on
TensorFlow also `tf2onnx`, `tf2onnx-nchw` (inputs_as_nchw) and `tf2onnx-OPSET`.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Callable, Iterator  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L  # noqa: E402, N812

from corpus import Corpus, arguments, images  # noqa: E402

BACKEND = keras.backend.backend()
PLANE = (8, 8, 3)


def chain(shape: tuple[int, ...], *layers: L.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers])


def models() -> Iterator[tuple[str, keras.Model, str | None]]:
    keras.utils.set_random_seed(0)
    yield "mlp", chain((30,), L.Dense(16, "relu"), L.Dropout(0.3), L.Dense(8, "relu"), L.Dense(4)), None
    yield "mlp-softmax", chain((30,), L.Dense(16, "relu"), L.Dense(4, "softmax")), None
    yield "mlp-sigmoid", chain((30,), L.Dense(16, "relu"), L.Dense(1, "sigmoid")), None
    yield "mlp-batch-norm", chain((30,), L.Dense(16), L.BatchNormalization(), L.ReLU(), L.Dense(4)), None
    yield "cnn", cnn(), None
    yield "cnn-softmax", cnn("softmax"), None
    yield "cnn-global", chain((16, 16, 3), *block(8), *block(12, strides=2), L.GlobalAveragePooling2D(), L.Dense(4)), None
    yield "cnn-separable", chain(PLANE, L.SeparableConv2D(6, 3, padding="same"), L.ReLU(6.0), L.DepthwiseConv2D(3), L.Flatten(), L.Dense(4)), None
    yield "series", chain((32, 3), L.Conv1D(6, 5, activation="relu"), L.MaxPooling1D(2), L.Conv1D(8, 3, padding="causal"), L.GlobalMaxPooling1D(), L.Dense(4)), None
    yield "residual", residual(), None
    yield "unet", unet(), None
    conv = lambda *a, **k: chain(PLANE, L.Conv2D(4, *a, **k))  # noqa: E731
    yield "conv-valid", conv(3), None
    yield "conv-same", conv(3, padding="same"), None
    yield "conv-same-stride", conv(3, 2, padding="same"), None
    yield "conv-same-even", conv(2, padding="same"), None
    yield "conv-same-wide-stride", conv(1, 3, padding="same"), None
    yield "conv-dilated", conv(3, dilation_rate=2, padding="same"), None
    yield "conv-groups", chain((8, 8, 4), L.Conv2D(4, 3, groups=2)), "TensorFlow writes a call of another function"
    yield "conv-transpose", chain(PLANE, L.Conv2DTranspose(4, 3, 2, padding="same")), None
    yield "conv-transpose-valid", chain(PLANE, L.Conv2DTranspose(4, 2, 2)), None
    yield "conv1d-transpose", chain((16, 3), L.Conv1DTranspose(4, 3, 2, padding="same")), None
    for name, layer in single_layers():
        yield name, chain(PLANE, layer), None
    yield "dense-last-axis", chain((5, 6), L.Dense(4)), None
    yield "permute", chain((5, 6), L.Permute((2, 1)), L.Flatten(), L.Dense(4)), None
    yield "reshape", chain((24,), L.Reshape((4, 6)), L.Conv1D(3, 2)), None
    yield "zero-pad-crop", chain(PLANE, L.ZeroPadding2D(((1, 2), (0, 1))), L.Cropping2D(1)), None
    for activation in ("gelu", "tanh", "silu"):
        yield activation, chain((12,), L.Activation(activation), L.Dense(4)), "activation"
    yield "layer-norm", chain((12,), L.LayerNormalization(), L.Dense(4)), "normalisation"


def single_layers() -> Iterator[tuple[str, L.Layer]]:
    yield "max-pool", L.MaxPooling2D(2)
    yield "max-pool-same", L.MaxPooling2D(3, 2, padding="same")
    yield "average-pool", L.AveragePooling2D(2)
    yield "average-pool-same", L.AveragePooling2D(3, 2, padding="same")
    yield "global-average", L.GlobalAveragePooling2D()
    yield "global-average-kept", L.GlobalAveragePooling2D(keepdims=True)
    yield "global-max", L.GlobalMaxPooling2D()
    yield "up-sampling", L.UpSampling2D(2)
    yield "batch-norm", L.BatchNormalization()
    yield "rescaling", L.Rescaling(1 / 127.5, offset=-1)
    yield "relu6", L.ReLU(6.0)
    yield "relu-options", L.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.5)
    yield "leaky-relu", L.LeakyReLU(negative_slope=0.2)
    yield "prelu", L.PReLU(shared_axes=[1, 2], alpha_initializer="random_uniform")
    yield "hard-sigmoid", L.Activation("hard_sigmoid")
    yield "hard-swish", L.Activation("hard_silu")


def block(channels: int, strides: int = 1) -> list[L.Layer]:
    return [L.Conv2D(channels, 3, strides, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU()]


def cnn(end: str | None = None) -> keras.Model:
    return chain(
        (28, 28, 1), L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Conv2D(6, 3, activation="relu"), L.MaxPooling2D(),
        L.Flatten(), L.Dropout(0.5), L.Dense(16, "relu"), L.Dense(10, end),
    )  # fmt: skip


def residual() -> keras.Model:
    x = start = keras.Input(PLANE)
    for layer in [*block(3), *block(3)[:2]]:
        x = layer(x)
    x = L.ReLU()(L.Add()([x, start]))
    return keras.Model(start, L.Dense(4)(L.Flatten()(L.Concatenate()([x, start]))))


def unet() -> keras.Model:
    start = keras.Input((16, 16, 3))
    a = L.Conv2D(4, 3, padding="same", activation="relu")(start)
    b = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPooling2D()(a))
    up = L.Conv2DTranspose(4, 2, 2, padding="same")(b)
    joined = L.Conv2D(4, 3, padding="same", activation="relu")(L.Concatenate()([a, L.UpSampling2D()(b), up]))
    return keras.Model(start, L.Conv2D(2, 1)(joined))


def settle(model: keras.Model) -> None:
    """Statistics, factors and terms of their own for BatchNorm, and biases that are not zero."""
    rng = np.random.default_rng(5)
    for layer in model.layers:
        values = layer.get_weights()
        if isinstance(layer, L.BatchNormalization):
            spread = [(0.6, 1.4), (-0.3, 0.3), (-0.5, 0.5), (0.5, 1.5)]
            values = [rng.uniform(*limits, v.shape) for limits, v in zip(spread, values)]
        elif values and values[-1].ndim == 1:
            values[-1] = rng.uniform(-0.3, 0.3, values[-1].shape)
        layer.set_weights(values)


def tf2onnx(model: keras.Model, opset: int | None, nchw: bool) -> Callable[[str], None]:
    import tensorflow
    import tf2onnx as converter

    signature = [tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.float32, name="x")]

    def write(path: str) -> None:
        function = tensorflow.function(lambda x: model(x, training=False), input_signature=signature)
        options = {"inputs_as_nchw": ["x"]} if nchw else {}
        converter.convert.from_function(function, signature, opset=opset, output_path=path, **options)

    return write


def main() -> None:
    args = arguments(__doc__).parse_args()
    corpus = Corpus(args.folder, f"keras-{BACKEND}")
    for name, model, outside in models():
        if args.only not in name:
            continue
        settle(model)
        x = images(model.input_shape[1:])
        y = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))
        add = lambda variant, write, x=x: corpus.add(f"keras-{name}", variant, write, x, y, outside)  # noqa: B023, E731
        add(f"export-{BACKEND}", lambda path: model.export(path, format="onnx", verbose=False))
        for opset in (13, 18):
            add(f"export-{BACKEND}-{opset}", lambda path: model.export(path, format="onnx", verbose=False, opset_version=opset))
        if BACKEND == "tensorflow":
            add("tf2onnx", tf2onnx(model, None, False))
            for opset in (11, 13, 18):
                add(f"tf2onnx-{opset}", tf2onnx(model, opset, False))
            if x.ndim == 4:
                add("tf2onnx-nchw", tf2onnx(model, None, True), x.transpose(0, 3, 1, 2).copy())
    corpus.close()


if __name__ == "__main__":
    main()
