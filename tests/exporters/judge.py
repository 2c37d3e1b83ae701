"""Imports every model of a corpus and compares it with what ONNX Runtime gives: one row a model, a summary, the obstacles.

A model is
    right      imported; the largest relative difference in float is within --tolerance
    wrong      imported, and computes something else (beyond it)
    refused    not imported, for the reasons given
    broken     the binary crashed, hung, or spoke of anything but the model
    -          there is no file: the exporter failed

With --private some of them are also planned and run between two parties in one process (`twoply check`): these must agree
with fixed point bit for bit, and the output's largest error in units of the last place must be within the bound that
`check` gives for it.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ITEM = "\n  - "
#: Exit code of a model that cannot be taken.
MODEL = 15
#: What --private runs, and of which exports.
PRIVATE = """mlp-30 lenet series-network unet-nearest unet-transpose mnist-example squeeze-excite-hard residual resnet18
conv-transpose2d max-pool2d-ceil avg-pool2d-pad adaptive-avg-pool2d-3-of-7 threshold-half where-steep prelu-channels hardswish maximum linear-3-axes channel-shuffle pad-reflect
keras-mlp keras-cnn keras-series keras-residual keras-unet mlp-classifier-4 mlp-regressor-1 scaled-mlp logistic-4""".split()
PRIVATE_OF = ["dynamo", "script", "export-tensorflow", "tf2onnx-nchw", "scores", "plain"]


def call(binary: str, *arguments: str, timeout: float = 300) -> tuple[int, dict | None, dict]:
    """Exit code, result and failure of a verb."""
    try:
        done = subprocess.run(
            [binary, *arguments, "--format", "json", "--quiet"], capture_output=True, text=True, timeout=timeout, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return -1, None, {"what": f"no end within {timeout:.0f} s"}
    result = parsed(done.stdout)
    failures = [parsed(line) for line in done.stderr.splitlines() if line.startswith("{")]
    failure = next((f for f in reversed(failures) if f), {"what": done.stderr.strip()[-300:]})
    return done.returncode, result, failure


def parsed(text: str) -> dict | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def imported(binary: str, model: Path, x: Path, y: Path, out: Path) -> dict:
    """What came of an import: verdict, difference or reasons."""
    code, result, failure = call(
        binary, "import", str(model), "--out", str(out), "--force", "--example", str(x), "--expect", str(y)
    )
    what = failure.get("what", "")
    if code == 0 and result is not None and result["example"]["worst"] is None:
        return {"verdict": "wrong", "reasons": ["the difference is no number"]}
    if code == 0 and result is not None:
        largest = float(np.abs(np.load(y).astype(np.float64)).max())
        return {"verdict": "right", "difference": result["example"]["worst"] / max(largest, 1e-3)}
    if code != MODEL:
        return {"verdict": "broken", "reasons": [f"exit {code}: {what[:300]}"]}
    if "is not the model" in what or "wanted some of" in what:
        return {"verdict": "wrong", "reasons": [what.split(": ", 1)[-1][:300]]}
    head, *items = what.split(ITEM)
    return {"verdict": "refused", "reasons": items or [head.split(": ", 1)[-1][:300]]}


def private(binary: str, out: Path, x: Path) -> dict:
    """How two parties compare with fixed point, and fixed point with float."""
    graph, weights = f"{out}.graph.json", f"{out}.weights.safetensors"
    code, result, failure = call(
        binary, "check", graph, "--weights", weights, "--samples", str(x), "--samples-normalised", "--ring", "64"
    )
    if result is None or code != 0:
        return {"private": f"exit {code}: {failure.get('what', '')[:200]}"}
    agree = "right" if result["differing"] == 0 else f"{result['differing']} of {result['outputs']} differ"
    seen, bound = result["layers"][-1]["worst_ulp"], result["bound_ulp"]
    if bound is None or not seen <= bound:
        agree = f"{seen} ulp, beyond the bound of {bound}"
    return {"private": agree, "worst_ulp": seen, "bound_ulp": bound}


def judged(entry: dict, args: argparse.Namespace) -> dict:
    if "failed" in entry:
        return {**entry, "verdict": "-", "reasons": [entry["failed"]]}
    place = args.folder / entry["name"] / entry["exporter"]
    with tempfile.TemporaryDirectory(prefix="twoply-judge-") as folder:
        x, y, out = place / "x.npy", place / "y.npy", Path(folder) / "m"
        found = imported(args.binary, place / "model.onnx", x, y, out)
        if found["verdict"] == "wrong" and (place / "before.npy").exists():
            logits = imported(args.binary, place / "model.onnx", x, place / "before.npy", out)
            if logits["verdict"] == "right":
                found = {**logits, "note": "before its last function"}
        if found.get("difference", 0) > args.tolerance:
            found["verdict"] = "wrong"
        if args.private and found["verdict"] == "right" and chosen(entry):
            found.update(private(args.binary, out, x))
    return {**entry, **found}


def chosen(entry: dict) -> bool:
    return entry["name"] in PRIVATE and entry["exporter"] in PRIVATE_OF


def kind(reason: str) -> str:
    """A reason without the names and numbers of this model."""
    found = re.match(r"(\w+)(?: `[^`]*`|, \d+ times, first at `[^`]*`): (.*)", reason, re.DOTALL)
    op, why = found.groups() if found else ("", reason)
    why = re.sub(r"`[^`]*`", "`..`", re.sub(r"-?\d+(\.\d+)?", "N", why))
    return f"{op}: {re.sub(r'N(, N)+', 'N..', why)}"


def row(e: dict) -> str:
    found = f"{e['difference']:.1e}" if "difference" in e else "; ".join(e.get("reasons", []))
    if "private" in e:
        found += f"  private: {e['private']}" + (f", {e['worst_ulp']:.2f} of {e['bound_ulp']:.1f} ulp" if e.get("bound_ulp") else "")
    found += f"  ({e['note']})" if "note" in e else ""
    mark = f"  [outside: {e['outside']}]" if e.get("outside") else ""
    differs = e.get("runtime_differs", 0)
    mark += f"  [ONNX Runtime differs from the library by {differs:.1e}]" if differs > 1e-3 else ""
    return f"{e['verdict']:8} {e['name']:28} {e['exporter']:20} {e.get('opset', ''):>3}  {found}{mark}"


def summary(found: list[dict]) -> None:
    table = collections.defaultdict(collections.Counter)
    for e in found:
        table[e["source"] + (" (outside)" if e.get("outside") else "")][e["verdict"]] += 1
    verdicts = ["right", "wrong", "refused", "broken", "-"]
    print(f"\n{'':28}" + "".join(f"{v:>9}" for v in verdicts))
    for source, counts in sorted(table.items()):
        print(f"{source:28}" + "".join(f"{counts[v]:>9}" for v in verdicts))


def obstacles(found: list[dict], most: int) -> None:
    """Kinds of reasons by how many models they stand in the way of."""
    kinds = collections.defaultdict(list)
    for e in found:
        if e["verdict"] == "refused" and not e.get("outside"):
            for reason in {kind(r): r for r in e["reasons"]}.values():
                kinds[kind(reason)].append((e, reason))
    print("\nmodels  reason (an example)")
    for what, cases in sorted(kinds.items(), key=lambda item: -len({e["name"] for e, _ in item[1]}))[:most]:
        e, reason = cases[0]
        print(f"{len({e['name'] for e, _ in cases}):6}  {what}   (e.g. {e['name']}/{e['exporter']}: {reason})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binary", default="twoply")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--private", action="store_true", help="run some of them between two parties")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--strict", action="store_true", help="fail unless everything that is not outside is right")
    args = parser.parse_args()
    entries = []
    for path in sorted(args.folder.glob("*.jsonl")):
        entries += [json.loads(line) for line in path.read_text().splitlines()]
    entries = [e for e in entries if args.only in e["name"] and (chosen(e) or not args.private)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        found = list(pool.map(lambda e: judged(e, args), entries))
    for e in found:
        print(row(e))
    summary(found)
    obstacles(found, 200)
    if args.json:
        args.json.write_text("".join(json.dumps(e) + "\n" for e in found))
    bad = [e for e in found if e["verdict"] in ("wrong", "broken") or e.get("private", "right") != "right"]
    missing = [e for e in found if e["verdict"] == "refused" and not e.get("outside")]
    return 1 if bad or (args.strict and missing) else 0


if __name__ == "__main__":
    sys.exit(main())
