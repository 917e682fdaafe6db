"""Distillation: losses, soft-label replay, recipes, the training loop and its checkpoints."""

from fersearch.distill.evaluation import SplitMetrics, predict_logits, split_metrics
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.losses import (
    LOSSES,
    Loss,
    LossSettings,
    distillation_loss,
    soft_divergence,
)
from fersearch.distill.outcomes import TrainOutcome
from fersearch.distill.recipe import RECIPES, Recipe, make_recipe
from fersearch.distill.run import build_model
from fersearch.distill.soft_labels import (
    OnlineTeacher,
    ReplayedTeacher,
    TeacherSignal,
    compute_soft_labels,
    soft_label_folder,
)
from fersearch.distill.stack import Student, stack_key, train_stack
from fersearch.distill.tasks import (
    ExplainTask,
    PredictTask,
    Progress,
    RunLabel,
    StackTask,
    Task,
    TeacherTask,
    TrainTask,
    teacher_folder,
)
from fersearch.distill.trainer import train
from fersearch.distill.work import execute

__all__ = [
    "LOSSES",
    "RECIPES",
    "Execution",
    "ExplainTask",
    "Loss",
    "LossSettings",
    "OnlineTeacher",
    "PredictTask",
    "Progress",
    "Recipe",
    "ReplayedTeacher",
    "RunLabel",
    "SplitMetrics",
    "StackTask",
    "Student",
    "Task",
    "TeacherSignal",
    "TeacherTask",
    "TrainJob",
    "TrainOutcome",
    "TrainTask",
    "build_model",
    "compute_soft_labels",
    "distillation_loss",
    "execute",
    "make_recipe",
    "predict_logits",
    "soft_divergence",
    "soft_label_folder",
    "split_metrics",
    "stack_key",
    "teacher_folder",
    "train",
    "train_stack",
]
