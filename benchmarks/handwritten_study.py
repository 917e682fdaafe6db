"""A study as one writes it by hand with PyTorch, Optuna and MLflow, to compare with.

It follows Optuna's own examples: an objective that builds, trains and validates, reports every
epoch and asks whether to prune, and ``study.optimize``; every trial is a nested MLflow run. The
teacher of each number of splits is trained once, kept in memory and asked at every step. Data,
search space, first settings, budget, networks and recipe are those of the shipped study.

    python -m benchmarks.handwritten_study --pictures DIR --workspace DIR --trials 20
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import optuna
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import fersearch.models  # noqa: F401 - registers the networks with timm

STUDENT, TEACHER = "shufflenet_v2_x1_0", "eff_resnet18"
FIRST = [
    {"temperature": 8.0, "alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01},
    {"temperature": 6.0, "alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01},
]


class Script:
    """Loaders, teachers and options of one run of the script."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        normalize = transforms.Normalize([given.mean] * 3, [given.std] * 3)
        train = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(
                    8.0,
                    translate=(0.06, 0.06),
                    scale=(0.92, 1.08),
                    interpolation=transforms.InterpolationMode.BILINEAR,
                ),
                transforms.ColorJitter(brightness=0.1, contrast=0.15),
                transforms.ToTensor(),
                normalize,
                transforms.RandomErasing(0.15, scale=(0.01, 0.12)),
            ]
        )
        plain = transforms.Compose([transforms.ToTensor(), normalize])
        self.train_set = ImageFolder(str(given.pictures / "train"), train)
        self.val_set = ImageFolder(str(given.pictures / "val"), plain)
        workers = {"num_workers": given.loaders, "persistent_workers": given.loaders > 0}
        self.train_loader = DataLoader(
            self.train_set, batch_size=given.batch_size, shuffle=True, drop_last=True, **workers
        )
        self.val_loader = DataLoader(self.val_set, batch_size=256, **workers)
        self.teachers: dict[int, nn.Module] = {}

    def network(self, name: str, **options: object) -> nn.Module:
        """Return a network for the pictures' classes."""
        classes = len(self.train_set.classes)
        model = timm.create_model(name, num_classes=classes, drop_rate=0.5, **options)
        return model.to(self.device)

    def teacher(self, splits: int) -> nn.Module:
        """Return the teacher with so many splits, trained the first time."""
        if splits not in self.teachers:
            model = self.network(TEACHER, layout="count", right="reverse", ffe_splits=splits)
            training = Training(self, model, rate=0.05, epochs=self.given.teacher_epochs)
            for _ in range(self.given.teacher_epochs):
                training.epoch()
            self.teachers[splits] = model.eval()
        return self.teachers[splits]

    def tell(self, **event: object) -> None:
        """Write a line about an epoch: when it was over and what it reached."""
        if self.given.events is not None:
            with self.given.events.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": time.time(), **event}) + "\n")


class Training:
    """Trains one network, epoch by epoch, taught by ``teacher`` if there is one."""

    def __init__(
        self,
        script: Script,
        model: nn.Module,
        *,
        rate: float,
        epochs: int,
        teacher: nn.Module | None = None,
        temperature: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.script, self.model, self.teacher = script, model, teacher
        self.temperature, self.alpha = temperature, alpha
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        total = max(1, epochs * len(script.train_loader))
        warm = max(1, total // 5)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return cross entropy, or its mixture with the teacher's soft labels."""
        logits = self.model(inputs)
        hard = F.cross_entropy(logits, labels)
        if self.teacher is None:
            return hard
        with torch.no_grad():
            answers = self.teacher(inputs)
        soft = F.kl_div(
            F.log_softmax(logits / self.temperature, dim=1),
            F.softmax(answers / self.temperature, dim=1),
            reduction="batchmean",
        )
        return self.alpha * self.temperature**2 * soft + (1 - self.alpha) * hard

    def epoch(self) -> float:
        """Train an epoch; return the mean loss."""
        self.model.train()
        total = 0.0
        device = self.script.device
        for inputs, labels in self.script.train_loader:
            loss = self.loss(inputs.to(device), labels.to(device))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.schedule.step()
            total += loss.item()
        return total / len(self.script.train_loader)

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the accuracy on the validation pictures."""
        self.model.eval()
        right = 0
        for inputs, labels in self.script.val_loader:
            answers = self.model(inputs.to(self.script.device)).argmax(dim=1)
            right += int((answers == labels.to(self.script.device)).sum())
        return right / len(self.script.val_set)


def run_trial(script: Script, trial: optuna.Trial) -> float:
    """Train one student and return its best validation accuracy."""
    given = script.given
    temperature = trial.suggest_float("temperature", 1.0, 16.0)
    alpha = trial.suggest_float("alpha", 0.05, 0.95)
    splits = trial.suggest_categorical("ffe_splits", [2, 4, 8])
    rate = trial.suggest_float("learning_rate", 1e-3, 0.3, log=True)
    torch.manual_seed(given.seed)
    training = Training(
        script,
        script.network(STUDENT),
        rate=rate,
        epochs=given.epochs,
        teacher=script.teacher(splits),
        temperature=temperature,
        alpha=alpha,
    )
    best = 0.0
    with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True):
        mlflow.log_params(trial.params)
        for epoch in range(given.epochs):
            loss = training.epoch()
            accuracy = training.accuracy()
            best = max(best, accuracy)
            mlflow.log_metric("train_loss", loss, step=epoch)
            mlflow.log_metric("val_accuracy", accuracy, step=epoch)
            script.tell(trial=trial.number, epoch=epoch, accuracy=accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune() and epoch < given.epochs - 1:
                raise optuna.TrialPruned
        mlflow.log_metric("best_val_accuracy", best)
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="holds train/ and val/")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--events", type=Path, help="file that gets a line for every epoch")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves PyTorch's own choice")
    parser.add_argument("--loaders", type=int, default=0)
    parser.add_argument("--mean", type=float, default=0.5, help="of the training pixels, in 0-1")
    parser.add_argument("--std", type=float, default=0.25)
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given.workspace.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{given.workspace}/mlflow.db")
    mlflow.set_experiment("handwritten")
    study = optuna.create_study(
        study_name="handwritten",
        storage=f"sqlite:///{given.workspace}/optuna.db",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=given.seed),
        pruner=optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=given.epochs, reduction_factor=3
        ),
        load_if_exists=True,
    )
    for params in FIRST:
        study.enqueue_trial(params, skip_if_exists=True)
    script = Script(given)
    torch.manual_seed(given.seed)
    with mlflow.start_run(run_name=f"seed-{given.seed}"):
        study.optimize(lambda trial: run_trial(script, trial), n_trials=given.trials)
        mlflow.log_metric("best_val_accuracy", study.best_value)
    script.tell(end="search")
    print(f"best {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
