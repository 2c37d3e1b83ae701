"""Private inference and training between two servers, from PyTorch and numpy.

Everything is done by the ``twoply`` binary; this package calls it with ``--format json``, hands it numpy arrays in
private temporary files and turns its failures into exceptions with their exit code and remedy.
"""

from ._binary import Binary
from .errors import BinaryNotFound, ImportObstacles, TwoplyError
from .inference import Answer, Server, infer
from .model import Model, Plan, from_onnx, from_torch
from .training import TrainingPlan, plan_training, train

__all__ = [
    "Answer",
    "Binary",
    "BinaryNotFound",
    "ImportObstacles",
    "Model",
    "Plan",
    "Server",
    "TrainingPlan",
    "TwoplyError",
    "from_onnx",
    "from_torch",
    "infer",
    "plan_training",
    "train",
]
