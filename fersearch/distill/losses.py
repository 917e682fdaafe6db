"""Distillation losses: what a student learns from a teacher's logits and from the labels.

Names, own parameters, ranges and papers of the losses stand in :mod:`fersearch.spec.losses`; here
are the functions. Each returns the soft term of a batch, a scalar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fersearch.errors import InputError
from fersearch.spec import LossDescription, loss_description
from fersearch.spec.rules import Place

__all__ = [
    "LOSSES",
    "Loss",
    "LossSettings",
    "distillation_loss",
    "soft_divergence",
    "weighted_loss",
]

# A setting of a loss: a scalar tensor where several students are trained in one program.
Number = float | Tensor

# What differs less than this from its mean, relative to its size, differs by the rounding of
# float32: dividing by it would turn noise into a direction, and give gradients of 1e7.
CONSTANT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """Which distillation loss, and its parameters.

    Attributes:
        name: ``kd``, ``dkd``, ``logit_std`` or ``dist``.
        temperature: T > 0; softens both distributions.
        alpha: Balance in 0-1: weight of the soft term; the hard term weighs 1 - alpha.
        options: The loss's own parameters by name (``dkd_other_weight``, ...); those that are not
            there keep their defaults.

    Raises:
        InputError: A value is out of its range, or a name is unknown.
    """

    name: str = "kd"
    temperature: float
    alpha: float
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loss_description(self.name).check(self.options, Place(""))
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0 but got {self.temperature:g}")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must be between 0 and 1 but got {self.alpha:g}")

    @property
    def own(self) -> dict[str, float]:
        """All of the loss's own parameters, defaults included."""
        given = {name: float(value) for name, value in self.options.items()}
        return {**loss_description(self.name).defaults, **given}

    def identity(self) -> dict[str, Any]:
        """Return what tells this loss from others: options at their defaults are left out."""
        defaults = loss_description(self.name).defaults
        changed = {name: value for name, value in self.own.items() if value != defaults[name]}
        plain = {"name": self.name, "temperature": self.temperature, "alpha": self.alpha}
        return {**plain, "options": changed} if changed else plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A distillation loss.

    Attributes:
        description: Its name, paper and own parameters.
        function: Takes the logits of student and teacher, the labels, the temperature and, by
            keyword, all of its own parameters; returns the soft term, a scalar.
    """

    description: LossDescription
    function: Callable[..., Tensor]

    def soft_term(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        *,
        temperature: Number,
        options: Mapping[str, Number] | None = None,
    ) -> Tensor:
        """Return the soft term of a batch: what alpha weighs in Eq 9, a scalar.

        Args:
            student: Logits, float ``(B, classes)``.
            teacher: Logits of the same views, float ``(B, classes)``.
            labels: Class numbers, int64 ``(B,)``.
            temperature: T > 0, a number or a scalar tensor.
            options: The loss's own parameters; a missing one keeps its default.
        """
        own = {**self.description.defaults, **(options or {})}
        return self.function(student, teacher, labels, temperature, **own)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of two batches of log-probabilities, averaged over the batch."""
    # Written out as F.kl_div computes it: torch.vmap does not know that one.
    return (teacher.exp() * (teacher - student)).sum() / student.shape[0]


def soft_divergence(student: Tensor, teacher: Tensor, temperature: Number) -> Tensor:
    """Return L_soft = KL(softmax(teacher / T) || softmax(student / T)), batch mean (Eq 4-6).

    Args:
        student: Logits, float ``(B, classes)``.
        teacher: Logits, float ``(B, classes)``.
        temperature: T > 0.
    """
    return _divergence(
        F.log_softmax(student / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1)
    )


