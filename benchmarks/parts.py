"""What a network's training step on a CPU is made of, and what each faster part is worth.

    python -m benchmarks parts --image-size 48 --batch-size 64 --threads 1 --out results/

First the step is taken as it is, in turn with steps in which one part does what PyTorch's own
layers, or torchvision's network, would do. A ratio says how many times as long the step takes then.
All of them are in channels-last memory. Then both, the step as it is and the step without any
of the parts, are profiled operator by operator: the fastest of ``--profiled`` steps of each.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import CLOCKS, Recorder, add_common, interleaved
from fersearch.distill import make_recipe
from fersearch.distill.recipe import clipped_step, make_optimizer
from fersearch.models import create, shufflenet, train_fast_on_cpu
from fersearch.models.cpu_training import DepthwiseConv2d, PointwiseConv2d
from fersearch.models.small_maps import SmallMapConv2d

# Operators by what they do, by the start of their name; the first that fits counts.
KINDS = {
    "convolutions of one pixel, products": ("aten::mm", "aten::addmm", "pointwise"),
    "depthwise convolutions": ("depthwise",),
    "dense convolutions": ("dense",),
    "batch normalisation": ("aten::native_batch_norm", "aten::batch_norm", "aten::addcmul"),
    "gradient of ReLU": ("aten::threshold_backward",),
    "ReLU": ("aten::clamp_min", "aten::relu"),
    "max pooling": ("aten::max_pool2d",),
    "shuffle, split, other copies": ("aten::copy_", "aten::cat", "aten::stack", "aten::clone"),
    "clipping and SGD": (
        "aten::_fused_sgd",
        "aten::_foreach",
        "aten::linalg_vector_norm",
        "aten::add_",
        "aten::mul_",
        "Optimizer.",
    ),
    "dropout": ("aten::bernoulli", "aten::native_dropout", "aten::dropout"),
}
REST = "all the rest"


def _stem_map(self: Any, x: Tensor) -> Tensor:
    """Normalise and rectify before pooling."""
    pooled: Tensor = self.maxpool(self.conv1(x))
    return pooled


# A part: the layers that a network must have to use it, where it stands, and what one would have
# instead.
CONVOLVE = nn.Conv2d.forward
PARTS: dict[str, tuple[type[nn.Module], tuple[Any, str, Any]]] = {
    "shuffle in two copies": (
        shufflenet.ShuffleUnit,
        (shufflenet, "interleaved", shufflenet.shuffled_pair),
    ),
    "convolutions of one pixel as products": (
        PointwiseConv2d,
        (PointwiseConv2d, "forward", CONVOLVE),
    ),
    "depthwise gradients on padded small maps": (
        DepthwiseConv2d,
        (DepthwiseConv2d, "forward", CONVOLVE),
    ),
    "pooling before the stem's normalisation": (
        shufflenet.ShuffleNetV2,
        (shufflenet.ShuffleNetV2, "_stem_map", _stem_map),
    ),
    "dense convolutions of small maps as products": (
        SmallMapConv2d,
        (SmallMapConv2d, "forward", CONVOLVE),
    ),
}
FUSED, ALL = "fused SGD", "all of them"


@contextlib.contextmanager
def without(*parts: str) -> Iterator[None]:
    """Do inside without these of :data:`PARTS`."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(mock.patch.object(*PARTS[part][1]))
        yield


