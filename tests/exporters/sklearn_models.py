"""Writes the corpus of scikit-learn: multilayer perceptrons and logistic regression, by skl2onnx.

Variants: `scores` is to_onnx(model, rows) with ZipMap left out, `plain` as written by default (a list of maps as second
output), `raw` with raw scores, numbers are opsets. What is compared is the last float output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from corpus import Corpus, arguments, images

FEATURES = 30
OPSETS = (11, 13, 15, 17, 19, 21)


def models() -> Iterator[tuple[str, object, str | None]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, FEATURES)).astype(np.float32)
    linear = x @ rng.standard_normal((FEATURES, 4))
    two, four, rows = (linear[:, 0] > 0).astype(int), linear.argmax(1), linear[:, :2]
    words = np.array(["no", "yes"])[two]
    small = {"hidden_layer_sizes": (16, 8), "max_iter": 30, "random_state": 0}
    yield "mlp-classifier-2", MLPClassifier(**small).fit(x, two), None
    yield "mlp-classifier-4", MLPClassifier(**small).fit(x, four), None
    yield "mlp-classifier-words", MLPClassifier(**small).fit(x, words), None
    yield "mlp-classifier-identity", MLPClassifier(**small, activation="identity").fit(x, four), None
    yield "mlp-classifier-tanh", MLPClassifier(**small, activation="tanh").fit(x, four), "activation"
    yield "mlp-classifier-logistic", MLPClassifier(**small, activation="logistic").fit(x, four), "activation"
    yield "mlp-classifier-labels-many", MLPClassifier(**small).fit(x, (linear[:, :3] > 0).astype(int)), None
    yield "mlp-regressor-1", MLPRegressor(**small).fit(x, rows[:, 0]), None
    yield "mlp-regressor-2", MLPRegressor(**small).fit(x, rows), None
    yield "logistic-2", LogisticRegression().fit(x, two), None
    yield "logistic-4", LogisticRegression().fit(x, four), None
    yield "linear-regression", LinearRegression().fit(x, rows), None
    yield "ridge-1", Ridge().fit(x, rows[:, 0]), None
    yield "scaled-mlp", make_pipeline(StandardScaler(), MLPClassifier(**small)).fit(x, four), None
    yield "min-max-mlp", make_pipeline(MinMaxScaler(), MLPRegressor(**small)).fit(x, rows[:, 0]), None


def export(model: object, variant: str) -> Callable[[str], None]:
    options: dict = {}
    kind = type(model[-1] if hasattr(model, "steps") else model)
    if variant != "plain" and hasattr(model, "predict_proba"):
        options = {kind: {"zipmap": False, **({"raw_scores": True} if variant == "raw" else {})}}
    opset = int(variant) if variant.isdigit() else None

    def write(path: str) -> None:
        written = to_onnx(model, initial_types=[("X", FloatTensorType([None, FEATURES]))], options=options, target_opset=opset)
        if variant == "one-output":
            del written.graph.output[0]
        Path(path).write_bytes(written.SerializeToString())

    return write


def given(model: object, x: np.ndarray, variant: str) -> np.ndarray | None:
    """What scikit-learn gives, where the file gives one thing."""
    if variant == "raw":
        return None
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x).reshape(len(x), -1)


def scores(model: object, x: np.ndarray) -> np.ndarray | None:
    """Scores of a logistic regression, which its operator makes probabilities of; of two classes one for each."""
    if not isinstance(model, LogisticRegression):
        return None
    found = model.decision_function(x)
    return (np.stack([-found, found], 1) if found.ndim == 1 else found).astype(np.float32)


def main() -> None:
    args = arguments(__doc__).parse_args()
    warnings.simplefilter("ignore")
    corpus = Corpus(args.folder, "scikit-learn")
    x = images((FEATURES,))
    for name, model, outside in models():
        classes = hasattr(model, "predict_proba")
        variants = ["scores", "plain", "one-output"] if classes else ["plain"]
        variants += ["raw"] if isinstance(model, LogisticRegression) else []
        for variant in [*variants, *map(str, OPSETS)]:
            if args.only in name:
                corpus.add(name, variant, export(model, variant), x, given(model, x, variant), outside, scores(model, x))
    corpus.close()


if __name__ == "__main__":
    main()
