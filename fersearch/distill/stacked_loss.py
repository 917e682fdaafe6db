"""The losses of students that are trained together, each with settings of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fersearch.distill.job import TrainJob
from fersearch.distill.losses import weighted_loss
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.models import Batch

__all__ = ["StackedLoss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The students of one loss.

    Attributes:
        name: Name of the distillation loss; empty for plain cross entropy.
        places: Their places in the stack.
        index: The same, int64 ``(G,)``, on the device.
        temperature: ``(G,)``.
        alpha: ``(G,)``.
        options: The loss's own parameters, ``(G,)`` each.
    """

    name: str
    places: tuple[int, ...]
    index: Tensor
    temperature: Tensor
    alpha: Tensor
    options: dict[str, Tensor]


class StackedLoss:
    """Losses of K students on one batch.

    Args:
        jobs: Their jobs, all with a distillation loss or none.
        teachers: Where their soft labels come from; students of one teacher share the object.
        device: Where the logits are.
        dtype: Type of the loss settings: that of the weights.
    """

    def __init__(
        self,
        jobs: Sequence[TrainJob],
        teachers: Sequence[TeacherSignal | None],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._teachers = list(teachers)
        self._smoothing = jobs[0].recipe.label_smoothing

        def row(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)

        self._groups: list[_Group] = []
        names = ["" if job.loss is None else job.loss.name for job in jobs]
        for name in dict.fromkeys(names):
            places = tuple(place for place, other in enumerate(names) if other == name)
            losses = [loss for place in places if (loss := jobs[place].loss) is not None]
            group = _Group(
                name=name,
                places=places,
                index=torch.tensor(places, device=device),
                temperature=row([loss.temperature for loss in losses]),
                alpha=row([loss.alpha for loss in losses]),
                options={
                    option: row([loss.own[option] for loss in losses])
                    for option in (losses[0].own if losses else ())
                },
            )
            self._groups.append(group)

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return every student's mean loss, ``(K,)``.

        Args:
            logits: Float ``(K, B, classes)``.
            batch: What they saw.
        """
        if len(self._groups) == 1:
            return self._of_group(self._groups[0], logits, batch)
        losses = [self._of_group(group, logits[group.index], batch) for group in self._groups]
        order = torch.cat([group.index for group in self._groups])
        return torch.cat(losses)[order.argsort()]

    def _of_group(self, group: _Group, logits: Tensor, batch: Batch) -> Tensor:
        if not group.name:

            def plain(student: Tensor) -> Tensor:
                return F.cross_entropy(student, batch.labels, label_smoothing=self._smoothing)

            return torch.vmap(plain)(logits)

        def distilled(
            student: Tensor,
            teacher: Tensor,
            temperature: Tensor,
            alpha: Tensor,
            options: dict[str, Tensor],
        ) -> Tensor:
            return weighted_loss(
                group.name,
                student,
                teacher,
                batch.labels,
                temperature=temperature,
                alpha=alpha,
                options=options,
                label_smoothing=self._smoothing,
            )

        soft_labels = self._soft_labels(group, batch)
        return torch.vmap(distilled)(
            logits, soft_labels, group.temperature, group.alpha, group.options
        )

    def _soft_labels(self, group: _Group, batch: Batch) -> Tensor:
        """Return what each student's teacher says, ``(G, B, classes)``; each is asked once."""
        answers: dict[int, Tensor] = {}
        rows = []
        for place in group.places:
            teacher = self._teachers[place]
            assert teacher is not None
            if id(teacher) not in answers:
                answers[id(teacher)] = teacher.logits(batch.epoch, batch.indices, batch.inputs)
            rows.append(answers[id(teacher)])
        return torch.stack(rows)