class Step:
    """Steps of a fresh student on one batch of noise.

    Args:
        given: The benchmark's options.
        plain_sgd: Clip and step as PyTorch does by default.
    """

    def __init__(self, given: argparse.Namespace, *, plain_sgd: bool) -> None:
        torch.manual_seed(0)
        self._network = create(given.model, num_classes=8, image_size=given.image_size)
        train_fast_on_cpu(self._network).to(memory_format=torch.channels_last).train()
        shape = (given.batch_size, 3, given.image_size, given.image_size)
        self._images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(0, 8, shape[:1])
        recipe = make_recipe("default", epochs=1, batch_size=given.batch_size, learning_rate=1e-3)
        self._clip = recipe.clip_norm
        self._bfloat16 = given.bfloat16
        self._plain = plain_sgd
        parameters = self._network.parameters()
        self._optimizer = (
            SGD(parameters, 1e-3, 0.9, nesterov=True, weight_decay=5e-4)
            if plain_sgd
            else make_optimizer(parameters, recipe)
        )

    def parts(self) -> list[str]:
        """Return which of :data:`PARTS` the network has layers for."""
        modules = list(self._network.modules())
        return [
            name
            for name, (kind, _) in PARTS.items()
            if any(isinstance(module, kind) for module in modules)
        ]

    def __call__(self) -> None:
        """Make a step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            logits = self._network(self._images)
        loss = F.cross_entropy(logits.float(), self._labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(self._network.parameters())
        if self._plain:
            nn.utils.clip_grad_norm_(parameters, self._clip)
            self._optimizer.step()
        else:
            clipped_step(self._optimizer, parameters, clip_norm=self._clip)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, profile and print."""
    parser = argparse.ArgumentParser(
        prog="parts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="shufflenet_v2_x1_0")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps of each a round")
    parser.add_argument("--profiled", type=int, default=12, help="steps that are profiled")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="as networks like teachers train")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    add_common(parser, rounds=7)
    given = parser.parse_args(arguments)
    record = Recorder("parts", given)
    torch.set_num_threads(given.threads)
    record.say(f"{given.model}, {given.image_size} px, batch {given.batch_size}")
    measure(record, given)
    tell_profiles(record, given)
    record.finish()


def measure(record: Recorder, given: argparse.Namespace) -> None:
    """Take steps as they are and without each part, in turn."""
    clock = CLOCKS[given.clock]

    def task(step: Step, *parts: str) -> Callable[[], float]:
        def run() -> float:
            with without(*parts):
                start = clock()
                for _ in range(given.steps):
                    step()
                return 1e3 * (clock() - start) / given.steps

        return run

    step = Step(given, plain_sgd=False)
    left_out = {name: task(Step(given, plain_sgd=False), name) for name in step.parts()}
    left_out[FUSED] = task(Step(given, plain_sgd=True))
    left_out[ALL] = task(Step(given, plain_sgd=True), *PARTS)
    tasks = {"as it is": task(step)} | {f"without {name}": run for name, run in left_out.items()}
    for name, values in interleaved(tasks, rounds=given.rounds).items():
        record.add(name, values, "ms a step", digits=1)
    for name in left_out:
        record.compare(f"without {name}", "as it is")


def tell_profiles(record: Recorder, given: argparse.Namespace) -> None:
    """Profile the step without any of the parts, and as it is."""
    with without(*PARTS):
        before = profiled(Step(given, plain_sgd=True), given.profiled)
    now = profiled(Step(given, plain_sgd=False), given.profiled)
    record.figures["profile_ms"] = {"before": before, "now": now}
    record.say(f"  {'profile, ms a step':<42}{'without any':>12}{'as it is':>12}")
    for kind in sorted(before, key=lambda name: (name == REST, -before[name])):
        record.say(f"  {kind:<42}{before[kind]:12.1f}{now[kind]:12.1f}")
    record.say(f"  {'together':<42}{sum(before.values()):12.1f}{sum(now.values()):12.1f}")


def profiled(step: Step, count: int) -> dict[str, float]:
    """Return the milliseconds of each kind of operator, those of its fastest step."""
    for _ in range(3):
        step()
    found: dict[str, list[float]] = {}
    for _ in range(count):
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as run:
            step()
        spent = dict.fromkeys([*KINDS, REST], 0.0)
        for event in run.events():
            spent[kind_of(event.name, event.input_shapes)] += event.self_cpu_time_total / 1e3
        for kind, milliseconds in spent.items():
            found.setdefault(kind, []).append(milliseconds)
    return {kind: min(values) for kind, values in found.items()}


def kind_of(name: str, shapes: Sequence[Any]) -> str:
    """Return what an operator does.

    >>> kind_of("aten::native_batch_norm_backward", [])
    'batch normalisation'
    >>> kind_of("aten::mkldnn_convolution", [[64, 58, 6, 6], [58, 1, 3, 3]])
    'depthwise convolutions'
    """
    if "convolution" in name:
        place = 2 if "backward" in name else 1
        name = _convolution(shapes[place] if len(shapes) > place else ())
    return next(
        (kind for kind, starts in KINDS.items() if name.startswith(starts)),
        REST,
    )


def _convolution(weight: Sequence[int]) -> str:
    """Return which convolution has these weights; empty where that is not known."""
    if len(weight) != 4:
        return ""
    if tuple(weight[2:]) == (1, 1):
        return "pointwise"
    return "depthwise" if weight[1] == 1 else "dense"


if __name__ == "__main__":
    main()
