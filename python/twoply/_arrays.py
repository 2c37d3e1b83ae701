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

    Arrays have the batch as their first axis. uint8 are raw pixels; floats of any size go as float32.
    """
    if not isinstance(images, np.ndarray):
        yield Path(absolute(images))
        return
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise TypeError(f"images of {images.dtype}: give uint8 pixels or floats")
        images = images.astype("<f4")
    # mkdtemp makes a folder of mode 0700.
    with tempfile.TemporaryDirectory(prefix="twoply-") as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.ascontiguousarray(images), allow_pickle=False)
        yield path
