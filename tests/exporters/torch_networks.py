"""Networks of PyTorch with made-up weights: (name, module, shape of an image, why not for twoply)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from torch_modules import Case

#: Width of the images: small, since what counts is the operators.
SIDE = 64


def networks() -> Iterator[Case]:
    yield "mlp-30", mlp(), (30,), None
    yield "lenet", lenet(), (1, 28, 28), None
    yield "series-network", series(), (3, 64), None
    yield "unet-nearest", UNet("nearest"), (3, 32, 32), None
    yield "unet-transpose", UNet("transpose"), (3, 32, 32), None
    yield "mnist-example", MnistExample(), (1, 28, 28), None
    models, side = torchvision.models, (3, SIDE, SIDE)
    for name in (
        "resnet18", "resnet34", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
        "squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mnasnet0_5",
    ):  # fmt: skip
        yield name, getattr(models, name)(num_classes=10), side, None
    yield "googlenet", models.googlenet(num_classes=10, aux_logits=False, init_weights=False), side, None
    yield "inception_v3", models.inception_v3(num_classes=10, aux_logits=False, init_weights=False), (3, 96, 96), None
    yield "regnet_x_400mf", models.regnet_x_400mf(num_classes=10), side, None
    yield "regnet_y_400mf", models.regnet_y_400mf(num_classes=10), side, "Sigmoid"
    yield "regnet_y_400mf-hard", hard_gates(models.regnet_y_400mf(num_classes=10)), side, None
    yield "efficientnet_b0", models.efficientnet_b0(num_classes=10), side, "Sigmoid"
    yield "convnext_tiny", models.convnext_tiny(num_classes=10), side, "LayerNorm and GELU"
    yield "vit", models.VisionTransformer(SIDE, 16, 1, 2, 16, 32, num_classes=10), side, "attention"


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def series() -> nn.Module:
    block = lambda i, o: [nn.Conv1d(i, o, 5, padding=2), nn.BatchNorm1d(o), nn.ReLU(), nn.MaxPool1d(2)]  # noqa: E731
    return nn.Sequential(*block(3, 8), *block(8, 12), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 5))


class MnistExample(nn.Module):
    """Two convolutions, dropout and a log-softmax: what many first networks look like."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)
        self.drop1, self.drop2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(1152, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.relu(self.fc1(torch.flatten(self.drop1(x), 1)))
        return F.log_softmax(self.fc2(self.drop2(x)), dim=1)


class UNet(nn.Module):
    """Two levels down, two up, with skips; one class a pixel."""

    def __init__(self, up: str):
        super().__init__()
        self.down1, self.down2, self.middle = double(3, 8), double(8, 16), double(16, 32)
        self.up2, self.up1 = widen(up, 32, 16), widen(up, 16, 8)
        self.join2, self.join1, self.head = double(32, 16), double(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.join2(torch.cat([b, self.up2(c)], 1))
        return self.head(self.join1(torch.cat([a, self.up1(b)], 1)))


def double(i: int, o: int) -> nn.Module:
    layer = lambda i: [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]  # noqa: E731
    return nn.Sequential(*layer(i), *layer(o))


def widen(up: str, i: int, o: int) -> nn.Module:
    if up == "transpose":
        return nn.ConvTranspose2d(i, o, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(i, o, 1))


def hard_gates(module: nn.Module) -> nn.Module:
    """With Hardsigmoid for every Sigmoid."""
    for name, child in module.named_children():
        setattr(module, name, nn.Hardsigmoid() if isinstance(child, nn.Sigmoid) else hard_gates(child))
    return module


@torch.no_grad()
def settle(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Gives BatchNorm the statistics of noise, and factors and terms of its own, so that a mistake in any shows."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    generator = torch.Generator().manual_seed(7)
    for norm in norms:
        if norm.affine:
            norm.weight.uniform_(0.6, 1.4, generator=generator)
            norm.bias.uniform_(-0.3, 0.3, generator=generator)
        norm.momentum = 0.9
    if norms:
        module.train()
        for seed in (2, 3):
            torch.manual_seed(seed)
            module(torch.randn(6, *shape))
    return module.eval()
