"""The data owner's side of private inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Images, image_file
from ._binary import Binary, PathLike, absolute, flags


class Server(NamedTuple):
    """One of the two servers: ``host:port``, and the fingerprint that ``twoply id`` prints there (``tp1-...``)."""

    address: str
    key: str


@dataclass(frozen=True)
class Answer:
    """What both servers' shares add up to; nobody but this process has seen it."""

    #: Label of every image, int64; None where the output is no vector of classes. With one output, its sign decides: above
    #: 0 is class 1.
    labels: np.ndarray | None
    #: Outputs of the network, float64, a row per image (or an array of the output's own shape where that is no vector of
    #: classes); None where the plan reveals labels only.
    logits: np.ndarray | None
    #: The run's report: seconds, and what was counted.
    report: dict[str, Any]
    #: The file of every image of a folder; None where the images were one file or an array.
    names: list[str] | None = None


def infer(
    plan: Any,
    images: Images,
    *,
    p0: tuple[str, str],
    p1: tuple[str, str],
    normalised: bool = False,
    batch: int | None = None,
    home: PathLike | None = None,
    binary: PathLike | Binary | None = None,
    **options: Any,
) -> Answer:
    """Classifies images with both servers; neither sees them.

    ``plan`` is a Plan or the path of a plan file, ``images`` an array (batch first) or a path; ``p0`` and ``p1`` are
    Servers or pairs of address and fingerprint. Integers are raw values, and floats unless ``normalised``. ``home`` holds this
    machine's identity (``twoply id --new``); ``options`` are further flags of ``twoply infer`` (patience, transport,
    allow_out_of_range, ...). Images beyond the plan's samples, or on another scale, are refused before anybody is called,
    unless ``allow_out_of_range``. Raises TwoplyError; images whose keys were reserved by then are never sent again under the same keys.
    """
    path = getattr(plan, "path", plan)
    if binary is None:
        binary = getattr(plan, "binary", None)
    servers = {"p0": p0[0], "p0_key": p0[1], "p1": p1[0], "p1_key": p1[1]}
    with image_file(images) as file:
        options = {"images": file, "normalised": normalised, "batch": batch, **servers, **options}
        result = Binary(binary).run("infer", absolute(path), *flags(options), home=home)
    return answer(result)


def answer(result: dict[str, Any]) -> Answer:
    """What ``twoply infer`` printed, as arrays."""
    labels, logits = result.pop("labels"), result.pop("logits", None)
    if labels is not None:
        labels = np.asarray(labels, dtype=np.int64)
    if logits is not None:
        logits = np.asarray(logits, dtype=np.float64)
        if result["output"]["kind"] == "values":
            logits = logits.reshape(len(logits), *result["output"]["shape"])
    names = result.pop("names", None)
    return Answer(labels, logits, result, names)
