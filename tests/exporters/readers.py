"""Where readers of ONNX disagree: the rows of docs/readers.md, as ONNX Runtime, onnx.reference, tract and twoply run them.

    readers.py [--binary twoply] [--tract FOLDER]       FOLDER: where tract is built; left out, it is not run

Each row is a model of one node. An answer is the extents and the values, or that it is refused, when read or when run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from corpus import runtime, silence
from judge import call

TRACT = "0.23.9"
INF, NAN = float("inf"), float("nan")


def model(op: str, x: np.ndarray, *operands: np.ndarray | None, opset: int, outputs: int = 1, ir: int = 8, **attributes) -> onnx.ModelProto:
    """One node on x; of several outputs the last is the model's."""
    names = ["x"] + ["" if v is None else f"c{i}" for i, v in enumerate(operands)]
    constants = [numpy_helper.from_array(v, f"c{i}") for i, v in enumerate(operands) if v is not None]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, **attributes)
    kind = TensorProto.FLOAT
    if outputs > 1 or op == "ArgMax":
        kind = {"Dropout": TensorProto.BOOL}.get(op, TensorProto.INT64)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph([node], "row", inputs, [helper.make_tensor_value_info(results[-1], kind, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def count(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def rows() -> Iterator[tuple[str, onnx.ModelProto, np.ndarray]]:
    line, plane = count(1, 1, 8), count(1, 1, 6, 6)
    one = np.ones((1, 1, 1), np.float32)
    for side in ("SAME_UPPER", "SAME_LOWER"):
        yield f"Conv {side}, kernel 1, stride 4 on 8: pads of -3", model("Conv", line, one, opset=17, auto_pad=side, strides=[4]), line
        yield f"MaxPool {side}, kernel 1, stride 3 on 8: pads of -1", model("MaxPool", line, opset=17, auto_pad=side, strides=[3], kernel_shape=[1]), line
    two = np.ones((1, 1, 2), np.float32)
    yield "Conv SAME_UPPER, kernel 2, dilation 2", model("Conv", line, two, opset=17, auto_pad="SAME_UPPER", dilations=[2]), line
    yield "MaxPool SAME_UPPER, kernel 2, dilation 2", model("MaxPool", line, opset=17, auto_pad="SAME_UPPER", dilations=[2], kernel_shape=[2]), line
    yield "ConvTranspose SAME_UPPER, kernel 2, stride 1", model("ConvTranspose", line, floats(1, 10).reshape(1, 1, 2), opset=17, auto_pad="SAME_UPPER"), line
    yield "ConvTranspose SAME_LOWER, kernel 2, stride 1", model("ConvTranspose", line, floats(1, 10).reshape(1, 1, 2), opset=17, auto_pad="SAME_LOWER"), line
    yield "ConvTranspose SAME_LOWER, kernel 1, stride 2", model("ConvTranspose", line, one, opset=17, auto_pad="SAME_LOWER", strides=[2]), line
    yield "MaxPool ceil_mode, kernel 1, stride 2 on 8: a last window behind the end", model("MaxPool", line, opset=17, ceil_mode=1, strides=[2], kernel_shape=[1]), line
    pool = {"opset": 19, "ceil_mode": 1, "kernel_shape": [4]}
    yield "AveragePool ceil_mode, kernel 4, stride 3 on 8", model("AveragePool", line, strides=[3], **pool), line
    yield "AveragePool ceil_mode, kernel 4, stride 4, pads of 1, counted", model("AveragePool", line, strides=[4], pads=[1, 1], count_include_pad=1, **pool), line
    small = count(1, 2, 2) / 4
    yield "Softmax of opset 11 on [1, 2, 2], axis left out", model("Softmax", small, opset=11), small
    yield "Softmax of opset 13 on [1, 2, 2], axis left out", model("Softmax", small, opset=13), small
    two_images = floats(0, 2, 4, 6).reshape(2, 2, 1)
    statistics = [np.full(2, v, np.float32) for v in (1, 0, 1, 4)]
    for opset in (9, 14):
        yield f"BatchNormalization of opset {opset}, mean 1, variance 4, of 0 2 4 6", model("BatchNormalization", two_images, *statistics, opset=opset, epsilon=1e-9), two_images
    channels = floats(1, 2, 3, 4).reshape(1, 4, 1, 1)
    yield "LRN of size 3 on one image of 4 channels, 1 2 3 4", model("LRN", channels, opset=13, size=3, alpha=3.0, beta=1.0, bias=1.0), channels
    nine = count(1, 1, 3, 3)
    yield "MaxPool's indices, kernel 3, strides left out, on 3 x 3", model("MaxPool", nine, opset=12, outputs=2, kernel_shape=[3, 3]), nine
    empty = np.zeros(0, np.float32)
    corners = {"mode": "nearest", "coordinate_transformation_mode": "align_corners", "nearest_mode": "round_prefer_ceil"}
    three = count(1, 1, 1, 3)
    yield "Resize nearest, align_corners, 3 by 1.7", model("Resize", three, empty, floats(1, 1, 1, 1.7), opset=11, **corners), three
    yield "Resize nearest, half_pixel, 3 by 1.3: 3 again", model("Resize", three, empty, floats(1, 1, 1, 1.3), opset=11, mode="nearest"), three
    yield "Resize nearest of opset 10, 8 by 0.4", model("Resize", line.reshape(1, 1, 1, 8), floats(1, 1, 1, 0.4), opset=10, mode="nearest"), line.reshape(1, 1, 1, 8)
    yield "Resize nearest, half_pixel, 3 by 2", model("Resize", three, empty, floats(1, 1, 1, 2), opset=11, mode="nearest"), three
    yield "Dropout's mask, opset 10", model("Dropout", count(1, 3), opset=10, outputs=2), count(1, 3)
    yield "Dropout's mask, opset 13", model("Dropout", count(1, 3), opset=13, outputs=2), count(1, 3)
    odd = floats(-INF, -1, NAN, 1, INF).reshape(1, 5)
    yield "Clip to [0, open] of -inf -1 NaN 1 inf", model("Clip", odd, np.float32(0), opset=13), odd
    yield "Clip to [-inf, inf]", model("Clip", odd, np.float32(-INF), np.float32(INF), opset=13), odd
    yield "Clip to [1, 0]: limits the wrong way round", model("Clip", count(1, 3) - 1, np.float32(1), np.float32(0), opset=13), count(1, 3) - 1
    yield "Relu of -inf -1 NaN 1 inf", model("Relu", odd, opset=14), odd
    pool = floats(1, NAN, 3, 4).reshape(1, 1, 4)
    yield "MaxPool kernel 2 stride 2 of 1 NaN 3 4", model("MaxPool", pool, opset=12, kernel_shape=[2], strides=[2]), pool
    yield "ArgMax of 1 NaN 3 3", model("ArgMax", pool.reshape(1, 4), opset=13, axis=1), pool.reshape(1, 4)
    yield "PRelu, a slope of 3 on [1, 3, 2]", model("PRelu", count(1, 3, 2) - 6, floats(0.1, 0.5, 0.9), opset=16), count(1, 3, 2) - 6
    square = count(1, 2, 2)
    yield "Pad reflect by 3 on an axis of 2", model("Pad", square, np.array([0, 0, 3, 0, 0, 0]), opset=13, mode="reflect"), square
    yield "Flatten in opset 20, IR version 10, as PyTorch 2.15 writes files", model("Flatten", square, opset=20, ir=10), square
    yield "Flatten in opset 23, IR version 11", model("Flatten", square, opset=23, ir=11), square


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


def by_twoply(binary: str, proto: onnx.ModelProto, x: np.ndarray, answers: dict[str, np.ndarray]) -> str:
    """Which of the others' answers an import gives."""
    with tempfile.TemporaryDirectory(prefix="twoply-readers-") as temporary:
        folder = Path(temporary)
        (folder / "row.onnx").write_bytes(proto.SerializeToString())
        np.save(folder / "x.npy", x)
        what = "gives none of these answers"
        for name, answer in answers.items():
            np.save(folder / "y.npy", np.asarray(answer, np.float32))
            code, _, failure = call(
                binary, "import", str(folder / "row.onnx"), "--out", str(folder / "row"), "--force",
                "--example", str(folder / "x.npy"), "--expect", str(folder / "y.npy"),
            )  # fmt: skip
            if code == 0:
                return f"as {name}"
            text = failure.get("what", "")
            if "\n  - " in text:
                return "refuses: " + text.split("\n  - ")[1]
        return what


def build(folder: Path) -> None:
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src/main.rs").write_text(Path(__file__).with_name("tract.rs").read_text())
    (folder / "Cargo.toml").write_text(
        '[package]\nname = "tract"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[profile.dev]\nopt-level = 1\ndebug = false\n'
        f'[dependencies]\ntract-onnx = {{ version = "={TRACT}", default-features = false }}\n'
    )
    subprocess.run(["cargo", "build", "--quiet"], cwd=folder, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="")
    parser.add_argument("--tract", type=Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    readers = {f"ONNX Runtime {onnxruntime.__version__}": by_runtime, f"onnx.reference {onnx.__version__}": by_reference}
    if args.tract:
        build(args.tract)
        readers[f"tract {TRACT}"] = lambda proto, x: by_tract(args.tract, proto, x)
    for title, proto, x in rows():
        if args.only not in title:
            continue
        print(f"\n{title}")
        answers: dict[str, np.ndarray] = {}
        for name, reader in readers.items():
            try:
                with silence():
                    answers[name] = np.asarray(reader(proto, x))
                print(f"  {name:24} {show(answers[name])}")
            except Exception as e:  # noqa: BLE001: that it refuses is the answer
                lines = [line.strip() for line in str(e).splitlines() if line.strip()]
                print(f"  {name:24} refuses: {' / '.join(lines)[:200]}")
        if args.binary:
            print(f"  {'twoply':24} {by_twoply(args.binary, proto, x, answers)}")


if __name__ == "__main__":
    main()