def _kd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: Number) -> Tensor:
    """T^2 L_soft, the first term of Eq 9."""
    return temperature**2 * soft_divergence(student, teacher, temperature)


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split a softmax in two: target class against all others, and the others among themselves.

    Args:
        logits: Float ``(B, classes)``, divided by the temperature.
        labels: Int64 ``(B,)``.

    Returns:
        Log-probabilities ``(B, 2)`` and ``(B, classes - 1)``.
    """
    # Gathered by number, not by a mask: a mask would wait for the GPU to count its entries.
    numbers = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = logits.gather(1, numbers + (numbers >= labels[:, None]))
    pair = torch.cat([logits.gather(1, labels[:, None]), rest.logsumexp(1, keepdim=True)], dim=1)
    return F.log_softmax(pair, dim=1), F.log_softmax(rest, dim=1)


def _dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: Number,
    *,
    dkd_target_weight: Number,
    dkd_other_weight: Number,
) -> Tensor:
    """T^2 (a TCKD + b NCKD), Eq 7 of Zhao et al., without the authors' warm-up of the weight."""
    student_target, student_others = _decoupled(student / temperature, labels)
    teacher_target, teacher_others = _decoupled(teacher / temperature, labels)
    return temperature**2 * (
        dkd_target_weight * _divergence(student_target, teacher_target)
        + dkd_other_weight * _divergence(student_others, teacher_others)
    )


def _standardised(values: Tensor, dim: int) -> Tensor:
    """Subtract the mean and scale to length 1 along ``dim``; what is constant becomes about 0."""
    centred = values - values.mean(dim=dim, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=dim, keepdim=True)
    size = torch.linalg.vector_norm(values.detach(), dim=dim, keepdim=True)
    return centred / torch.where(length > CONSTANT * size, length, 1.0)


def _logit_std(student: Tensor, teacher: Tensor, labels: Tensor, temperature: Number) -> Tensor:
    """Both logits as z-scores of each image, then as ``kd`` (Sun et al.).

    The standard deviation is that of a sample (divisor classes - 1), as in the authors' code.
    """
    scale = math.sqrt(student.shape[1] - 1)
    return _kd(
        scale * _standardised(student, 1), scale * _standardised(teacher, 1), labels, temperature
    )


def _dist(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: Number,
    *,
    dist_between_weight: Number,
    dist_within_weight: Number,
) -> Tensor:
    """T^2 (b mean over images of 1 - r(classes) + g mean over classes of 1 - r(images)).

    r is Pearson's correlation of the two networks' probabilities (Huang et al.); T^2 as in the
    authors' code. Where either side is constant, r counts as 0.
    """
    student = F.softmax(student / temperature, dim=1)
    teacher = F.softmax(teacher / temperature, dim=1)
    distances = [
        1 - (_standardised(student, dim) * _standardised(teacher, dim)).sum(dim=dim).mean()
        for dim in (1, 0)
    ]
    return temperature**2 * (dist_between_weight * distances[0] + dist_within_weight * distances[1])


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "kd": _kd,
    "dkd": _dkd,
    "logit_std": _logit_std,
    "dist": _dist,
}
LOSSES: Mapping[str, Loss] = {
    name: Loss(description=loss_description(name), function=function)
    for name, function in _FUNCTIONS.items()
}


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    settings: LossSettings,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return L = alpha * soft term + (1 - alpha) * cross entropy (Eq 9), a scalar.

    Args:
        student: Student logits, float ``(B, classes)``.
        teacher: Teacher logits of the same views, float ``(B, classes)``.
        labels: Class numbers, int64 ``(B,)``.
        settings: Loss, temperature, alpha and the loss's own parameters. For ``kd`` the soft term
            is T^2 L_soft.
        label_smoothing: Smoothing of the hard labels, in 0-1.
    """
    return weighted_loss(
        settings.name,
        student,
        teacher,
        labels,
        temperature=settings.temperature,
        alpha=settings.alpha,
        options=settings.options,
        label_smoothing=label_smoothing,
    )


def weighted_loss(
    name: str,
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: Number,
    alpha: Number,
    options: Mapping[str, Number],
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return :func:`distillation_loss` of settings that may be tensors, for :func:`torch.vmap`.

    Args:
        name: Name of the loss.
        student: Student logits, float ``(B, classes)``.
        teacher: Teacher logits of the same views, float ``(B, classes)``.
        labels: Class numbers, int64 ``(B,)``.
        temperature: T > 0, a number or a scalar tensor.
        alpha: Weight of the soft term in 0-1, a number or a scalar tensor.
        options: The loss's own parameters, numbers or scalar tensors.
        label_smoothing: Smoothing of the hard labels, in 0-1.
    """
    hard = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    soft = LOSSES[name].soft_term(
        student, teacher.detach(), labels, temperature=temperature, options=options
    )
    return alpha * soft + (1 - alpha) * hard
