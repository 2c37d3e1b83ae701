"""The model owner's side: from PyTorch or ONNX to a plan, with the check of its precision."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import Images, image_file
from ._binary import Binary, PathLike, absolute, flags
from .inference import Answer, infer


class PrivateFolder:
    """A folder that only this user may enter (mode 0700), removed with the last object that holds it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="twoply-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Plan:
    """A plan file: public, the same for both servers, the dealer and the data owner."""

    def __init__(
        self,
        path: PathLike,
        *,
        bill: dict[str, Any] | None = None,
        binary: PathLike | Binary | None = None,
        keep: PrivateFolder | None = None,
    ):
        self.path = Path(absolute(path))
        #: What ``twoply plan`` printed: comparisons, key bytes, bytes sent, rounds and ranges per layer; or None.
        self.bill = bill
        self.binary = binary
        #: The model's temporary folder, if the plan stands there: it goes with the last of both.
        self._keep = keep

    def infer(self, images: Images, **options: Any) -> Answer:
        """See :func:`twoply.infer`."""
        return infer(self, images, **options)


class Model:
    """An imported network: a public graph file and a private weights file (mode 0600)."""

    def __init__(self, graph: PathLike, weights: PathLike, *, binary: PathLike | Binary | None = None):
        self.graph = Path(absolute(graph))
        self.weights = Path(absolute(weights))
        self.binary = Binary(binary)
        #: What ``twoply import`` printed: name, shapes, layers, parameters. None for files that were there already.
        self.summary: dict[str, Any] | None = None
        #: The figures of the private run that made it, where its plan reveals some; see ``TrainingPlan.watch``.
        self.history: list[dict[str, Any]] | None = None
        self._folder: PrivateFolder | None = None

    def plan(
        self, samples: Images | None = None, *, out: PathLike | None = None, force: bool = False, **options: Any
    ) -> Plan:
        """Plans, with ranges from public samples (an array with the batch first, or a path).

        ``options`` are the flags of ``twoply plan``: ring, fraction, compare, rounding, reveal, margin, images, batch,
        samples_normalised, unchecked_ranges. The plan stands in ``out``, by default beside the graph.
        """
        name = self.graph.name.removesuffix(".json").removesuffix(".graph")
        path = Path(absolute(out)) if out is not None else self.graph.with_name(f"{name}.plan.json")
        weights = None if options.get("unchecked_ranges") else self.weights
        bill = self._run("plan", samples, {"weights": weights, "out": path, "force": force, **options})
        return Plan(path, bill=bill, binary=self.binary, keep=self._folder)

    def check(
        self,
        samples: Images,
        *,
        plan: Plan | PathLike | None = None,
        html: PathLike | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Float32, fixed point and two parties on public samples, layer by layer: the report of ``twoply check``.

        ``options`` are its flags: limit, tolerance, and those of a plan where none is given. Raises TwoplyError when a
        value leaves the ring or precision is lost; its ``result`` is the report and its ``layer`` the culprit.
        """
        given = {"plan": getattr(plan, "path", plan), "html": html}
        paths = {name: Path(path) for name, path in given.items() if path is not None}
        return self._run("check", samples, {"weights": self.weights, **paths, **options})

    def calibrate(self, samples: Images | None = None, **options: Any) -> dict[str, Any]:
        """The most fraction bits that fit, with the proof per layer: the report of ``twoply calibrate``."""
        return self._run("calibrate", samples, {"weights": self.weights, **options})

    def _run(self, verb: str, samples: Images | None, options: dict[str, Any]) -> dict[str, Any]:
        if samples is None:
            return self.binary.run(verb, str(self.graph), *flags(options))
        with image_file(samples) as file:
            return self.binary.run(verb, str(self.graph), *flags({"samples": file, **options}))


def from_onnx(
    model: PathLike,
    *,
    name: str | None = None,
    output: str | None = None,
    scale: float = 1.0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    folder: PathLike | None = None,
    force: bool = False,
    keep_batchnorm: bool = False,
    example: tuple[np.ndarray, np.ndarray] | None = None,
    binary: PathLike | Binary | None = None,
) -> Model:
    """Imports an ONNX file, with the file of weights beside it if there is one.

    ``keep_batchnorm`` keeps batch normalisations as layers, which :func:`twoply.plan_training` trains.
    ``output`` names the output to take where the model has several. ``scale``, ``mean`` and ``std`` are what the data owner does to raw pixels: ``(raw * scale - mean) / std`` per
    channel. The results are NAME.graph.json and NAME.weights.safetensors in ``folder``; without one, in a private
    temporary folder that goes with the model. ``example`` is a pair of arrays, inputs as the model takes them and what it
    gives for them, batch first: where the imported network gives something else, beyond the rounding of float32, it is
    refused. A last softmax or sigmoid is dropped: ``summary["dropped"]`` says what the output is then. Raises ImportObstacles listing everything that stands in the way.
    """
    called = Binary(binary)
    temporary = PrivateFolder() if folder is None else None
    place = Path(absolute(folder)) if temporary is None else temporary.path
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = place / (name or Path(model).stem)
    normalise = {"scale": repr(float(scale)), "mean": listed(mean), "std": listed(std)}
    kept = {"keep_batchnorm": keep_batchnorm}
    options = {"out": base, "force": force, "output": output, **kept, **normalise}
    with example_files(example) as files:
        summary = called.run("import", absolute(model), *flags({**options, **files}))
    found = Model(summary["graph"], summary["weights"], binary=called)
    found.summary, found._folder = summary, temporary
    return found


@contextlib.contextmanager
def example_files(example: tuple[np.ndarray, np.ndarray] | None) -> Iterator[dict[str, Path]]:
    """The flags that name an example: files that only this user can read, removed afterwards."""
    if example is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="twoply-") as folder:
        names = dict(zip(("example", "expect"), (Path(folder) / "x.npy", Path(folder) / "y.npy")))
        for path, values in zip(names.values(), example):
            kind = "<i8" if np.issubdtype(values.dtype, np.integer) else "<f4"
            np.save(path, np.ascontiguousarray(values, dtype=kind), allow_pickle=False)
        yield names


def listed(values: Sequence[float]) -> str | None:
    """Numbers as the binary takes them."""
    return ",".join(repr(float(value)) for value in values) or None


def from_torch(
    module: Any, example: Any, *, name: str | None = None, export: dict[str, Any] | None = None, **options: Any
) -> Model:
    """Exports a PyTorch module through ONNX and imports it.

    ``example`` is an input tensor whose first axis is the batch; ``export`` are further arguments of
    ``torch.onnx.export`` and ``options`` those of :func:`from_onnx`. The module is exported in evaluation mode and left
    in the mode it was in, by PyTorch's default exporter (the older one where the package onnxscript is missing). The whole
    example then goes through the module and through the imported network; a difference beyond the rounding of float32 is a
    TwoplyError (exit code 15), and a warning says if it is the exporter's. Raises ImportObstacles listing everything that
    stands in the way.
    """
    import torch

    binary = Binary(options.pop("binary", None))
    known = inspect.signature(torch.onnx.export).parameters
    arguments = {"input_names": ["image"], "output_names": ["logits"]}
    # The default exporter needs a further package; older versions of PyTorch do not know the choice.
    if "dynamo" in known and importlib.util.find_spec("onnxscript") is None:
        arguments["dynamo"] = False
    if options.get("keep_batchnorm") and arguments.get("dynamo", "optimize" in known) and "optimize" in known:
        # The default exporter folds normalisations into the layers in front of them, in either mode.
        arguments["optimize"] = False
    arguments.update(export or {})
    modes = [(part, part.training) for part in module.modules()]
    # The exported file holds the weights: nobody else may read it.
    with tempfile.TemporaryDirectory(prefix="twoply-") as folder:
        path = Path(folder) / f"{name or type(module).__name__.lower()}.onnx"
        try:
            module.eval()
            with torch.no_grad():
                torch.onnx.export(module, (example[:1],), str(path), **arguments)
                expected = module(example)
        finally:
            for part, training in modes:
                part.training = training
        pair = (array(example), array(expected))
        for change in changed_by_export(module, path, pair):
            warnings.warn(change, stacklevel=2)
        return from_onnx(path, name=name, binary=binary, example=pair, **options)


def changed_by_export(module: Any, path: Path, example: tuple[np.ndarray, np.ndarray]) -> Iterator[str]:
    """Where the exported file is another network than the module: what the exporter is known to leave out, and what ONNX
    Runtime gives for the example, where that is installed."""
    kinds = {type(part).__name__ for part in module.modules() if getattr(part, "divisor_override", None)}
    for kind in sorted(kinds):
        yield f"torch.onnx.export leaves out the divisor_override of {kind}: divide in the module instead"
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        inputs, expected = example
        # One by one: the file may be of one image.
        found = np.concatenate([session.run(None, {taken.name: row[None]})[0] for row in inputs])
    except Exception as error:  # whatever it is, the import has its own say
        yield f"the exported file does not run: {error}"
        return
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        yield "torch.onnx.export changed the network: the exported file gives something else for the example than the module"


def array(tensor: Any) -> np.ndarray:
    """A tensor, or the only one of a tuple, as an array."""
    if isinstance(tensor, (tuple, list)) and len(tensor) == 1:
        (tensor,) = tensor
    for step in ("detach", "cpu", "numpy"):
        tensor = getattr(tensor, step, lambda tensor=tensor: tensor)()
    if not isinstance(tensor, np.ndarray):
        raise TypeError(f"a module that takes and gives one tensor is wanted, found {type(tensor).__name__}")
    return tensor
