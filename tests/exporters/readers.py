"""Where readers of ONNX disagree: the rows of docs/readers.md, as ONNX Runtime, onnx.reference, tract and twoply run them.

    readers.py [--binary twoply] [--tract FOLDER]       FOLDER: where tract is built; left out, it is not run

Each row is a model of one node. An answer is the extents and the values, or that it is refused, when read or when run.
Fails where twoply imports a row and gives an answer that the row does not allow.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from corpus import runtime, silence
from judge import imported

TRACT = "0.23.9"
INF, NAN = float("inf"), float("nan")


def model(op: str, x: np.ndarray, *operands: np.ndarray | None, opset: int = 13, outputs: int = 1, ir: int = 8, **attributes) -> onnx.ModelProto:
    """One node on x; of several outputs the last is the model's."""
    names = ["x"] + ["" if v is None else f"c{i}" for i, v in enumerate(operands)]
    constants = [numpy_helper.from_array(v, f"c{i}") for i, v in enumerate(operands) if v is not None]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, **attributes)
    kind = TensorProto.FLOAT
    if outputs > 1 or op == "ArgMax":
        kind = {"Dropout": TensorProto.BOOL}.get(op, TensorProto.INT64)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *x.shape[1:]])]
    graph = helper.make_graph([node], "row", inputs, [helper.make_tensor_value_info(results[-1], kind, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def count(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def rows() -> Iterator[tuple[str, str, onnx.ModelProto, np.ndarray]]:
    """What it is, what twoply may do, model, input. It may refuse everything; an import may give only what is named: the
    answer of ONNX Runtime ("runtime") or of onnx.reference ("reference"); "refuse" allows none, "any" is not for networks."""
    line = count(1, 1, 8)
    conv, pool, back = partial(model, "Conv"), partial(model, "MaxPool"), partial(model, "ConvTranspose")
    one, two, ten = np.ones((1, 1, 1), np.float32), np.ones((1, 1, 2), np.float32), floats(1, 10).reshape(1, 1, 2)
    for side in ("SAME_UPPER", "SAME_LOWER"):
        yield f"Conv {side}, kernel 1, stride 4 on 8: pads of -3", "refuse", conv(line, one, auto_pad=side, strides=[4]), line
        yield f"MaxPool {side}, kernel 1, stride 3 on 8: pads of -1", "refuse", pool(line, auto_pad=side, strides=[3], kernel_shape=[1]), line
    yield "Conv SAME_UPPER, kernel 2, dilation 2", "reference", conv(line, two, auto_pad="SAME_UPPER", dilations=[2]), line
    yield "MaxPool SAME_UPPER, kernel 2, dilation 2", "refuse", pool(line, auto_pad="SAME_UPPER", dilations=[2], kernel_shape=[2]), line
    yield "ConvTranspose SAME_UPPER, kernel 2, stride 1", "runtime", back(line, ten, auto_pad="SAME_UPPER"), line
    yield "ConvTranspose SAME_LOWER, kernel 2, stride 1", "runtime", back(line, ten, auto_pad="SAME_LOWER"), line
    yield "ConvTranspose SAME_LOWER, kernel 1, stride 2", "refuse", back(line, one, auto_pad="SAME_LOWER", strides=[2]), line
    yield "MaxPool ceil_mode, kernel 1, stride 2 on 8", "runtime", pool(line, ceil_mode=1, strides=[2], kernel_shape=[1]), line
    yield "MaxPool VALID with ceil_mode, kernel 3, stride 2 on 8", "refuse", pool(line, auto_pad="VALID", ceil_mode=1, strides=[2], kernel_shape=[3]), line
    average = partial(model, "AveragePool", line, opset=19, ceil_mode=1, kernel_shape=[4])
    yield "AveragePool ceil_mode, kernel 4, stride 3 on 8", "runtime", average(strides=[3]), line
    yield "AveragePool ceil_mode, kernel 4, stride 4, pads of 1, counted", "runtime", average(strides=[4], pads=[1, 1], count_include_pad=1), line
    small = count(1, 2, 2) / 4
    for opset in (11, 13):
        yield f"Softmax of opset {opset} on [1, 2, 2], axis left out", "runtime", model("Softmax", small, opset=opset), small
    twice = model("Softmax", small, opset=13)
    twice.opset_import.insert(0, helper.make_opsetid("", 11))
    yield "the same, with opsets 11 and 13 both named", "refuse", twice, small
    images = floats(0, 2, 4, 6).reshape(2, 2, 1)
    statistics = [np.full(2, v, np.float32) for v in (1, 0, 1, 4)]
    for opset in (9, 14):
        yield f"BatchNormalization of opset {opset}, mean 1, variance 4, of 0 2 4 6", "runtime", model("BatchNormalization", images, *statistics, opset=opset, epsilon=1e-9), images
    channels = floats(1, 2, 3, 4).reshape(1, 4, 1, 1)
    yield "LRN of size 3 on one image of 4 channels, 1 2 3 4", "runtime", model("LRN", channels, size=3, alpha=3.0, beta=1.0, bias=1.0), channels
    nine = count(1, 1, 3, 3)
    yield "MaxPool's indices, kernel 3, strides left out, on 3 x 3", "refuse", pool(nine, outputs=2, kernel_shape=[3, 3]), nine
    three, wide = count(1, 1, 1, 3), count(1, 1, 1, 8)
    resize = partial(model, "Resize", mode="nearest", opset=11)
    none = np.zeros(0, np.float32)
    corners = {"coordinate_transformation_mode": "align_corners", "nearest_mode": "round_prefer_ceil"}
    yield "Resize nearest, align_corners, 3 by 1.7", "refuse", resize(three, none, floats(1, 1, 1, 1.7), **corners), three
    yield "Resize nearest, half_pixel, 3 by 1.3: 3 again", "refuse", resize(three, none, floats(1, 1, 1, 1.3)), three
    down = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    yield "Resize nearest, asymmetric, floor, 3 by 1.5", "runtime", resize(three, none, floats(1, 1, 1, 1.5), **down), three
    yield "Resize nearest, half_pixel, 3 by 2", "runtime", resize(three, none, floats(1, 1, 1, 2)), three
    yield "Resize nearest of opset 10, 8 by 0.4", "refuse", model("Resize", wide, floats(1, 1, 1, 0.4), opset=10, mode="nearest"), wide
    for opset in (10, 13):
        yield f"Dropout's mask, opset {opset}", "refuse", model("Dropout", count(1, 3), opset=opset, outputs=2), count(1, 3)
    odd = floats(-INF, -1, NAN, 1, INF).reshape(1, 5)
    yield "Clip to [0, open] of -inf -1 NaN 1 inf", "any", model("Clip", odd, np.float32(0)), odd
    yield "Relu of -inf -1 NaN 1 inf", "any", model("Relu", odd), odd
    middle = count(1, 3) - 1
    yield "Clip to [-inf, inf] of -1 0 1", "runtime", model("Clip", middle, np.float32(-INF), np.float32(INF)), middle
    yield "Clip to [1, 0] of -1 0 1: limits the wrong way round", "runtime", model("Clip", middle, np.float32(1), np.float32(0)), middle
    gap = floats(1, NAN, 3, 3)
    yield "MaxPool kernel 2 stride 2 of 1 NaN 3 3", "any", pool(gap.reshape(1, 1, 4), kernel_shape=[2], strides=[2]), gap.reshape(1, 1, 4)
    yield "ArgMax of 1 NaN 3 3", "any", model("ArgMax", gap.reshape(1, 4), axis=1), gap.reshape(1, 4)
    yield "ArgMax of 1 3 3", "runtime", model("ArgMax", floats(1, 3, 3).reshape(1, 3), axis=1), floats(1, 3, 3).reshape(1, 3)
    below = count(1, 3, 2) - 6
    yield "PRelu with 3 slopes on [1, 3, 2]", "refuse", model("PRelu", below, floats(0.1, 0.5, 0.9), opset=16), below
    square = count(1, 2, 2)
    yield "Pad reflect by 3 on an axis of 2", "refuse", model("Pad", square, np.array([0, 0, 3, 0, 0, 0]), mode="reflect"), square
    yield "Flatten in opset 20, IR version 10, as PyTorch 2.15 writes files", "runtime", model("Flatten", square, opset=20, ir=10), square
    yield "Flatten in opset 23, IR version 11", "runtime", model("Flatten", square, opset=23, ir=11), square
    again = model("Flatten", square, opset=22, ir=10)
    again.opset_import.append(helper.make_opsetid("", 22))
    yield "Flatten with opset 22 named twice, as skl2onnx 1.20 does", "runtime", again, square


def show(value: np.ndarray) -> str:
    numbers = [f"{float(v):.4g}" if value.dtype != bool else str(bool(v)) for v in value.reshape(-1)]
    return f"{list(value.shape)}: {' '.join(numbers)}".replace(", ", " x ")


def by_runtime(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return runtime(proto.SerializeToString(), optimised=False).run(None, {"x": x})[0]


def by_reference(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(proto).run(None, {"x": x})[0]


def by_tract(folder: Path, proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    path = folder / "row.onnx"
    path.write_bytes(proto.SerializeToString())
    command = [str(folder / "target/debug/tract"), str(path), ",".join(map(str, x.shape))]
    done = subprocess.run(command, input=x.astype("<f4").tobytes(), capture_output=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    extents, values = done.stdout.decode().splitlines()[0].split(";")
    shape = [int(v) for v in re.findall(r"\d+", extents)]
    return np.array([float(v) for v in values.split(",") if v], np.float32).reshape(shape)


def by_twoply(binary: str, proto: onnx.ModelProto, x: np.ndarray, answers: dict[str, np.ndarray]) -> tuple[str, str]:
    """Which of the others' answers an import gives, and in words."""
    with tempfile.TemporaryDirectory(prefix="twoply-readers-") as temporary:
        folder = Path(temporary)
        (folder / "row.onnx").write_bytes(proto.SerializeToString())
        np.save(folder / "x.npy", x)
        for name, answer in answers.items():
            np.save(folder / "y.npy", np.asarray(answer, np.float32))
            found = imported(binary, *(folder / n for n in ("row.onnx", "x.npy", "y.npy")), folder / "row")
            if found["verdict"] == "right":
                return name, f"as {name}"
            if found["verdict"] != "wrong":
                return found["verdict"], f"{found['verdict']}: {found['reasons'][0]}"
        return "other", "gives none of these answers"


def build(folder: Path) -> None:
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src/main.rs").write_text(Path(__file__).with_name("tract.rs").read_text())
    (folder / "Cargo.toml").write_text(
        '[package]\nname = "tract"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[profile.dev]\nopt-level = 1\ndebug = false\n'
        f'[dependencies]\ntract-onnx = {{ version = "={TRACT}", default-features = false }}\n'
    )
    subprocess.run(["cargo", "build", "--quiet"], cwd=folder, check=True)


def keep(folder: Path, number: int, title: str, may: str, proto: onnx.ModelProto, x: np.ndarray, answers: dict) -> None:
    """Writes a row for nn/tests/models/readers.rs: the model, and beside it what an import may give."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:02}.onnx").write_bytes(proto.SerializeToString())
    allowed = [answers[may].reshape(-1).tolist()] if may in answers else []
    if proto.graph.node[0].op_type == "Softmax" and allowed:
        # An import may leave a last Softmax to the data owner.
        allowed.append(x.reshape(-1).tolist())
    row = {"title": title, "x": x.reshape(-1).tolist(), "allowed": allowed}
    (folder / f"{number:02}.json").write_text(json.dumps(row) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="")
    parser.add_argument("--tract", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, help="write the rows that concern networks here, for nn/tests/models/readers.rs")
    args = parser.parse_args()
    readers = {"runtime": by_runtime, "reference": by_reference}
    names = {"runtime": f"ONNX Runtime {onnxruntime.__version__}", "reference": f"onnx.reference {onnx.__version__}"}
    if args.tract:
        build(args.tract)
        names["tract"], readers["tract"] = f"tract {TRACT}", partial(by_tract, args.tract)
    wrong = 0
    for number, (title, may, proto, x) in enumerate(rows()):
        if args.only not in title:
            continue
        print(f"\n{title}")
        answers: dict[str, np.ndarray] = {}
        for name, reader in readers.items():
            try:
                with silence():
                    answers[name] = np.asarray(reader(proto, x))
                print(f"  {names[name]:24} {show(answers[name])}")
            except Exception as e:  # noqa: BLE001: that it refuses is the answer
                lines = [line.strip() for line in str(e).splitlines() if line.strip()]
                print(f"  {names[name]:24} refuses: {' / '.join(lines)[:200]}")
        if args.keep and may != "any":
            keep(args.keep, number, title, may, proto, x, answers)
        if args.binary:
            found, words = by_twoply(args.binary, proto, x, dict(sorted(answers.items(), key=lambda a: a[0] != may)))
            fits = may == "any" or found in ("refused", may)
            wrong += not fits
            print(f"  {'twoply':24} {words}{'' if fits else f'   WRONG, may: {may}'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
