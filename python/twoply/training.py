"""Private training: its plan and rehearsal, and the owners' side of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import Images, image_file
from ._binary import Binary, PathLike, absolute, flags
from .model import Model, PrivateFolder


class TrainingPlan:
    """The plan of a training run: public, the same for both parties, the dealer and all owners."""

    def __init__(
        self,
        path: PathLike,
        *,
        bill: dict[str, Any] | None = None,
        binary: PathLike | Binary | None = None,
        keep: PrivateFolder | None = None,
    ):
        self.path = Path(absolute(path))
        #: What ``twoply train plan`` printed: steps, keys and bytes of a step, disk, memory, how far values reached; or None.
        self.bill = bill
        self.binary = Binary(binary)
        self._keep = keep

    def rehearse(self, inputs: Images, labels: Images, **options: Any) -> dict[str, Any]:
        """Trains public data on this machine in floating point, in fixed point and between two parties in one process.

        The report of ``twoply train check``; its ``points`` are the history, held-out loss and right labels of floating and
        fixed point. ``options`` are its flags: steps, every, held, no_parties, html, model_out, samples_normalised.
        """
        with files(samples=inputs, labels=labels) as named:
            return self.binary.run("train", "check", str(self.path), *flags({**named, **options}))

    def share(
        self,
        inputs: Images,
        labels: Images | None = None,
        *,
        name: str = "data",
        p0: tuple[str, str],
        p1: tuple[str, str],
        home: PathLike | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Brings the share ``name`` of this plan to both parties, masked; neither sees it.

        ``inputs`` and ``labels`` are arrays (batch first) or paths, ``p0`` and ``p1`` Servers or pairs of address and
        fingerprint, ``home`` holds this machine's identity and, until both parties have all of it, what was masked. ``options``
        are further flags of ``twoply share``: targets, limit, index, ids, samples_normalised, wait.
        """
        with files(samples=inputs, labels=labels) as named:
            given = {"as": name, **named, **servers(p0, p1), **options}
            return self.binary.run("share", str(self.path), *flags(given), home=home)

    def watch(
        self,
        *,
        name: str = "data",
        p0: tuple[str, str],
        p1: tuple[str, str],
        home: PathLike | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """The figures that the plan reveals to the share ``name`` (``reveal="accuracy=NAME"`` at :func:`plan_training`), once the
        run has ended: the history of a private run.

        Each has ``figure``, ``step``, ``epoch``, ``attempt``, ``rows``, and ``right``, ``loss`` or ``large``. After a restart there may
        be several of one step; the last attempt's counts. ``options`` are further flags of ``twoply train watch``: log (a line of
        JSON for each as it comes), wait, allow_out_of_range. Without the last a TwoplyError of code 10 says that range counts found
        values near the end of their range or beyond it; its ``result`` has the figures.
        """
        given = {"as": name, **servers(p0, p1), **options}
        done = self.binary.run("train", "watch", str(self.path), *flags(given), home=home)
        return done["figures"]

    def fetch(
        self,
        out: PathLike,
        *,
        p0: tuple[str, str],
        p1: tuple[str, str],
        home: PathLike | None = None,
        **options: Any,
    ) -> Model:
        """Waits for the end of the run and takes the model: OUT.graph.json and OUT.weights.safetensors.

        The weights file is a state dictionary under the imported model's names: ``safetensors.torch.load_file`` reads it.
        ``options`` are further flags of ``twoply train fetch``: wait, force.
        """
        given = {"out": Path(out), **servers(p0, p1), **options}
        done = self.binary.run("train", "fetch", str(self.path), *flags(given), home=home)
        model = Model(done["graph"], done["weights"], binary=self.binary)
        model.summary = done
        return model


def plan_training(
    model: Model,
    rows: int,
    samples: Images | None = None,
    labels: Images | None = None,
    *,
    out: PathLike | None = None,
    **options: Any,
) -> TrainingPlan:
    """Plans a run of ``rows`` rows on the network of ``model``, whose weights are not used.

    Public ``samples`` with ``labels`` of the same kind show whether values fit, by a simulation; without them,
    ``unchecked_ranges=True``. ``options`` are the flags of ``twoply train plan``: epochs, batch, rate, momentum, decay, loss,
    ring, fractions, compare, seed, checkpoint, held, simulate, time, link, share, reveal, force. The plan stands in ``out``, by default beside the graph.
    """
    name = model.graph.name.removesuffix(".json").removesuffix(".graph")
    path = Path(absolute(out)) if out is not None else model.graph.with_name(f"{name}.train.json")
    with files(samples=samples, labels=labels) as named:
        given = {"rows": rows, "out": path, **named, **options}
        bill = model.binary.run("train", "plan", str(model.graph), *flags(given))
    return TrainingPlan(path, bill=bill, binary=model.binary, keep=model._folder)


def train(
    plan: TrainingPlan,
    inputs: Images,
    labels: Images,
    *,
    out: PathLike,
    p0: tuple[str, str],
    p1: tuple[str, str],
    home: PathLike | None = None,
    held: tuple[str, Images, Images] | None = None,
    **options: Any,
) -> Model:
    """Trains privately on both servers, for an owner of all data who is the model's owner too: share, then fetch.

    ``held`` is a share of rows that are held out, by name, inputs and labels; what the plan reveals to it becomes the model's
    ``history``, as :meth:`TrainingPlan.watch` gives it.

    The parties (``twoply train run``) list this machine's key as owner of ``data`` and as model owner; a dealer follows the run
    (``twoply deal --follow``). ``options`` go to :meth:`TrainingPlan.share`.
    """
    plan.share(inputs, labels, p0=p0, p1=p1, home=home, **options)
    if held is not None:
        name, held_inputs, held_labels = held
        plan.share(held_inputs, held_labels, name=name, p0=p0, p1=p1, home=home)
    model = plan.fetch(out, p0=p0, p1=p1, home=home)
    if held is not None:
        model.history = plan.watch(name=name, p0=p0, p1=p1, home=home)
    return model


def servers(p0: tuple[str, str], p1: tuple[str, str]) -> dict[str, str]:
    """Both servers as flags."""
    return {"p0": p0[0], "p0_key": p0[1], "p1": p1[0], "p1_key": p1[1]}


@contextlib.contextmanager
def files(**given: Images | None) -> Iterator[dict[str, Path]]:
    """Arrays as files that only this user can read, removed afterwards."""
    with contextlib.ExitStack() as stack:
        named = {}
        for name, values in given.items():
            if values is not None:
                # Labels of any integer type are read; int64 is the widest.
                narrowed = isinstance(values, np.ndarray) and name == "labels"
                values = values.astype(np.int64) if narrowed else values
                named[name] = stack.enter_context(image_file(values))
        yield named
