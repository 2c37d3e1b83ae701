"""A scikit-learn network on 30 features of a tumour, between two servers that see neither features nor weights.

    pip install ./python scikit-learn skl2onnx
    python python/examples/sklearn_model.py

trains, exports, imports, checks and plans; python/README.md says how to start the servers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import twoply


def main() -> None:
    parser = argparse.ArgumentParser(description="a scikit-learn network between two servers")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for graph, weights and plan")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    x, y = load_breast_cancer(return_X_y=True)
    # The data owner scales: mean and deviation of the training rows are public.
    x = StandardScaler().fit(x[:400]).transform(x).astype(np.float32)
    network = MLPClassifier(hidden_layer_sizes=(16, 8), max_iter=500, random_state=0).fit(x[:400], y[:400])

    # One array of probabilities beside the labels; the default is a list of maps.
    exported = to_onnx(network, x[:1], options={"zipmap": False})
    (args.out / "tumour.onnx").write_bytes(exported.SerializeToString())
    # What the import keeps is the score that the probabilities of both classes are made of, its sign the label.
    probabilities = network.predict_proba(x[:8])
    example = x[:8], np.log(probabilities[:, 1:] / probabilities[:, :1]).astype(np.float32)
    imported = twoply.from_onnx(args.out / "tumour.onnx", folder=args.out, force=True, example=example)
    report = imported.check(x[:100], samples_normalised=True)
    print(f"labels that agree with float32, of {report['images']}: {report['labels']['float_private']}")
    plan = imported.plan(x[:400], samples_normalised=True, force=True)
    print(f"{plan.bill['comparisons']} comparisons and {plan.bill['bytes_sent'][0]} bytes from each server per row")
    print(f"{network.score(x[400:], y[400:]):.1%} of the test rows are right in float32; next: deal keys for {plan.path}")


if __name__ == "__main__":
    main()
