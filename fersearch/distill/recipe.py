"""Training recipes: optimiser, schedule and regularisation of one run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from fersearch.distill.dense_sgd import DenseSGD
from fersearch.errors import InputError, suggestion

__all__ = [
    "RECIPES",
    "Recipe",
    "Schedule",
    "clipped_step",
    "count_steps",
    "make_optimizer",
    "make_recipe",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: Name of the recipe it came from.
        epochs: Number of passes over the training split, at least 1.
        batch_size: Images a step, at least 2 (batch normalisation needs two).
        learning_rate: Peak learning rate of SGD with momentum.
        momentum: SGD momentum.
        nesterov: Nesterov momentum.
        weight_decay: L2 penalty; with ``decay_all`` false it spares biases and normalisation.
        decay_all: Apply the weight decay to every parameter, as plain SGD does.
        schedule: ``cosine`` (linear warm-up, then half a cosine to zero, per step) or ``plateau``
            (a tenth after ``plateau_patience`` epochs without a better validation loss).
        warmup: Share of all steps spent warming up, in 0-1 (cosine only).
        plateau_factor: Factor of the plateau schedule.
        plateau_patience: Patience of the plateau schedule in epochs.
        dropout: Dropout rate before the classifier, in 0-1.
        label_smoothing: Label smoothing of the hard labels, in 0-1.
        clip_norm: Largest gradient norm; 0 turns clipping off.
    """

    name: str = "default"
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: str = "cosine"
    warmup: float = 0.2
    plateau_factor: float = 0.1
    plateau_patience: int = 3
    dropout: float = 0.5
    label_smoothing: float = 0.0
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs, self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size, self.batch_size >= 2, "at least 2"),
            ("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "in 0-1"),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0"),
            ("warmup", self.warmup, 0 <= self.warmup < 1, "in 0-1"),
            ("dropout", self.dropout, 0 <= self.dropout < 1, "in 0-1"),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in 0-1"),
        ]
        for name, value, valid, rule in rules:
            if not valid or not math.isfinite(value):
                raise InputError(f"{name} must be {rule} but got {value}")
        if self.schedule not in {"cosine", "plateau"}:
            raise InputError(
                f"unknown schedule {self.schedule!r}", suggestion(self.schedule, SCHEDULES)
            )


# What PyTorch adds to a norm before it divides by it.
CLIP_MARGIN = 1e-6
SCHEDULES = ("cosine", "plateau")

# What each recipe changes of the dataclass's defaults. "paper" is section "training" of Xie &
# Huang (T-SNet), to the letter; "default" was chosen for budgets of minutes, see docs/training.md.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "nesterov": False,
        "weight_decay": 1e-4,
        "decay_all": True,
        "schedule": "plateau",
        "clip_norm": 0.0,
    },
}


def make_recipe(
    name: str, *, epochs: int, batch_size: int, learning_rate: float, **changes: Any
) -> Recipe:
    """Return the recipe ``name`` with a budget and a learning rate.

    The ``paper`` recipe's own budget is 150 epochs, batch 128 and learning rate 0.01.

    Raises:
        InputError: The name is unknown or a value is out of range.

    >>> make_recipe("paper", epochs=150, batch_size=128, learning_rate=0.01).schedule
    'plateau'
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}", suggestion(name, RECIPES))
    budget = Recipe(name=name, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    return dataclasses.replace(budget, **{**RECIPES[name], **changes})


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> Optimizer:
    """Return SGD over those of ``parameters`` that are trained.

    On a CPU and on a GPU it is PyTorch's fused SGD, which gives the same numbers, on a CPU in a
    third of the time, where all of them are stored densely
    (:class:`~fersearch.distill.dense_sgd.DenseSGD`).
    """
    parameters = [item for item in parameters if item.requires_grad]
    decayed = [item for item in parameters if recipe.decay_all or item.ndim > 1]
    spared = [item for item in parameters if not (recipe.decay_all or item.ndim > 1)]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    kind = DenseSGD if all(_dense(item) for item in parameters) else SGD
    return kind(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def clipped_step(
    optimizer: Optimizer, parameters: Sequence[nn.Parameter], *, clip_norm: float
) -> None:
    """Make a step with gradients whose norm together is at most ``clip_norm``.

    As :func:`torch.nn.utils.clip_grad_norm_` and a step do, up to rounding. Fused SGD divides by
    a scale while it reads the gradients, so they need not be gone through once more.

    Args:
        optimizer: Of :func:`make_optimizer`.
        parameters: All parameters whose gradients count.
        clip_norm: Largest norm; 0 turns clipping off.
    """
    if clip_norm > 0:
        total = nn.utils.get_total_norm(item.grad for item in parameters if item.grad is not None)
        # The scale is a float32 number whatever the gradients are.
        if isinstance(optimizer, DenseSGD) and total.dtype == torch.float32:
            scale = ((total + CLIP_MARGIN) / clip_norm).clamp(min=1.0)
            # With a scale a CPU's kernel writes the gradients back: 2 % of a student's step. A norm
            # that is not a number scales everything. A GPU would have to tell the host the scale.
            on_cpu = scale.device.type == "cpu"
            optimizer.grad_scale = None if on_cpu and float(scale) <= 1.0 else scale
        else:
            nn.utils.clip_grads_with_norm_(parameters, clip_norm, total)
    optimizer.step()


def _dense(parameter: Tensor) -> bool:
    dense = parameter.is_contiguous() or (
        parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    )
    fused = parameter.device.type in {"cpu", "cuda"} and parameter.is_floating_point()
    return dense and fused


class Schedule:
    """The learning rate over a run: one object for per-step and per-epoch schedules."""

    def __init__(self, optimizer: Optimizer, recipe: Recipe, *, steps_per_epoch: int) -> None:
        self._optimizer = optimizer
        self._per_step: LambdaLR | None = None
        self._per_epoch: ReduceLROnPlateau | None = None
        if recipe.schedule == "cosine":
            shape = _warmup_cosine(recipe, recipe.epochs * steps_per_epoch)
            self._per_step = LambdaLR(optimizer, shape)
        else:
            self._per_epoch = ReduceLROnPlateau(
                optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
            )

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Tell the schedule that the optimiser made a step."""
        if self._per_step is not None:
            self._per_step.step()

    def after_epoch(self, val_loss: float) -> None:
        """Tell the schedule that an epoch ended with this validation loss."""
        if self._per_epoch is not None:
            self._per_epoch.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        state: dict[str, Any] = (self._per_step or self._per_epoch).state_dict()  # type: ignore[union-attr]
        return {
            key: value
            for key, value in state.items()
            if isinstance(value, int | float | str | list | bool)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        if self._per_step is not None:
            current = self._per_step.state_dict()
            self._per_step.load_state_dict({**current, **state})
        elif self._per_epoch is not None:
            current = self._per_epoch.state_dict()
            self._per_epoch.load_state_dict({**current, **state})


def _warmup_cosine(recipe: Recipe, total_steps: int) -> Callable[[int], float]:
    warmup_steps = round(recipe.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return factor


def count_steps(images: int, batch_size: int) -> int:
    """Return the steps of an epoch; the short last batch is dropped unless it is the only one."""
    return max(1, images // batch_size)
