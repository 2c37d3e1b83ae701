"""A folder of exported models, each with inputs and what ONNX Runtime gives for them.

    FOLDER/NAME/VARIANT/{model.onnx, x.npy, y.npy}      three images; of several outputs y.npy is the last of floats
                                       before.npy       what goes into a last Softmax, LogSoftmax or Sigmoid, if there is one
    FOLDER/SOURCE.jsonl                                 one line a model: what it is, operators, or why there is none
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

IMAGES = 3


def arguments(description: str, **more) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **more)
    parser.add_argument("folder", type=Path, help="the corpus goes here")
    parser.add_argument("--only", default="", help="models whose name contains this")
    return parser


def images(shape: tuple[int, ...], seed: int = 1, count: int = IMAGES) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def runtime(model: str | bytes, optimised: bool = True) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, on one thread. Warnings are left out."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outputs(model: onnx.ModelProto, path: str, x: np.ndarray, wanted: str) -> np.ndarray:
    """What ONNX Runtime gives for `wanted`, a value of the model; image by image where the file fixes the batch at one."""
    if wanted not in (o.name for o in model.graph.output):
        model = onnx.ModelProto.FromString(model.SerializeToString())
        model.graph.output.append(onnx.ValueInfoProto(name=wanted))
        # Beside the original, so that external weights are found.
        path += ".more"
        onnx.save(model, path)
    session = runtime(path)
    if path.endswith(".more"):
        os.remove(path)
    shape = session.get_inputs()[0].shape
    parts = np.split(x, len(x)) if shape and shape[0] == 1 else [x]
    return np.concatenate([session.run([wanted], {session.get_inputs()[0].name: part})[0] for part in parts])


def result(graph: onnx.GraphProto) -> str:
    """The value that a user wants: the last output that is a tensor of floats, what becomes a list of maps, or the one output."""
    floats = [o.name for o in graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    maps = [n.input[0] for n in graph.node if n.op_type == "ZipMap"]
    return [graph.output[0].name, *maps, *floats][-1]


def before_end(graph: onnx.GraphProto) -> str | None:
    """What goes into a Softmax, LogSoftmax or Sigmoid behind which nothing is computed."""
    for node in reversed(graph.node):
        if node.op_type in ("Softmax", "LogSoftmax", "Sigmoid"):
            return node.input[0]
        if node.op_type in ("Conv", "Gemm", "MatMul", "Relu", "Mul", "MaxPool", "AveragePool"):
            return None
    return None


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the largest magnitude."""
    if found.size != wanted.size:
        return float("inf")
    found = np.asarray(found, np.float64).reshape(wanted.shape)
    difference = np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-3)
    return float(difference) if np.isfinite(difference) else float("inf")


def operators(model: onnx.ModelProto) -> list[str]:
    found = {n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in model.graph.node}
    return sorted(found)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Exporters talk a lot, from native code too: both streams of the process go nowhere."""
    sys.stdout.flush(), sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            for stream, old in enumerate(kept, 1):
                os.dup2(old, stream)
                os.close(old)


class Corpus:
    def __init__(self, folder: Path, source: str):
        self.folder, self.source = folder, source
        folder.mkdir(parents=True, exist_ok=True)
        self.list = open(folder / f"{source}.jsonl", "w", encoding="utf-8")
        self.count = self.failed = 0

    def add(
        self,
        name: str,
        exporter: str,
        write: Callable[[str], None],
        x: np.ndarray,
        reference: np.ndarray | None = None,
        outside: str | None = None,
        before: np.ndarray | None = None,
    ) -> Path | None:
        """Has `write` export a model, and notes it with what ONNX Runtime gives for `x`.

        `reference` is what the library itself gives, `before` the same before its last function where that is inside an
        operator; `outside` says why the model is not for twoply, if it is not.
        """
        place = self.folder / name / exporter
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        path = str(place / "model.onnx")
        entry = {"name": name, "exporter": exporter, "source": self.source, "outside": outside}
        start = time.monotonic()
        with silence():
            try:
                write(path)
                found = self.note(entry, path, place, x, reference)
                if before is not None:
                    np.save(place / "before.npy", before)
            except Exception as e:  # noqa: BLE001: whatever an exporter throws is a line of the table
                entry["failed"] = f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:300]
                found = None
        self.count += 1
        self.failed += found is None
        entry["seconds"] = round(time.monotonic() - start, 2)
        self.list.write(json.dumps(entry) + "\n")
        self.list.flush()
        return found

    def note(self, entry: dict, path: str, place: Path, x: np.ndarray, reference: np.ndarray | None) -> Path:
        model = onnx.load(path, load_external_data=False)
        entry["opset"] = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        entry["ir"], entry["operators"] = model.ir_version, operators(model)
        entry["bytes"] = sum(os.path.getsize(file) for file in place.iterdir())
        try:
            y = outputs(model, path, x, result(model.graph))
        except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as e:
            # Read, and refused when run: what the library itself gives must do.
            if reference is None:
                raise
            entry["outside"] = entry["runtime_refuses"] = "ONNX Runtime: " + str(e)[:300].rpartition("Status Message: ")[2]
            y = np.asarray(reference)
        if reference is not None and len(y) != len(x):
            # The file mixes rows up; what counts is what the library means.
            entry["mixed"], y = True, np.asarray(reference)
        if reference is not None:
            entry["runtime_differs"] = relative(y, np.asarray(reference))
        np.save(place / "x.npy", x)
        np.save(place / "y.npy", y)
        if (logits := before_end(model.graph)) and "runtime_refuses" not in entry:
            np.save(place / "before.npy", outputs(model, path, x, logits))
        return place

    def close(self) -> None:
        self.list.close()
        print(f"{self.source}: {self.count} exports, {self.failed} failed", file=sys.stderr)
