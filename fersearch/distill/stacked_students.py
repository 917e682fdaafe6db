"""The networks of several students as one: stacked weights, one forward pass, one optimiser step.

All trained weights of a student are one row of a matrix, in which a layer's weights are a slice.
So an optimiser step is a handful of operations, however many layers and students there are: on a
GPU, a small student's time goes into starting operations, not into doing them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from fersearch.distill.evaluation import EVALUATION_BATCH
from fersearch.distill.job import Execution
from fersearch.distill.precision import autocast, full_precision, uses_bfloat16
from fersearch.distill.recipe import CLIP_MARGIN
from fersearch.distill.run import TrainingRun
from fersearch.distill.shared_dropout import SharedDropout
from fersearch.models import Batch

__all__ = ["Fitness", "StackedStudents", "try_stacking"]

# Stacked answers may differ from a lone network's by rounding, TF32's included, not by more.
SAME = 1e-2

StackLoss = Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """Whether a network can be stacked.

    Attributes:
        refusal: Why not; empty when it can.
        unused: Names of the weights that get no gradient, which the optimiser leaves alone.
    """

    refusal: str = ""
    unused: frozenset[str] = frozenset()


class StackedStudents:
    """Weights, statistics and momentum of the students of several runs, in their order.

    The runs are copied from, and :meth:`store` copies back to them.

    Args:
        runs: Runs of one architecture and one recipe but for the learning rate.
        unused: Names of weights that the optimiser leaves alone, as :func:`try_stacking` found.
    """

    def __init__(
        self, runs: Sequence[TrainingRun], *, unused: frozenset[str] = frozenset()
    ) -> None:
        first = runs[0]
        self._recipe = first.job.recipe
        self._execution: Execution = first.execution
        self._bfloat16 = first.bfloat16
        self._base = copy.deepcopy(first.model)
        named = {
            name: parameter
            for name, parameter in first.model.named_parameters()
            if parameter.requires_grad and name not in unused
        }
        self._names = tuple(named)
        self._shapes = tuple(parameter.shape for parameter in named.values())
        self._sizes = [parameter.numel() for parameter in named.values()]
        # As in make_optimizer: biases and normalisation are spared, unless the recipe says no.
        decays = [
            self._recipe.weight_decay if self._recipe.decay_all or parameter.ndim > 1 else 0.0
            for parameter in named.values()
        ]
        self._decay = torch.cat(
            [
                item.new_full((item.numel(),), decay)
                for item, decay in zip(named.values(), decays, strict=True)
            ]
        )
        models = [dict(run.model.named_parameters()) for run in runs]
        self.weights = torch.stack(
            [torch.cat([model[name].detach().reshape(-1) for name in named]) for model in models]
        )
        self.momentum = torch.stack([self._momentum_of(run) for run in runs])
        self._fixed = {
            name: torch.stack([model[name].detach() for model in models])
            for name in models[0]
            if name not in named
        }
        buffers = [dict(run.model.named_buffers()) for run in runs]
        self._buffers = {
            name: torch.stack([own[name].detach() for own in buffers]) for name in buffers[0]
        }

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.weights.dtype

    def _momentum_of(self, run: TrainingRun) -> Tensor:
        named = dict(run.model.named_parameters())
        pieces = []
        for name in self._names:
            kept = run.optimizer.state.get(named[name], {}).get("momentum_buffer")
            pieces.append((torch.zeros_like(named[name]) if kept is None else kept).reshape(-1))
        return torch.cat([piece.detach() for piece in pieces])

    def _sliced(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the layers of ``rows`` ``(..., P)`` by name, each ``(..., *shape)``: views."""
        pieces = torch.split(rows, self._sizes, dim=-1)
        return {
            name: piece.view(*rows.shape[:-1], *shape)
            for name, piece, shape in zip(self._names, pieces, self._shapes, strict=True)
        }

    @torch.no_grad()
    def store(self, runs: Sequence[TrainingRun]) -> None:
        """Copy weights, statistics and momentum to the runs, in the students' order."""
        for place, run in enumerate(runs):
            weights, momentum = (
                self._sliced(self.weights[place]),
                self._sliced(self.momentum[place]),
            )
            for name, parameter in run.model.named_parameters():
                if name not in weights:
                    continue
                parameter.copy_(weights[name])
                if self._recipe.momentum > 0:
                    # A copy of its own: a view would drag the whole stack into the checkpoint. In
                    # the weights' memory layout: fused SGD goes through both as they lie.
                    own = torch.empty_like(parameter).copy_(momentum[name])
                    run.optimizer.state[parameter]["momentum_buffer"] = own
            for name, buffer in run.model.named_buffers():
                buffer.copy_(self._buffers[name][place])

    def keep(self, places: Sequence[int]) -> None:
        """Drop all students but those at ``places``."""
        index = torch.tensor(places, device=self.weights.device, dtype=torch.int64)
        self.weights, self.momentum = self.weights[index], self.momentum[index]
        self._fixed = {name: value[index] for name, value in self._fixed.items()}
        self._buffers = {name: value[index] for name, value in self._buffers.items()}

    def _forward(self, layers: dict[str, Tensor], inputs: Tensor, *, training: bool) -> Tensor:
        self._base.train(training)

        def one(own: dict[str, Tensor]) -> Tensor:
            answer: Tensor = functional_call(self._base, own, (inputs,))
            return answer

        with SharedDropout():
            # Statistics are updated in place, in the stacked buffers.
            return torch.vmap(one, randomness="same")({**layers, **self._fixed, **self._buffers})

    def leaves(self) -> dict[str, Tensor]:
        """Return the layers by name, ``(K, *shape)``: views of the weights that take gradients."""
        layers = self._sliced(self.weights)
        return {name: layer.detach().requires_grad_() for name, layer in layers.items()}

    def answers(self, leaves: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Return all students' logits in training mode, ``(K, B, classes)``."""
        return self._forward(leaves, inputs, training=True)

    def step(self, batch: Batch, loss: StackLoss, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Make one optimiser step of every student.

        Args:
            batch: What all of them see.
            loss: From logits ``(K, B, classes)`` and the batch to losses ``(K,)``.
            rates: Learning rates, ``(K, 1)``.

        Returns:
            Losses ``(K,)``, and numbers of right answers, int64 ``(K,)``.
        """
        leaves = self.leaves()
        with autocast(self._execution, enabled=self._bfloat16):
            logits = full_precision(self.answers(leaves, batch.inputs))
            losses = loss(logits, batch)
        # A student's loss depends on its own weights alone, so the sum's gradient is each one's.
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        self._update(gradients, rates)
        right = (logits.detach().argmax(dim=2) == batch.labels).sum(dim=1)
        return losses.detach(), right

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """Do what clip_grad_norm_ and SGD do, row by row."""
        recipe = self._recipe
        change = torch.cat([item.reshape(len(self), -1) for item in gradients], dim=1)
        if recipe.clip_norm > 0:
            norm = torch.linalg.vector_norm(change, dim=1, keepdim=True)
            change *= (recipe.clip_norm / (norm + CLIP_MARGIN)).clamp(max=1.0)
        change.addcmul_(self.weights, self._decay)
        self.momentum.mul_(recipe.momentum).add_(change)
        change = (
            change.add_(self.momentum, alpha=recipe.momentum) if recipe.nesterov else self.momentum
        )
        self.weights.addcmul_(change, rates, value=-1)

    @torch.no_grad()
    def predict(self, run: TrainingRun) -> np.ndarray:
        """Return all students' answers to the validation split, float32 ``(K, M, classes)``.

        Args:
            run: One of the runs, for its images.
        """
        views = run.val_views
        bfloat16 = uses_bfloat16(run.model, self._execution)
        pieces = []
        for start in range(0, len(views), EVALUATION_BATCH):
            inputs = views.evaluation(np.arange(start, min(start + EVALUATION_BATCH, len(views))))
            with autocast(self._execution, enabled=bfloat16):
                layers = self._sliced(self.weights)
                pieces.append(self._forward(layers, inputs, training=False).float())
        answers: np.ndarray = torch.cat(pieces, dim=1).cpu().numpy()
        return answers


def try_stacking(run: TrainingRun) -> Fitness:
    """Find out whether the network of a run can be stacked, by two images.

    A network may decide by values on the way, or change its own attributes, which ``vmap`` refuses
    or, worse, gets wrong. The run itself is left as it was.
    """
    if len({parameter.dtype for parameter in run.model.parameters()}) > 1:
        return Fitness(refusal="its weights are of several types")
    students = StackedStudents([run, run])
    inputs = run.train_views.evaluation(np.arange(2))
    try:
        with torch.no_grad():
            alone = run.model.eval()(inputs)
            stacked = students._forward(students.leaves(), inputs, training=False)
        leaves = students.leaves()
        answers = students.answers(leaves, inputs)
        gradients = torch.autograd.grad(
            answers.float().sum(), list(leaves.values()), allow_unused=True
        )
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        return Fitness(refusal=(str(error).strip().splitlines() or [type(error).__name__])[0])
    difference = (stacked - alone).abs().max()
    if not bool(difference <= SAME * (1 + alone.abs().max())):
        return Fitness(refusal="stacked, it gives other answers")
    pairs = zip(leaves, gradients, strict=True)
    return Fitness(unused=frozenset(name for name, item in pairs if item is None))
