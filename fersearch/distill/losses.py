"""Distillation losses: what a student learns from a teacher's logits and from the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fersearch.errors import InputError, suggestion

__all__ = ["LOSSES", "LossSettings", "distillation_loss", "soft_divergence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """Which distillation loss, and its two searched parameters.

    Attributes:
        name: ``kd``, ``dkd``, ``logit_std`` or ``dist``.
        temperature: T > 0; softens both distributions.
        alpha: Balance in 0-1: weight of the soft term; the hard term weighs 1 - alpha.

    Raises:
        InputError: A value is out of its range or the name is unknown.
    """

    name: str = "kd"
    temperature: float
    alpha: float

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise InputError(f"unknown loss {self.name!r}", suggestion(self.name, LOSSES))
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0 but got {self.temperature:g}")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must be between 0 and 1 but got {self.alpha:g}")


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of two batches of log-probabilities, averaged over the batch."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return L_soft = KL(softmax(teacher / T) || softmax(student / T)), batch mean (Eq 4-6).

    Args:
        student: Logits, float ``(B, classes)``.
        teacher: Logits, float ``(B, classes)``.
        temperature: T > 0.
    """
    return _divergence(
        F.log_softmax(student / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1)
    )


def _kd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; T^2 L_soft of Eq 9."""
    return temperature**2 * soft_divergence(student, teacher, temperature)


def _dkd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Decoupled KD (Zhao et al., CVPR 2022): target-class and non-target-class KL, a = 1, b = 2.

    The paper's b = 8 is for CIFAR-100; with seven or eight classes 1-2 is the place to start.
    """
    target = F.one_hot(labels, student.shape[1]).bool()
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)

    def binary(log_probabilities: Tensor) -> Tensor:
        right = log_probabilities[target]
        wrong = torch.logsumexp(log_probabilities.masked_fill(target, -torch.inf), dim=1)
        return torch.stack([right, wrong], dim=1)

    def others(logits: Tensor) -> Tensor:
        rest = logits[~target].view(len(logits), -1)
        return F.log_softmax(rest / temperature, dim=1)

    target_term = _divergence(binary(log_student), binary(log_teacher))
    other_term = _divergence(others(student), others(teacher))
    return temperature**2 * (target_term + 2.0 * other_term)


def _logit_std(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Logit standardisation (Sun et al., CVPR 2024): z-score per sample, then KL at T."""

    def z_score(logits: Tensor) -> Tensor:
        centred = logits - logits.mean(dim=1, keepdim=True)
        return centred / (logits.std(dim=1, keepdim=True) + 1e-7)

    return _kd(z_score(student), z_score(teacher), labels, temperature)


def _pearson_distance(left: Tensor, right: Tensor, dim: int) -> Tensor:
    left = left - left.mean(dim=dim, keepdim=True)
    right = right - right.mean(dim=dim, keepdim=True)
    return 1 - F.cosine_similarity(left, right, dim=dim, eps=1e-8).mean()


def _dist(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """DIST (Huang et al., NeurIPS 2022): Pearson distance per sample plus per class, b = g = 1."""
    student = F.softmax(student / temperature, dim=1)
    teacher = F.softmax(teacher / temperature, dim=1)
    return temperature**2 * (
        _pearson_distance(student, teacher, 1) + _pearson_distance(student, teacher, 0)
    )


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "kd": _kd,
    "dkd": _dkd,
    "logit_std": _logit_std,
    "dist": _dist,
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
        settings: Loss, temperature and alpha. For ``kd`` the soft term is T^2 L_soft.
        label_smoothing: Smoothing of the hard labels, in 0-1.
    """
    hard = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    soft = LOSSES[settings.name](student, teacher.detach(), labels, settings.temperature)
    return settings.alpha * soft + (1 - settings.alpha) * hard
