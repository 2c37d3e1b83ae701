"""A small Keras network on 8x8 digits, classified by two servers that see neither images nor weights.

    pip install ./python keras tensorflow tf2onnx scikit-learn
    python python/examples/keras_model.py

trains, exports as Keras does by default, imports, checks and plans; python/README.md says how to start the servers. With
KERAS_BACKEND=torch (and torch, onnxscript for tensorflow, tf2onnx) it is the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import twoply


def network() -> keras.Model:
    return keras.Sequential([
        keras.Input((8, 8, 1)),
        layers.Conv2D(8, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="a Keras network between two servers")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for graph, weights and plan")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    x, y = digits.images[..., None].astype(np.float32), digits.target
    normalised = x / 16
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(normalised[:1500], y[:1500], batch_size=32, epochs=5, verbose=0)

    model.export(args.out / "digits.onnx", format="onnx", verbose=False)
    example = normalised[:8], np.asarray(model(normalised[:8]))
    imported = twoply.from_onnx(args.out / "digits.onnx", scale=1 / 16, folder=args.out, force=True, example=example)
    report = imported.check(x[:100])
    print(f"labels that agree with float32, of {report['images']}: {report['labels']['float_private']}")
    plan = imported.plan(x[:1500], force=True)
    print(f"{plan.bill['comparisons']} comparisons and {plan.bill['bytes_sent'][0]} bytes from each server per image")
    right = (np.asarray(model(normalised[1500:])).argmax(1) == y[1500:]).mean()
    print(f"{right:.1%} of the test digits are right in float32; next: deal keys for {plan.path}")


if __name__ == "__main__":
    main()
