"""Options that several commands share, and how they change a study file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["json_option", "study_options", "study_settings", "workspace_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


def workspace_option(function: Command) -> Command:
    """Add ``--workspace``."""
    return click.option(
        "--workspace",
        metavar="DIR",
        help="Folder of everything written [$FERSEARCH_WORKSPACE, else ./workspace].",
    )(function)


def json_option(function: Command) -> Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="The result as JSON on stdout, nothing else there."
    )(function)


# Option, its setting in the study file, its type and help; shown in this order.
SETTINGS: list[tuple[str, str, Any, str]] = [
    ("--trials", "budget.trials", int, "Finished trials in all; more continue the study [50]."),
    ("--epochs", "budget.epochs", int, "Epochs of a trial and of the final student."),
    ("--batch-size", "budget.batch_size", int, "Images per step."),
    ("--seeds", "budget.seeds", int, "Seeds of the confirmation and the test."),
    ("--confirm-top", "budget.confirm_top", int, "Settings confirmed over the seeds."),
    ("--teacher-epochs", "budget.teacher_epochs", int, "Epochs of each teacher."),
    ("--student", "training.student", str, "timm name of the student [shufflenet_v2_x1_0]."),
    ("--recipe", "training.recipe", str, "default, or paper: the paper's own, literally."),
    ("--loss", "training.loss", str, "kd, dkd, logit_std or dist."),
    ("--dropout", "training.dropout", float, "Dropout before the classifier."),
    ("--label-smoothing", "training.label_smoothing", float, "Smoothing of the hard labels."),
    ("--teacher", "teacher.model", str, "timm name of the teacher [eff_resnet18]."),
    ("--sampler", "search.sampler", str, "tpe, gp, random or nsga2."),
    ("--pruner", "search.pruner", str, "hyperband, median or none."),
    ("--objective", "search.metric", str, "Validation metric to maximise: accuracy or macro_f1."),
    ("--image-size", "data.image_size", int, "Side of the images in pixels [the data's own]."),
    ("--seed", "search.seed", int, "Seed of the study; all random numbers follow from it."),
]


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def study_options(function: Command) -> Command:
    """Add the options that ``fersearch study`` takes."""
    plain: list[Callable[[Command], Command]] = [
        click.option(
            "--data", metavar="DATA", help="synthetic[:train=4000,...] or your faces' path."
        ),
        click.option("--name", default="", help="Name of the study [the study file's]."),
        click.option("--storage", default="", metavar="URL", help="Optuna storage [SQLite]."),
        click.option("--tracking-uri", metavar="URI", help="MLflow tracking [SQLite]."),
        click.option("--no-track", is_flag=True, help="Do not write to MLflow."),
        click.option("--teacher-weights", metavar="FILE", help="Initial weights of the teachers."),
        click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models."),
        click.option("--device", default="auto", help="auto, cpu or cuda."),
        click.option("--jobs", type=int, help="Runs at a time [one per core]."),
        click.option("--threads", type=int, default=0, help="CPU threads of each run."),
        click.option("--timeout", type=float, metavar="SECONDS", help="Start no trial after this."),
        click.option("--quiet", is_flag=True, help="Nothing but the result."),
    ]
    for decorate in reversed(plain):
        function = decorate(function)
    for option, _, kind, text in reversed(SETTINGS):
        function = click.option(option, type=kind, help=text)(function)
    return json_option(workspace_option(function))


def study_settings(given: dict[str, Any]) -> dict[str, object]:
    """Take the study file's settings out of the parsed options; those not given stay out.

    The seed of the teachers follows the study's.
    """
    settings: dict[str, object] = {}
    for option, path, _, _ in SETTINGS:
        value = given.pop(_key(option))
        if value is not None:
            settings[path] = value
    if "search.seed" in settings:
        settings["teacher.seed"] = settings["search.seed"]
    return settings
