"""Trains the zoo's ResNet-20 on CIFAR-10 and saves its state dictionary for `twoply import --zoo resnet20-cifar10`.

    pip install torch safetensors numpy            # any recent versions
    python examples/resnet20/train.py --data DIR --epochs 12 --out resnet20.safetensors

DIR holds CIFAR-10's binary batches (data_batch_*.bin, gzipped or not). Layers have the names of the zoo's definition.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


class Block(nn.Module):
    def __init__(self, channels, to, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, to, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(to)
        self.conv2 = nn.Conv2d(to, to, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(to)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != to:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, to, 1, stride, bias=False), nn.BatchNorm2d(to))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def read(path):
    """Images [n, 3, 32, 32] and labels of one binary batch."""
    opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
    with opened as file:
        rows = np.frombuffer(file.read(), np.uint8).reshape(-1, 3073)
    return torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(rows[:, 0].astype(np.int64))


def normalised(images):
    shape = (1, 3, 1, 1)
    return (images / 255 - torch.tensor(MEAN).view(shape)) / torch.tensor(STD).view(shape)


def shifted(images):
    """The batch moved by up to four pixels, half of it mirrored."""
    top, left = np.random.randint(0, 9, 2)
    images = F.pad(images, (4, 4, 4, 4))[:, :, top : top + 32, left : left + 32]
    mirrored = torch.rand(len(images)) < 0.5
    images[mirrored] = images[mirrored].flip(3)
    return images


def main():
    parser = argparse.ArgumentParser(description="Train the zoo's ResNet-20 on CIFAR-10")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("resnet20.safetensors"))
    args = parser.parse_args()
    files = sorted(args.data.glob("data_batch_*.bin*"))
    if not files:
        parser.error(f"no data_batch_*.bin in {args.data}")
    torch.manual_seed(0)
    np.random.seed(0)
    batches = [read(file) for file in files]
    images, labels = (torch.cat(part) for part in zip(*batches))
    images = normalised(images)
    network = ResNet20()
    steps = args.epochs * -(-len(images) // args.batch)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=steps)
    for epoch in range(args.epochs):
        began, right = time.time(), 0
        for chosen in torch.randperm(len(images)).split(args.batch):
            logits = network(shifted(images[chosen]))
            loss = F.cross_entropy(logits, labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            right += (logits.argmax(1) == labels[chosen]).sum().item()
        print(f"epoch {epoch + 1}: {100 * right / len(images):.1f} %, {time.time() - began:.0f} s", flush=True)
    network.eval()
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
