"""numpy arrays in files that only this user can read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ._binary import PathLike, absolute

Images = np.ndarray | PathLike


@contextlib.contextmanager
def image_file(images: Images) -> Iterator[Path]:
    """The path of images: a file or folder as it is, an array in a temporary NPY file that is removed afterwards.

    Arrays have the batch as their first axis, in any memory and byte order. Integers are raw pixels and bool is 0 and 1;
    floats go as they are, those wider than float64 as float64.
    """
    if not isinstance(images, np.ndarray):
        yield Path(absolute(images))
        return
    if images.dtype.kind not in "biuf":
        raise TypeError(f"images of {images.dtype}: give numbers, images.astype(np.float32)")
    if images.dtype.kind == "f" and images.dtype.itemsize > 8:
        images = images.astype(np.float64)
    # mkdtemp makes a folder of mode 0700.
    with tempfile.TemporaryDirectory(prefix="twoply-") as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images, allow_pickle=False)
        yield path
