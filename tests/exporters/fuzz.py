"""Random graphs against ONNX Runtime: what imports must compute the same.

    fuzz.py --binary twoply --count 3000 --seed 1       seeds that differ are printed; exit 1 if there are any
    fuzz.py --binary twoply --replay 1234 [--keep DIR]  one graph, cut down to the first value that differs, printed and kept

A graph has 2 to 12 nodes, any opset from 11 to 22, an open batch or one of 1, constants as initializers or nodes. Every
node's values stay within a range, so that rounding cannot pass for a difference. Only operators that the binary knows are
used (--operators names others); where a graph is refused, two of its earlier values are tried as outputs.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backend import known
from corpus import runtime
from fuzz_nodes import PROPOSALS, Node, Wires
from judge import imported, kind

OPSETS = (11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22)
INPUTS = ((6,), (12,), (3, 8), (4, 12), (2, 6, 6), (3, 8, 7), (4, 6, 6), (2, 3, 4, 2))
TOLERANCE = 1e-4


class Graph:
    """A graph while it grows, with the value of every wire for a batch."""

    def __init__(self, seed: int, operators: set[str]):
        self.rng = rng = random.Random(seed)
        self.opset = rng.choice(OPSETS)
        self.wires = Wires(rng, self.opset)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.batch = rng.choice([1, "batch", "batch"])
        shape = rng.choice(INPUTS)
        self.x = self.wires.floats(1 if self.batch == 1 else 3, *shape, low=-2, high=2)
        self.wires.values["x"] = self.x
        self.outputs: list[str] = []
        proposals = [p for p in PROPOSALS if p[0] in operators]
        for _ in range(rng.randint(2, 12)):
            self.grow(proposals)

    def grow(self, proposals: list) -> None:
        """Adds a node that ONNX Runtime takes and that keeps images apart and values in range."""
        for _ in range(20):
            _, propose, _ = self.rng.choices(proposals, [weight for _, _, weight in proposals])[0]
            try:
                node = propose(self.wires)
                constants = list(self.constants)
                proto = self.proto(node)
                values = self.evaluate(proto, node)
            except Exception:  # noqa: BLE001: no such node here
                self.constants = constants if "constants" in locals() else self.constants
                continue
            if all(self.fits(v, node) for v in values):
                self.nodes.append(proto)
                self.outputs.append(proto.output[0])
                if not node.last:
                    self.wires.values.update(zip(proto.output, values))
                return
            self.constants = constants

    def proto(self, node: Node) -> onnx.NodeProto:
        label = f"n{len(self.nodes)}"
        names = []
        for i, operand in enumerate(node.operands):
            if isinstance(operand, (np.ndarray, np.generic)):
                self.constants.append(numpy_helper.from_array(np.asarray(operand), f"{label}c{i}"))
                operand = self.constants[-1].name
            names.append(operand or "")
        outputs = [f"{label}y{i}" for i in range(node.outputs)]
        return helper.make_node(node.op, names, outputs, label, **node.attributes)

    def evaluate(self, proto: onnx.NodeProto, node: Node) -> list[np.ndarray]:
        reads = [n for n in dict.fromkeys(proto.input) if n in self.wires.values]
        inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, self.wires.shape(n)) for n in reads]
        constants = [c for c in self.constants if c.name in proto.input]
        outputs = [onnx.ValueInfoProto(name=n) for n in proto.output]
        model = self.model_of([proto], inputs, outputs, constants)
        return runtime(model, optimised=False).run(None, {n: self.wires.values[n] for n in reads})

    def fits(self, value: np.ndarray, node: Node) -> bool:
        if node.op == "ArgMax":
            return True
        before = max(np.abs(self.wires.values[n]).max() for n in node.operands if isinstance(n, str))
        most = np.abs(value).max() if value.size else np.inf
        kept = value.ndim > 1 and value.shape[0] == len(self.x) and value.size <= 20_000 * len(self.x)
        return bool(kept and np.isfinite(most) and max(1e-2, before / 30) <= most <= 50) or node.last

    def model_of(self, nodes: list, inputs: list, outputs: list, constants: list) -> bytes:
        graph = helper.make_graph(nodes, "fuzz", inputs, outputs, constants)
        ir = 10 if self.opset > 20 else 8
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir).SerializeToString()

    def model(self, output: str) -> bytes:
        """The nodes that `output` needs, as a model; every other constant is a node."""
        needed, nodes = {output}, []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                nodes.insert(0, node)
                needed |= set(node.input)
        constants = [c for c in self.constants if c.name in needed]
        as_nodes = [c for c in constants if int(c.name[1:].split("c")[0]) % 2]
        given = [helper.make_node("Constant", [], [c.name], value=c) for c in as_nodes]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, *self.x.shape[1:]])
        y = onnx.ValueInfoProto(name=output)
        return self.model_of([*given, *nodes], [x], [y], [c for c in constants if c not in as_nodes])


def compare(graph: Graph, output: str, binary: str, folder: Path) -> dict:
    """What comes of importing the graph up to `output`."""
    model = graph.model(output)
    try:
        y = runtime(model, optimised=False).run([output], {"x": graph.x})[0]
    except Exception as e:  # noqa: BLE001: its shape inference and its operators disagree
        return {"verdict": "invalid", "reasons": [str(e)]}
    paths = [folder / name for name in ("graph.onnx", "x.npy", "y.npy")]
    paths[0].write_bytes(model)
    np.save(paths[1], graph.x)
    np.save(paths[2], y)
    found = imported(binary, *paths, folder / "graph")
    node = graph.nodes[[n.output[0] for n in graph.nodes].index(output)]
    if found["verdict"] == "wrong" and node.op_type in ("Softmax", "LogSoftmax", "Sigmoid"):
        np.save(paths[2], graph.wires.values[node.input[0]])
        found = imported(binary, *paths, folder / "graph")
    if found.get("difference", 0) > TOLERANCE:
        found = {"verdict": "wrong", "reasons": [f"differs by {found['difference']:.1e}"]}
    return found


def judged(seed: int, operators: set[str], binary: str, folder: Path) -> dict:
    graph = Graph(seed, operators)
    if not graph.outputs:
        return {"verdict": "empty"}
    tries = [graph.outputs[-1], *graph.rng.sample(graph.outputs, min(2, len(graph.outputs)))]
    for i, output in enumerate(tries):
        found = compare(graph, output, binary, folder)
        if found["verdict"] not in ("refused", "invalid"):
            return {**found, "part": i > 0}
        first = found if i == 0 else first
    return first


def replay(seed: int, operators: set[str], binary: str, folder: Path) -> int:
    graph = Graph(seed, operators)
    for output in graph.outputs:
        found = compare(graph, output, binary, folder)
        print(f"{output}: {found['verdict']} {found.get('difference', '')} {'; '.join(found.get('reasons', []))}")
        if found["verdict"] in ("wrong", "broken"):
            print(onnx.printer.to_text(onnx.load(str(folder / "graph.onnx"))))
            print(f"kept in {folder}")
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="twoply")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1, help="of the first graph; the next has the next")
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--keep", type=Path, help="folder for the graph that is replayed")
    parser.add_argument("--operators", help="comma-separated [default: those that the binary knows]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twoply-fuzz-") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        operators = set(args.operators.split(",")) if args.operators else known(args.binary, folder)
        if args.replay is not None:
            return replay(args.replay, operators, args.binary, folder)
        verdicts, reasons = collections.Counter(), collections.Counter()
        for seed in range(args.seed, args.seed + args.count):
            found = judged(seed, operators, args.binary, folder)
            verdicts[found["verdict"]] += 1
            verdicts["of these, an earlier value"] += found.get("part", False)
            if found["verdict"] in ("wrong", "broken"):
                print(f"seed {seed}: {found['verdict']}: {'; '.join(found['reasons'])}", flush=True)
            elif found["verdict"] == "refused":
                reasons.update({kind(r) for r in found["reasons"]})
    print(", ".join(f"{n} {what}" for what, n in verdicts.most_common()))
    print("refused for (graphs):", *(f"{n:6} {what}" for what, n in reasons.most_common(25)), sep="\n")
    return 1 if verdicts["wrong"] or verdicts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
