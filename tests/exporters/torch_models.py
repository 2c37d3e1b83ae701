"""Writes the corpus of PyTorch: modules and networks, by both exporters.

Variants: `dynamo` is torch.onnx.export(model, (image,), path) as written by default; `dynamo-batch` leaves the batch open;
`script` is the TorchScript exporter with its defaults, `script-batch` with an open batch; a number behind them is an opset.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator

import torch

from corpus import Corpus, arguments, images
from torch_modules import modules
from torch_networks import networks, settle

#: TorchScript goes up to 21 here, the newer exporter begins at 18 and goes as far as onnx does.
SCRIPT, DYNAMO = range(11, 22), range(18, 28)


def export(module: torch.nn.Module, image: torch.Tensor, variant: str) -> Callable[[str], None]:
    exporter, *rest = variant.split("-")
    options: dict = {}
    if exporter == "script":
        options["dynamo"] = False
    if "batch" in rest:
        # Two images: an extent of one is never left open.
        image = image.repeat(2, *[1] * (image.dim() - 1))
        if exporter == "script":
            options.update(input_names=["x"], dynamic_axes={"x": {0: "batch"}})
        else:
            options["dynamic_shapes"] = ({0: "batch"},)
    if "unfolded" in rest:
        options["do_constant_folding"] = False
    options["opset_version"] = next((int(part) for part in rest if part.isdigit()), None)
    options["verbose"] = False
    return lambda path: torch.onnx.export(module, (image,), path, **options)


def variants(opsets: str, network: bool) -> Iterator[str]:
    yield from ("dynamo", "dynamo-batch", "script", "script-batch")
    if opsets == "all":
        yield from (f"script-{n}" for n in SCRIPT)
        yield from (f"dynamo-{n}" for n in DYNAMO)
        yield "script-17-unfolded"
    elif not network:
        yield from ("script-11", "script-13", "script-17-unfolded", "dynamo-18", "dynamo-23")


def quick() -> None:
    """The exporter makes its table of translations anew on every call; once for each opset is enough here."""
    from torch.onnx._internal.exporter import _registration

    table = _registration.ONNXRegistry
    table.from_torchlib = staticmethod(functools.cache(table.from_torchlib))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kind", choices=["modules", "networks", "all"], default="all")
    parser.add_argument("--opsets", choices=["some", "all"], default="some")
    parser.add_argument("--variants", default="", help="of these only, comma-separated")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    quick()
    sources = {"modules": modules, "networks": networks}
    for kind in sources if args.kind == "all" else [args.kind]:
        corpus = Corpus(args.folder, f"torch-{kind}")
        for name, module, shape, outside in sources[kind]():
            if args.only not in name:
                continue
            torch.manual_seed(0)
            module = settle(module, shape)
            x = images(shape)
            with torch.no_grad():
                y = module(torch.from_numpy(x)).numpy()
            wanted = args.variants.split(",") if args.variants else variants(args.opsets, kind == "networks")
            for variant in wanted:
                corpus.add(name, variant, export(module, torch.from_numpy(x[:1]), variant), x, y, outside)
        corpus.close()


if __name__ == "__main__":
    main()
