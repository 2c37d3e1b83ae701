"""A small residual network with batch normalisation on CIFAR-10, classified by two servers.

    pip install ./python torch onnx torchvision
    python python/examples/cifar10.py --epochs 5

trains, imports, checks and plans; python/README.md says how to start the servers. Then the same with their places and
--epochs 0 (which takes the saved weights) classifies test images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.datasets import CIFAR10

from private_run import arguments, normalised, private_run, train

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def block(channels: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(block(channels, channels), block(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def resnet9() -> nn.Module:
    return nn.Sequential(
        block(3, 32), block(32, 64), nn.MaxPool2d(2), Residual(64),
        block(64, 128), nn.MaxPool2d(2), block(128, 128), nn.MaxPool2d(2), Residual(128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def main() -> None:
    args = arguments("A residual network on CIFAR-10 between two servers")
    torch.manual_seed(0)
    sets = [CIFAR10(args.data, train=part, download=True) for part in (True, False)]
    # The data set is stored as [n, h, w, c]; networks take [n, c, h, w].
    arrays = [(np.ascontiguousarray(s.data.transpose(0, 3, 1, 2)), np.array(s.targets)) for s in sets]
    (x, y), test = arrays
    network, saved = resnet9(), Path(args.out) / "cifar10.pt"
    if args.epochs:
        train(network, normalised(x, MEAN, STD), torch.from_numpy(y), args.epochs)
        saved.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), saved)
    else:
        network.load_state_dict(torch.load(saved, weights_only=True))
    private_run("cifar10", network, x[:1000], test, (MEAN, STD), args)


if __name__ == "__main__":
    main()
