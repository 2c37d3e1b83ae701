"""Random nodes: each function proposes one node on the wires that are there, which ONNX Runtime may still refuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

#: An operand: the name of a wire, a constant, or None for one left out.
Operand = str | np.ndarray | None


@dataclass
class Node:
    op: str
    operands: list[Operand]
    attributes: dict = field(default_factory=dict)
    outputs: int = 1
    #: Not to be computed on: a label, or probabilities.
    last: bool = False


class Wires:
    """What a proposal may look at: wires with their values for a batch, the opset, a source of randomness."""

    def __init__(self, rng: random.Random, opset: int):
        self.rng, self.opset, self.values = rng, opset, {}

    def pick(self, least: int = 2, most: int = 5) -> str:
        """A wire with so many axes, the batch counted; recent ones more often."""
        fitting = [n for n, v in self.values.items() if least <= v.ndim <= most]
        if not fitting:
            raise LookupError("no wire")
        return self.rng.choice(fitting[-3:] if self.rng.random() < 0.7 else fitting)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def like(self, name: str) -> str:
        """A wire of the same shape, perhaps the same one."""
        return self.rng.choice([n for n, v in self.values.items() if v.shape == self.shape(name)])

    def floats(self, *shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        return np.random.default_rng(self.rng.getrandbits(32)).uniform(low, high, shape).astype(np.float32)

    def axes_form(self, op: str, x: str, axes: list[int] | None, since: int, **attributes) -> Node:
        """Axes as an attribute before opset `since`, as an operand from then on."""
        if axes is None or self.opset < since:
            return Node(op, [x], {**attributes, **({"axes": axes} if axes is not None else {})})
        return Node(op, [x, ints(axes)], attributes)


def ints(values) -> np.ndarray:
    return np.array(values, np.int64)


def maybe(rng: random.Random, chance: float = 0.5, **attributes) -> dict:
    return {k: v for k, v in attributes.items() if rng.random() < chance}


def signed(rng: random.Random, axis: int, rank: int) -> int:
    return axis - rank if rng.random() < 0.3 else axis


def window(w: Wires, x: str, transposed: bool = False) -> tuple[list[int], dict]:
    """A kernel and the attributes that slide it."""
    rng, spatial = w.rng, w.shape(x)[2:]
    kernel = [rng.randint(1, min(4, size)) for size in spatial]
    found = maybe(rng, 0.6, strides=[rng.randint(1, 3) for _ in spatial])
    found |= maybe(rng, 0.3, dilations=[rng.randint(1, 2) for _ in spatial])
    if rng.random() < 0.2 and not transposed:
        found["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
        # Readers disagree: docs/readers.md.
        found.pop("dilations", None)
    elif rng.random() < 0.6:
        found["pads"] = [rng.randint(0, max(k - 1, 0)) for k in kernel] + [rng.randint(0, max(k - 1, 0)) for k in kernel]
    return kernel, found


def conv(w: Wires) -> Node:
    x = w.pick(3, 4)
    kernel, attributes = window(w, x)
    channels = w.shape(x)[1]
    groups = w.rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
    out = groups * w.rng.randint(1, 3)
    attributes |= {"group": groups} if groups > 1 else {}
    attributes |= maybe(w.rng, 0.5, kernel_shape=kernel)
    bias = [w.floats(out)] if w.rng.random() < 0.6 else []
    return Node("Conv", [x, w.floats(out, channels // groups, *kernel), *bias], attributes)


def conv_transpose(w: Wires) -> Node:
    x = w.pick(3, 4)
    kernel, attributes = window(w, x, transposed=True)
    channels = w.shape(x)[1]
    groups = w.rng.choice([g for g in (1, 1, 2) if channels % g == 0])
    strides = attributes.get("strides", [1] * len(kernel))
    attributes |= maybe(w.rng, 0.3, output_padding=[w.rng.randint(0, s - 1) for s in strides])
    attributes |= {"group": groups} if groups > 1 else {}
    out = w.rng.randint(1, 3)
    bias = [w.floats(groups * out)] if w.rng.random() < 0.6 else []
    return Node("ConvTranspose", [x, w.floats(channels, out, *kernel), *bias], attributes)


def pool(op: str) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        x = w.pick(3, 4)
        kernel, attributes = window(w, x)
        if op == "AveragePool":
            attributes |= maybe(w.rng, 0.4, count_include_pad=w.rng.randint(0, 1))
            if w.opset < 19:
                attributes.pop("dilations", None)
        if attributes.get("auto_pad") != "VALID":
            # Readers disagree on both at once: docs/readers.md.
            attributes |= maybe(w.rng, 0.3, ceil_mode=1)
        return Node(op, [x], {"kernel_shape": kernel, **attributes})

    return propose


def global_pool(op: str) -> Callable[[Wires], Node]:
    return lambda w: Node(op, [w.pick(3, 4)])


def gemm(w: Wires) -> Node:
    x, rng = w.pick(2, 2), w.rng
    k, out = w.shape(x)[1], rng.randint(1, 6)
    attributes = maybe(rng, 0.3, alpha=rng.choice([0.5, 2.0, -1.0]), beta=rng.choice([0.5, 0.0, -2.0]))
    attributes |= maybe(rng, 0.5, transB=1)
    weight = w.floats(out, k) if attributes.get("transB") else w.floats(k, out)
    forms = [(), (out,), (1, out), (1,), (1, 1)]
    return Node("Gemm", [x, weight, *([w.floats(*rng.choice(forms))] if rng.random() < 0.8 else [])], attributes)


def matmul(w: Wires) -> Node:
    x = w.pick(2, 4)
    shape = w.shape(x)
    if len(shape) > 2 and w.rng.random() < 0.2:
        return Node("MatMul", [w.floats(w.rng.randint(1, 4), shape[-2]), x])
    return Node("MatMul", [x, w.floats(shape[-1], w.rng.randint(1, 5))])


def batch_normalization(w: Wires) -> Node:
    x = w.pick(2, 4)
    c = w.shape(x)[1]
    values = [w.floats(c), w.floats(c), w.floats(c), w.floats(c, low=0.3, high=2.0)]
    return Node("BatchNormalization", [x, *values], maybe(w.rng, 0.4, epsilon=1e-2, momentum=0.8))


def constant_for(w: Wires, x: str, low: float = -1.5, high: float = 1.5) -> np.ndarray:
    """A constant that broadcasts to a wire: its extents, or ones; perhaps without leading axes."""
    shape = [1, *(size if w.rng.random() < 0.5 else 1 for size in w.shape(x)[1:])]
    return w.floats(*shape[w.rng.randint(0, len(shape)) :], low=low, high=high)


def arithmetic(op: str) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        x = w.pick()
        if op != "Div" and w.rng.random() < 0.4:
            return Node(op, [x, w.like(x)])
        if op == "Div":
            return Node(op, [x, constant_for(w, x, 0.4, 2.0)])
        pair = [x, constant_for(w, x)]
        return Node(op, pair if w.rng.random() < 0.7 else pair[::-1])

    return propose


def gate(w: Wires) -> Node:
    """A product of a wire with one of fewer extents."""
    x = w.pick(3, 4)
    shape = w.shape(x)
    small = [n for n, v in w.values.items() if v.ndim == len(shape) and v.shape[1] == shape[1] and set(v.shape[2:]) == {1}]
    if not small:
        raise LookupError("no gate")
    return Node(w.rng.choice(["Mul", "Add", "Sub"]), [x, w.rng.choice(small)])


def many(op: str) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        x = w.pick()
        others = [w.like(x) if w.rng.random() < 0.5 else constant_for(w, x) for _ in range(w.rng.randint(0, 2))]
        operands: list[Operand] = [x, *others]
        w.rng.shuffle(operands)
        return Node(op, operands)

    return propose


def unary(op: str, **ranges: tuple[float, float]) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        chosen = {name: round(w.rng.uniform(*limits), 3) for name, limits in ranges.items()}
        return Node(op, [w.pick()], maybe(w.rng, 0.7, **chosen))

    return propose


def prelu(w: Wires) -> Node:
    x = w.pick()
    shape = w.shape(x)
    forms = [(1,), (shape[1], *[1] * (len(shape) - 2)), shape[1:]]
    return Node("PRelu", [x, w.floats(*w.rng.choice(forms), low=-0.5, high=1.5)])


def clip(w: Wires) -> Node:
    limits: list[Operand] = [np.float32(w.rng.uniform(-1, 0)), np.float32(w.rng.uniform(0.1, 1.5))]
    for i in (0, 1):
        if w.rng.random() < 0.3:
            limits[i] = None
    return Node("Clip", [w.pick(), *(limits if limits[1] is not None else limits[:1])])


def power(w: Wires) -> Node:
    return Node("Pow", [w.pick(), np.float32(w.rng.choice([1.0, 2.0]))])


def cast(w: Wires) -> Node:
    return Node("Cast", [w.pick()], {"to": 1})


def pad(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    shape = w.shape(x)
    mode = rng.choice(["constant", "constant", "reflect", "edge", "wrap"][: 5 if w.opset >= 19 else 4])
    least = -1 if mode == "constant" and rng.random() < 0.2 else 0
    amount = lambda size: rng.randint(least, min(2, size - 1)) if rng.random() < 0.6 else 0  # noqa: E731
    axes = list(range(1, len(shape)))
    before, after = [amount(shape[a]) for a in axes], [amount(shape[a]) for a in axes]
    value = np.float32(rng.choice([0.0, 0.0, 0.5])) if mode == "constant" and rng.random() < 0.5 else None
    if w.opset >= 18 and rng.random() < 0.4:
        return Node("Pad", [x, ints(before + after), value, ints([signed(rng, a, len(shape)) for a in axes])], {"mode": mode})
    operands = [x, ints([0, *before, 0, *after])] + ([value] if value is not None else [])
    return Node("Pad", operands, {"mode": mode} if mode != "constant" or rng.random() < 0.5 else {})


def resize(w: Wires) -> Node:
    x, rng = w.pick(3, 4), w.rng
    shape = w.shape(x)
    scales = [rng.choice([1, 2, 3]) for _ in shape[2:]]
    where, rounding = rng.choice([("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")])
    attributes = {"mode": "nearest", "coordinate_transformation_mode": where, "nearest_mode": rounding}
    none = None if w.opset >= 13 else np.zeros(0, np.float32)
    if rng.random() < 0.3:
        sizes = [shape[0], shape[1], *(n * s for n, s in zip(shape[2:], scales))]
        return Node("Resize", [x, none, None if w.opset >= 13 else np.zeros(0, np.float32), ints(sizes)], attributes)
    return Node("Resize", [x, none, np.array([1, 1, *scales], np.float32)], attributes)


def reduce(op: str) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        x, rng = w.pick(), w.rng
        rank = len(w.shape(x))
        axes = sorted(rng.sample(range(1, rank), rng.randint(1, rank - 1)))
        keep = maybe(rng, 0.7, keepdims=rng.randint(0, 1))
        if len(axes) == rank - 1:
            # A result of one value an image keeps an axis behind the batch.
            keep = {"keepdims": 1}
        since = 13 if op == "ReduceSum" else 18
        return w.axes_form(op, x, [signed(rng, a, rank) for a in axes], since, **keep)

    return propose


def flatten(w: Wires) -> Node:
    return Node("Flatten", [w.pick(2, 5)], maybe(w.rng, 0.5, axis=1))


def reshape(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    rest = list(w.shape(x)[1:])
    total = int(np.prod(rest))
    divisors = [d for d in range(1, total + 1) if total % d == 0]
    first = rng.choice(divisors)
    target = rng.choice([[total], [first, total // first], [*rest[:-2], rest[-1] * (rest[-2] if len(rest) > 1 else 1)], [1, *rest]])
    target = list(target)
    if rng.random() < 0.4:
        target[rng.randrange(len(target))] = -1
        return Node("Reshape", [x, ints([0, *target])])
    return Node("Reshape", [x, ints([rng.choice([0, -1]), *target])])


def transpose(w: Wires) -> Node:
    x = w.pick(3, 5)
    axes = list(range(1, len(w.shape(x))))
    w.rng.shuffle(axes)
    return Node("Transpose", [x], {"perm": [0, *axes]})


def squeeze(w: Wires) -> Node:
    x = w.pick(3, 5)
    ones = [a for a, size in enumerate(w.shape(x)) if size == 1 and a > 0]
    if not ones:
        raise LookupError("no axis of one")
    return w.axes_form("Squeeze", x, [signed(w.rng, w.rng.choice(ones), len(w.shape(x)))], 13)


def unsqueeze(w: Wires) -> Node:
    x = w.pick(2, 4)
    return w.axes_form("Unsqueeze", x, [w.rng.randint(1, len(w.shape(x)))], 13)


def concat(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    axis = rng.randint(1, len(w.shape(x)) - 1)
    fits = lambda v: v.ndim == len(w.shape(x)) and all(a == axis or v.shape[a] == s for a, s in enumerate(w.shape(x)))  # noqa: E731
    fitting = [n for n, v in w.values.items() if fits(v)]
    return Node("Concat", [rng.choice(fitting) for _ in range(rng.randint(1, 3))], {"axis": signed(rng, axis, len(w.shape(x)))})


def split(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    axes = [a for a, size in enumerate(w.shape(x)) if a > 0 and size > 1]
    if not axes:
        raise LookupError("nothing to split")
    axis = rng.choice(axes)
    size = w.shape(x)[axis]
    if size % 2 == 0 and rng.random() < 0.4:
        return Node("Split", [x], {"axis": axis, **({"num_outputs": 2} if w.opset >= 18 else {})}, outputs=2)
    cut = rng.randint(1, size - 1)
    if w.opset < 13:
        return Node("Split", [x], {"axis": axis, "split": [cut, size - cut]}, outputs=2)
    return Node("Split", [x, ints([cut, size - cut])], {"axis": signed(rng, axis, len(w.shape(x)))}, outputs=2)


def slice_(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    rank = len(w.shape(x))
    axes = sorted(rng.sample(range(1, rank), rng.randint(1, rank - 1)))
    starts, ends, steps = [], [], []
    for a in axes:
        size = w.shape(x)[a]
        if rng.random() < 0.15:
            starts.append(-1), ends.append(-(2**31)), steps.append(-1)
            continue
        start = rng.randint(0, size - 1)
        starts.append(start - size if rng.random() < 0.3 else start)
        ends.append(rng.choice([2**31, 2**63 - 1, rng.randint(start + 1, size)]))
        steps.append(rng.choice([1, 1, 2]))
    return Node("Slice", [x, ints(starts), ints(ends), ints([signed(rng, a, rank) for a in axes]), ints(steps)])


def gather(w: Wires) -> Node:
    x, rng = w.pick(), w.rng
    axis = rng.randint(1, len(w.shape(x)) - 1)
    size = w.shape(x)[axis]
    if len(w.shape(x)) > 2 and rng.random() < 0.4:
        index = ints(rng.randint(-size, size - 1))
    else:
        index = ints([rng.randint(-size, size - 1) for _ in range(rng.randint(1, 3))])
    return Node("Gather", [x, index], {"axis": signed(rng, axis, len(w.shape(x)))})


def where(w: Wires) -> Node:
    """A choice by a constant."""
    x, rng = w.pick(), w.rng
    dims = [rng.choice([1, s]) for s in w.shape(x)[1:]]
    mask = w.floats(*dims[rng.randint(0, len(dims)) :]) > 0
    other = rng.choice([w.like(x), w.floats(*rng.choice([(), (1,), w.shape(x)[1:]]))])
    sides = [x, other]
    rng.shuffle(sides)
    return Node("Where", [mask, *sides])


def expand(w: Wires) -> Node:
    x = w.pick()
    return Node("Expand", [x, ints([1, *(w.rng.choice([2, 3]) if s == 1 else w.rng.choice([1, s]) for s in w.shape(x)[1:])])])


def tile(w: Wires) -> Node:
    x = w.pick()
    return Node("Tile", [x, ints([1, *(w.rng.choice([1, 1, 2]) for _ in w.shape(x)[1:])])])


def blocks(op: str) -> Callable[[Wires], Node]:
    def propose(w: Wires) -> Node:
        mode = maybe(w.rng, 0.6, mode=w.rng.choice(["DCR", "CRD"])) if op == "DepthToSpace" else {}
        return Node(op, [w.pick(4, 4)], {"blocksize": 2, **mode})

    return propose


def dropout(w: Wires) -> Node:
    return Node("Dropout", [w.pick(), *([np.float32(0.4)] if w.opset >= 12 and w.rng.random() < 0.5 else [])])


def softmax(op: str) -> Callable[[Wires], Node]:
    return lambda w: Node(op, [w.pick(2, 2)], maybe(w.rng, 0.6, axis=w.rng.choice([1, -1])), last=True)


def sigmoid(w: Wires) -> Node:
    return Node("Sigmoid", [w.pick(2, 2)], last=True)


def argmax(w: Wires) -> Node:
    return Node("ArgMax", [w.pick(2, 2)], {"axis": w.rng.choice([1, -1]), **maybe(w.rng, 0.6, keepdims=w.rng.randint(0, 1))}, last=True)


#: Proposals by operator, and how often they are made.
PROPOSALS: list[tuple[str, Callable[[Wires], Node], int]] = [
    ("Conv", conv, 5), ("ConvTranspose", conv_transpose, 2), ("MaxPool", pool("MaxPool"), 3), ("AveragePool", pool("AveragePool"), 3),
    ("GlobalAveragePool", global_pool("GlobalAveragePool"), 1), ("GlobalMaxPool", global_pool("GlobalMaxPool"), 1),
    ("Gemm", gemm, 3), ("MatMul", matmul, 3), ("BatchNormalization", batch_normalization, 2),
    ("Add", arithmetic("Add"), 3), ("Sub", arithmetic("Sub"), 2), ("Mul", arithmetic("Mul"), 3), ("Div", arithmetic("Div"), 1),
    ("Mul", gate, 2), ("Max", many("Max"), 1), ("Min", many("Min"), 1), ("Sum", many("Sum"), 1), ("Mean", many("Mean"), 1),
    ("Relu", unary("Relu"), 4), ("LeakyRelu", unary("LeakyRelu", alpha=(0.0, 1.0)), 1), ("PRelu", prelu, 1), ("Clip", clip, 2),
    ("HardSigmoid", unary("HardSigmoid", alpha=(0.1, 0.5), beta=(0.2, 0.8)), 1), ("HardSwish", unary("HardSwish"), 1),
    ("Abs", unary("Abs"), 1), ("Neg", unary("Neg"), 1), ("Pow", power, 1), ("Cast", cast, 1), ("Pad", pad, 2), ("Resize", resize, 2),
    ("ReduceMean", reduce("ReduceMean"), 2), ("ReduceSum", reduce("ReduceSum"), 1), ("ReduceMax", reduce("ReduceMax"), 1),
    ("ReduceMin", reduce("ReduceMin"), 1), ("Flatten", flatten, 2), ("Reshape", reshape, 2), ("Transpose", transpose, 2),
    ("Squeeze", squeeze, 1), ("Unsqueeze", unsqueeze, 1), ("Concat", concat, 2), ("Split", split, 1), ("Slice", slice_, 2),
    ("Gather", gather, 1), ("Where", where, 2), ("Expand", expand, 1), ("Tile", tile, 1), ("DepthToSpace", blocks("DepthToSpace"), 1),
    ("SpaceToDepth", blocks("SpaceToDepth"), 1), ("Identity", unary("Identity"), 1), ("Dropout", dropout, 1),
    ("Softmax", softmax("Softmax"), 1), ("LogSoftmax", softmax("LogSoftmax"), 1), ("Sigmoid", sigmoid, 1), ("ArgMax", argmax, 1),
]  # fmt: skip
