"""LeNet on MNIST, classified by two servers that see neither images nor weights.

    pip install ./python torch onnx torchvision
    python python/examples/mnist.py

trains, imports, checks and plans; python/README.md says how to start the servers. Then the same with their places and
--epochs 0 (which takes the saved weights) classifies test images.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision.datasets import MNIST

from private_run import arguments, normalised, private_run, train

MEAN, STD = [0.1307], [0.3081]


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def main() -> None:
    args = arguments("LeNet on MNIST between two servers")
    torch.manual_seed(0)
    sets = [MNIST(args.data, train=part, download=True) for part in (True, False)]
    (x, y), test = [(s.data.unsqueeze(1).numpy(), s.targets.numpy()) for s in sets]
    network, saved = lenet(), Path(args.out) / "mnist.pt"
    if args.epochs:
        train(network, normalised(x, MEAN, STD), torch.from_numpy(y), args.epochs)
        saved.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), saved)
    else:
        network.load_state_dict(torch.load(saved, weights_only=True))
    private_run("mnist", network, x[:1000], test, (MEAN, STD), args)


if __name__ == "__main__":
    main()
