"""What both examples do with a network: train it, import it, check it, plan it, and run it between two servers."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import twoply


def arguments(description: str) -> argparse.Namespace:
    """Flags of both examples."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default="data", help="folder for the data set, downloaded if it is not there")
    parser.add_argument("--out", default=".", help="folder for graph, weights and plan")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=100, help="test images to classify privately")
    for server in ("p0", "p1"):
        place = ("HOST:PORT", "FINGERPRINT")
        parser.add_argument(f"--{server}", nargs=2, metavar=place, help=f"where {server.upper()} is")
    return parser.parse_args()


def normalised(pixels: np.ndarray, mean: list[float], std: list[float]) -> torch.Tensor:
    """Pixels, [n, c, h, w] of uint8, as the network takes them."""
    x = torch.from_numpy(pixels).float() / 255
    shape = (1, -1, 1, 1)
    return (x - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)


def train(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Adam on cross-entropy, in batches of 128."""
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for batch in torch.randperm(len(x)).split(128):
            loss = torch.nn.functional.cross_entropy(network(x[batch]), y[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(x):.4f}")


def private_run(
    name: str,
    network: torch.nn.Module,
    samples: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    normalise: tuple[list[float], list[float]],
    args: argparse.Namespace,
) -> None:
    """Imports, checks and plans; then classifies test images if both servers are named."""
    mean, std = normalise
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    example = normalised(samples[:1], mean, std)
    model = twoply.from_torch(
        network, example, name=name, scale=1 / 255, mean=mean, std=std, folder=out, force=True
    )
    recommended = model.calibrate(samples)["recommended"]
    bits = {"ring": recommended["ring"], "fraction": recommended["fraction"]}
    print(f"ring {bits['ring']} bits, fraction {bits['fraction']} bits")
    report = model.check(samples[:100], html=out / f"{name}.html", force=True, **bits)
    print(f"labels that agree with float32, of {report['images']}: {report['labels']['float_private']}")
    plan = model.plan(samples, force=True, **bits)
    print(f"{plan.bill['comparisons']} comparisons and {plan.bill['bytes_sent'][0]} bytes from each server per image")
    if args.p0 is None or args.p1 is None:
        print(f"deal keys for {plan.path}, start both servers, provision {model.weights}, then name both servers")
        return
    images, labels = test[0][: args.images], test[1][: args.images]
    answer = plan.infer(images, p0=tuple(args.p0), p1=tuple(args.p1))
    print(f"{(answer.labels == labels).sum()} of {len(labels)} private labels are right")
