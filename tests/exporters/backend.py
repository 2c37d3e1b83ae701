"""The backend tests of the `onnx` package (node, simple, PyTorch), as far as twoply knows their operators.

A case becomes a model of our form: its first input of floats with a batch axis stays an input, the others become constants,
the first output is kept. Which operators are known is asked of the binary (`import --list-operators`, and a model of one node
each), unless --operators names them. Cases of another form are counted by what keeps them out.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from corpus import silence
from judge import call, imported

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
#: What an import says of operators that it does not know.
UNKNOWN = ("not supported", "there is no gate")


class OtherForm(Exception):
    """Why a case is no network that takes a batch of floats."""


def cases() -> Iterator[tuple[str, str, onnx.ModelProto, list, list]]:
    """Kind, name, model, inputs and outputs."""
    for kind in KINDS:
        with silence():
            found = load_model_tests(kind=kind)
        for case in sorted(found, key=lambda case: case.name):
            if case.model is not None:
                inputs, outputs = case.data_sets[0]
                yield kind, case.name, case.model, list(inputs), list(outputs)
                continue
            folder = Path(case.model_dir)
            model, data = onnx.load(str(folder / "model.onnx")), folder / "test_data_set_0"
            files = [sorted(data.glob(f"{what}_*.pb"), key=lambda p: int(p.stem.split("_")[1])) for what in ("input", "output")]
            inputs, outputs = ([read(p) for p in group] for group in files)
            yield kind, case.name, model, inputs, outputs


def read(path: Path) -> np.ndarray | None:
    try:
        return numpy_helper.to_array(TensorProto.FromString(path.read_bytes()))
    except Exception:  # noqa: BLE001: a sequence or an optional
        return None


def operators(model: onnx.ModelProto) -> set[str]:
    return {n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in model.graph.node}


def ours(model: onnx.ModelProto, inputs: list, outputs: list) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """The case as a network: model, images, results."""
    array = lambda v: numpy_helper.to_array(v) if isinstance(v, TensorProto) else v  # noqa: E731
    inputs, outputs = [array(v) for v in inputs], [array(v) for v in outputs]
    data = {v.name: x for v, x in zip(model.graph.input, inputs)}
    if any(not isinstance(x, np.ndarray) for x in [*inputs, *outputs[:1]]):
        raise OtherForm("sequences or optional values")
    given = {t.name for t in model.graph.initializer}
    floats = [n for n, x in data.items() if x.dtype == np.float32 and n not in given]
    if not floats:
        raise OtherForm("no input of floats")
    name = next((n for n in floats if data[n].ndim >= 2 and data[n].size), None)
    if name is None:
        raise OtherForm("no input of two axes or more")
    (x, y) = data[name], outputs[0]
    if y.dtype not in (np.float32, np.int64):
        raise OtherForm(f"an output of {y.dtype}")
    if y.ndim == 0 or y.shape[0] != x.shape[0] or not y.size:
        raise OtherForm("an output without the batch's axis")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    for other in [v for v in graph.input if v.name != name and v.name in data]:
        graph.input.remove(other)
        if other.name not in given:
            graph.initializer.append(numpy_helper.from_array(data[other.name], other.name))
    if x.shape[0] != 1:
        for v in [*graph.input, *graph.output[:1]]:
            v.type.tensor_type.shape.dim[0].dim_param = "batch"
        del graph.value_info[:]
    del graph.output[1:]
    if not np.isfinite(x).all():
        raise OtherForm("an input that is not finite")
    return changed, x, y


def known(binary: str, folder: Path) -> set[str]:
    """Operators of the default domain that the binary lists, or does not call unknown."""
    listed = subprocess.run([binary, "import", "--list-operators"], capture_output=True, text=True)
    found = {line.split()[0] for line in listed.stdout.partition("\n\n")[0].splitlines()} | {"Constant"}
    for op in sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}):
        value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4, 4, 4])  # noqa: E731
        graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "one", [value("x")], [value("y")])
        path = folder / "one.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
        _, _, failure = call(binary, "import", str(path), "--out", str(folder / "one"), "--force")
        if not any(words in failure.get("what", "") for words in UNKNOWN):
            found.add(op)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="twoply")
    parser.add_argument("--operators", help="known operators, comma-separated [default: those that the binary knows]")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--all", action="store_true", help="also list the cases of another form")
    args = parser.parse_args()
    counts, forms, verdicts = collections.Counter(), collections.Counter(), collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory(prefix="twoply-backend-") as temporary:
        folder = Path(temporary)
        table = set(args.operators.split(",")) if args.operators else known(args.binary, folder)
        for kind, name, model, inputs, outputs in cases():
            if args.only not in name:
                continue
            counts["cases"] += 1
            if not operators(model) <= table:
                counts["with an operator that is not known"] += 1
                continue
            try:
                model, x, y = ours(model, inputs, outputs)
            except OtherForm as why:
                forms[str(why)] += 1
                if args.all:
                    print(f"{'other':8} {name}: {why}")
                continue
            path = folder / "case.onnx"
            path.write_bytes(model.SerializeToString())
            np.save(folder / "x.npy", x)
            np.save(folder / "y.npy", y)
            found = imported(args.binary, path, folder / "x.npy", folder / "y.npy", folder / "case")
            verdicts[kind][found["verdict"]] += 1
            detail = f"{found['difference']:.1e}" if "difference" in found else "; ".join(found["reasons"])
            print(f"{found['verdict']:8} {name}: {detail}")
    print(f"\n{len(table)} operators are known: {' '.join(sorted(table))}")
    print("\n" + "\n".join(f"{n:6} {what}" for what, n in [*counts.items(), *((f"of another form: {w}", n) for w, n in forms.most_common())]))
    names = ["right", "refused", "wrong", "broken"]
    print(f"\n{'':20}" + "".join(f"{v:>9}" for v in names))
    for kind, found in [*verdicts.items(), ("sum", sum(verdicts.values(), collections.Counter()))]:
        print(f"{kind:20}" + "".join(f"{found[v]:>9}" for v in names))
    total = sum(verdicts.values(), collections.Counter())
    return 1 if total["wrong"] or total["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
